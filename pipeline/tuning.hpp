// What can be changed while a stage runs: how many accounts at once, how many octets a second, and when nothing is
// sent.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/ids.hpp"

namespace pipeline {

// Minutes of the day, local time; from == to: no such hours. May go past midnight.
struct QuietHours {
  int from = 0, to = 0;
  bool hold(int minute) const { return from <= to ? minute >= from && minute < to : minute >= from || minute < to; }
  // From a minute within them.
  int minutes_left(int minute) const { return (to - minute + 1440) % 1440; }
};
std::optional<QuietHours> parse_quiet_hours(const std::string& text);  // "08:00-18:00"
std::string to_text(const QuietHours& q);
// 3000, 500K, 2M (1,024 each); 0 is no limit.
std::optional<base::Octets> parse_octets(const std::string& text);
constexpr int kMostJobs = 64;
constexpr base::Octets kSlowest = 1024;  // octets a second; less would look like a server that hangs

struct Tuning {
  int jobs = 4, source_connections = kMostJobs, target_connections = kMostJobs;
  base::Octets max_rate = 0;
  std::optional<QuietHours> quiet;
  // An account uses one connection on either side (and, seldom, a second one for a moment).
  int accounts_at_once() const { return std::max(1, std::min({jobs, source_connections, target_connections})); }
};

// Octets of all accounts together: what is sent is owed and paid off with time, so that a new rate counts at once.
class RateLimit {
 public:
  // 0: now.
  std::chrono::milliseconds until_free(std::chrono::milliseconds now, base::Octets rate);
  void send(base::Octets octets) { owed_ += static_cast<double>(octets); }

 private:
  double owed_ = 0;
  std::chrono::milliseconds paid_{0};
};

}  // namespace pipeline
