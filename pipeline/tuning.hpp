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
constexpr int kMostUnasked = 16;         // accounts at once where nobody has said how many
constexpr base::Octets kSlowest = 1024;  // octets a second; less would look like a server that hangs

struct Tuning {
  std::optional<int> jobs;  // nothing: as many as serve best
  int source_connections = kMostJobs, target_connections = kMostJobs;
  base::Octets max_rate = 0;
  std::optional<QuietHours> quiet;
  // An account uses one connection on either side (and, seldom, a second one for a moment).
  int most_at_once() const {
    return std::max(1, std::min({jobs.value_or(kMostUnasked), source_connections, target_connections}));
  }
};

// How many accounts at once. Begins with few and takes more as long as all of them together get faster for it; fewer
// when a server says that it has enough, and the old number again only after a while that grows with each refusal.
// A number somebody has asked for is where it begins.
class Sizing {
 public:
  using Millis = std::chrono::milliseconds;
  int at_once(const Tuning& t) const {
    return std::min(t.jobs.value_or(at_once_), std::min(ceiling_, t.most_at_once()));
  }
  // `done`: work so far, in a unit of which a busy server does hundreds a second. `running`: accounts. As often as one
  // likes; true if the number has changed.
  bool look(Millis now, double done, int running, const Tuning& t);
  // THROTTLED, UNAVAILABLE, no more connections, a stated pause. True if the number has changed.
  bool refused(Millis now, const Tuning& t);
  // Work of another kind begins: what was measured so far says nothing of it.
  void begin_stage() { began_.reset(), before_.reset(); }

 private:
  struct Sample {
    Millis at{0};
    double done = 0;
  };
  struct Speed {
    int at_once = 0;
    double rate = 0;
  };
  int at_once_ = 4;
  int ceiling_ = kMostJobs;
  std::optional<Sample> began_;  // measuring since
  std::optional<Speed> before_;  // with fewer
  Millis next_try_{0};           // to go higher
  Millis last_refused_{0};
  int refusals_ = 0;
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
