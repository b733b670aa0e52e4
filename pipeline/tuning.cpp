#include "pipeline/tuning.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace pipeline {

namespace {
std::optional<std::uint64_t> digits(std::string_view s) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), n);
  if (s.empty() || error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return n;
}
}  // namespace

std::optional<QuietHours> parse_quiet_hours(const std::string& text) {
  const auto minute = [](std::string_view s) -> std::optional<int> {
    if (s.size() != 5 || s[2] != ':') return std::nullopt;
    const auto h = digits(s.substr(0, 2)), m = digits(s.substr(3));
    if (!h || !m || *h > 24 || *m > 59 || *h * 60 + *m > 1440) return std::nullopt;
    return static_cast<int>(*h * 60 + *m) % 1440;
  };
  if (text.size() != 11 || text[5] != '-') return std::nullopt;
  const auto from = minute(std::string_view(text).substr(0, 5)), to = minute(std::string_view(text).substr(6));
  if (!from || !to || *from == *to) return std::nullopt;
  return QuietHours{*from, *to};
}

std::string to_text(const QuietHours& q) {
  return fmt::format("{:02}:{:02}-{:02}:{:02}", q.from / 60, q.from % 60, q.to / 60, q.to % 60);
}

std::optional<base::Octets> parse_octets(const std::string& text) {
  std::string_view s = text;
  base::Octets unit = 1;
  if (s.ends_with('K')) unit = 1024;
  if (s.ends_with('M')) unit = 1024 * 1024;
  if (unit > 1) s.remove_suffix(1);
  const auto n = digits(s);
  if (!n || *n > (std::uint64_t{1} << 40)) return std::nullopt;
  if (*n != 0 && *n * unit < kSlowest) return std::nullopt;
  return *n * unit;
}

std::chrono::milliseconds RateLimit::until_free(std::chrono::milliseconds now, base::Octets rate) {
  if (rate == 0) owed_ = 0;
  owed_ = std::max(0.0, owed_ - static_cast<double>(rate) * static_cast<double>((now - paid_).count()) / 1000);
  paid_ = now;
  if (owed_ < 1) return std::chrono::milliseconds(0);
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(owed_ / static_cast<double>(rate) * 1000)));
}

}  // namespace pipeline
