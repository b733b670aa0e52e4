#include "pipeline/tuning.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <utility>

namespace pipeline {

using namespace std::chrono_literals;

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

namespace {
constexpr auto kMeasured = 1s;         // at least
constexpr double kMeasuredWork = 200;  // at least; else longer, up to
constexpr auto kMeasuredSlow = 15s;
constexpr double kWorthIt = 1.1;  // times as fast
constexpr auto kContent = 60s;    // until more are tried again
constexpr auto kOneRefusal = 5s;  // what several accounts are told within this is one word of the server
constexpr auto kCautious = 60s;   // after the first refusal; doubled with each
constexpr int kMostDoublings = 5;
}  // namespace

bool Sizing::look(Millis now, double done, int running, const Tuning& t) {
  const int at_once_now = at_once(t);
  if (ceiling_ < kMostJobs && now >= next_try_) {  // it may have been a bad hour
    ceiling_ = kMostJobs;
    began_.reset();
    return at_once(t) != at_once_now;
  }
  // Fewer than there may be: says nothing of what there could be.
  if (running < at_once_now || t.jobs) {
    began_.reset();
    return false;
  }
  if (!began_) {
    began_ = Sample{now, done};
    return false;
  }
  const auto measured = now - began_->at;
  const double work = done - began_->done;
  if (measured < kMeasured || (work < kMeasuredWork && measured < kMeasuredSlow)) return false;
  const double rate = work / static_cast<double>(measured.count());
  began_.reset();
  const auto before = std::exchange(before_, std::nullopt);
  if (before && before->at_once < at_once_now && rate < before->rate * kWorthIt) {
    at_once_ = before->at_once;
    next_try_ = now + kContent;
    return true;
  }
  if (now < next_try_) return false;
  const int more = std::min(at_once_now + std::max(1, at_once_now / 2), t.most_at_once());
  if (more == at_once_now) return false;
  before_ = Speed{at_once_now, rate};
  at_once_ = more;
  return true;
}

bool Sizing::refused(Millis now, const Tuning& t) {
  if (refusals_ > 0 && now - last_refused_ < kOneRefusal) return false;
  const int at_once_now = at_once(t);
  last_refused_ = now;
  at_once_ = ceiling_ = std::max(1, at_once_now / 2);
  next_try_ = now + kCautious * (1 << std::min(refusals_, kMostDoublings));
  ++refusals_;
  began_.reset();
  before_.reset();
  return at_once(t) != at_once_now;
}

std::chrono::milliseconds RateLimit::until_free(std::chrono::milliseconds now, base::Octets rate) {
  if (rate == 0) owed_ = 0;
  owed_ = std::max(0.0, owed_ - static_cast<double>(rate) * static_cast<double>((now - paid_).count()) / 1000);
  paid_ = now;
  if (owed_ < 1) return std::chrono::milliseconds(0);
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(owed_ / static_cast<double>(rate) * 1000)));
}

}  // namespace pipeline
