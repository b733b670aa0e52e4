// Where each mailbox of an account goes: old name -> new name, worked out whole before anything is created, proven
// one-to-one (F47, F48).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "state/ledger.hpp"

namespace load {

// What the target's account looks like now.
struct TargetView {
  std::string delimiter = "/";  // empty: no hierarchy
  std::string prefix;           // of the personal namespace, delimiter included ("INBOX.")
  struct Existing {
    std::string wire, name;  // name: UTF-8
    std::vector<std::string> attributes;
    bool subscribed = false;
    bool selectable = true;
  };
  std::vector<Existing> mailboxes;
};

struct MappedMailbox {
  state::MailboxId id;
  std::string from;        // the source's name
  std::string wire, name;  // the target's
  bool exists = false;
  std::string why;  // a remark where the name changes: "special-use \Sent", "'/' written as =2F", "name taken"
};

// `escape`: further characters that the target does not take in a name. The rule: such a character, the target's
// delimiter inside a name, control characters, and '=' where two hexadecimal digits follow, become =XX; so every name
// can be read back. Two source mailboxes never share a target: the later one gets a suffix " (2)". `source_prefix`: of
// the source's personal namespace.
std::vector<MappedMailbox> map_mailboxes(const std::vector<state::MailboxRow>& source, const std::string& source_prefix,
                                         const TargetView& target, const std::string& escape);

}  // namespace load
