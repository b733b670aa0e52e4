// Strong types for the numbers of IMAP, so that the classic mistakes do not compile.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace base {

template <class Tag, class Rep>
struct Strong {
  using rep = Rep;
  Rep value{};
  constexpr Strong() = default;
  constexpr explicit Strong(Rep v) : value(v) {}
  auto operator<=>(const Strong&) const = default;
  // "unknown" is 0 for every number used here (RFC 3501 §9: nz-number).
  constexpr explicit operator bool() const { return value != 0; }
};

using Uid = Strong<struct UidTag, std::uint32_t>;                  // RFC 3501 §2.3.1.1
using UidValidity = Strong<struct UidValidityTag, std::uint32_t>;  // 0 = the server gave none; equals nothing
using ModSeq = Strong<struct ModSeqTag, std::uint64_t>;            // RFC 7162
using Octets = std::uint64_t;

// INTERNALDATE: an instant, plus the zone it was written in (minutes east of UTC, -720..+840).
struct DateTime {
  std::int64_t unix_seconds = 0;
  int zone_minutes = 0;
  bool same_instant(const DateTime& o) const { return unix_seconds == o.unix_seconds; }
};

}  // namespace base

template <class Tag, class Rep>
struct std::hash<base::Strong<Tag, Rep>> {
  std::size_t operator()(const base::Strong<Tag, Rep>& v) const noexcept { return std::hash<Rep>{}(v.value); }
};
