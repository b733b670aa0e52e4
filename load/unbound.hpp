// Messages of a target mailbox that were read and belong to no row of the ledger: copies of ours, or a stranger's.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/fingerprint.hpp"
#include "base/ids.hpp"

namespace load {

struct Copy {
  base::Uid uid;
  base::Fingerprint print;
  std::optional<base::DateTime> date;
  std::string flags;   // canonical
  bool taken = false;  // it has its row now
  bool spare = false;  // an equal message's second copy: for no row with another date
};

enum class Likeness : std::uint8_t { content, flags, date, both };  // of a copy to a row, beyond its octets

class Unbound {
 public:
  void add(Copy copy);
  // Whether it was read, taken or not.
  bool has_read(base::Uid uid) const { return uids_.contains(uid); }
  bool any() const { return free_ > 0; }
  std::vector<Copy>& all() { return copies_; }  // in the order they were read
  // Of equal copies that nobody has taken the one that is most like the row, if one is as like as `at_least`. The date
  // counts for more: flags are what users change. `flags`: as they were sent; asked for only where there is a copy.
  // Stays valid until the next add().
  Copy* find(const base::Fingerprint& print, const std::optional<base::DateTime>& date,
             const std::function<std::string()>& flags, Likeness at_least);
  void take(Copy& copy);

 private:
  using Index = std::unordered_map<base::Digest, std::vector<std::size_t>, base::DigestHash>;
  std::vector<Copy> copies_;
  Index by_e1_, by_e1x_;  // places in copies_
  std::set<base::Uid> uids_;
  std::size_t free_ = 0;
};

}  // namespace load
