// Where a message that the target refused is kept: DIR/quarantine/<row>.eml and .json beside it, both 0600 and on the
// disk before the ledger says so. Mailbox names never become file names (S18).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "state/ledger.hpp"

namespace load {

struct QuarantineNote {
  std::string account, mailbox, reason, server_words;
  base::Uid uid;
};
// Writes both and returns the .eml's path. Throws Failed (Scope::run) if they cannot be made durable.
std::string quarantine(const std::string& directory, state::MessageId id, const QuarantineNote& note,
                       std::string_view octets);

// An .eml written in pieces, for a message too large to hold.
class QuarantineFile {
 public:
  QuarantineFile(const std::string& directory, state::MessageId id);
  ~QuarantineFile();
  QuarantineFile(const QuarantineFile&) = delete;
  QuarantineFile& operator=(const QuarantineFile&) = delete;
  void write(std::string_view octets);
  std::string finish(const QuarantineNote& note);

 private:
  std::string directory_, path_;
  int fd_ = -1;
};

}  // namespace load
