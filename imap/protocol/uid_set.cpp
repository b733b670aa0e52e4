#include "imap/protocol/uid_set.hpp"

#include "base/text.hpp"

namespace imap {

using base::Uid;

std::optional<std::uint64_t> parse_number(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::uint64_t v = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (v > (UINT64_MAX - digit) / 10) return std::nullopt;
    v = v * 10 + digit;
  }
  return v;
}

void UidSet::add(Uid uid) {
  if (!ranges_.empty() && ranges_.back().last.value + 1 == uid.value) ranges_.back().last = uid;
  else ranges_.push_back({uid, uid});
}

std::uint64_t UidSet::count() const {
  std::uint64_t n = 0;
  for (const auto& r : ranges_) n += std::uint64_t{r.last.value} - r.first.value + 1;
  return n;
}

std::string UidSet::text() const {
  std::string out;
  for (const auto& r : ranges_) {
    if (!out.empty()) out += ',';
    out += std::to_string(r.first.value);
    if (r.last != r.first) out += ':' + std::to_string(r.last.value);
  }
  return out;
}

std::optional<UidSet> UidSet::parse(std::string_view text) {
  UidSet set;
  for (const auto& part : base::split(text, ',')) {
    const auto ends = base::split(part, ':');
    if (ends.size() > 2) return std::nullopt;
    const auto a = parse_number(ends.front()), b = parse_number(ends.back());
    if (!a || !b || *a == 0 || *b == 0 || *a > UINT32_MAX || *b > UINT32_MAX) return std::nullopt;
    const Uid first(static_cast<std::uint32_t>(std::min(*a, *b))), last(static_cast<std::uint32_t>(std::max(*a, *b)));
    set.ranges_.push_back({first, last});
  }
  return set;
}

}  // namespace imap
