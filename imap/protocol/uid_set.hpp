// UID sets (RFC 3501 §9 sequence-set), kept as ranges: a server's "1:4294967295" costs 8 octets (S12).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hpp"

namespace imap {

struct UidRange {
  base::Uid first, last;  // both included, first <= last
};

class UidSet {
 public:
  void add(base::Uid uid);  // ascending calls join into ranges
  void add(UidRange range) { ranges_.push_back(range); }
  bool empty() const { return ranges_.empty(); }
  std::uint64_t count() const;
  const std::vector<UidRange>& ranges() const { return ranges_; }
  std::string text() const;  // "1:4,7"
  // Nothing if it is no UID set, or names 0 or "*".
  static std::optional<UidSet> parse(std::string_view text);

 private:
  std::vector<UidRange> ranges_;
};

// Only digits, no overflow, not negative.
std::optional<std::uint64_t> parse_number(std::string_view text);

}  // namespace imap
