// What is going on now. The stages write it as they go, in plain fields: they and all readers live on one thread.
// Terminal, control socket and pages read it through a Meter, which knows how fast it goes.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "load/options.hpp"

namespace pipeline {

struct Wait {
  std::string why;
  std::chrono::milliseconds until{0};  // of the Clock; 0: nobody knows
};

struct RunningAccount {
  load::LoadCounters load;
  std::uint64_t messages = 0;         // to settle
  std::map<const void*, Wait> waits;  // by who waits: two sessions of an account may
  const Wait* wait() const;           // the longest; null: none
};

struct Progress {
  std::string stage;
  std::chrono::milliseconds began{0};  // the stage
  std::uint64_t total = 0;             // messages to settle in this stage
  base::Octets total_octets = 0;
  std::uint64_t accounts_done = 0, accounts = 0;  // done: failed ones too
  std::uint64_t verified = 0;
  std::map<std::string, RunningAccount> running;  // by address
  std::map<std::string, std::string> failed;      // in this stage, and why
  std::set<std::string> ended;                    // in this stage, well or not
  load::LoadCounters finished;                    // of accounts that are not running any more
  load::LoadCounters before;                      // when the stage began

  void begin(std::string name, std::chrono::milliseconds now);
  load::LoadCounters load() const;  // of the whole run
  std::uint64_t messages_done() const;
  base::Octets octets_done() const;
};

// Says what an account waits for as long as it lives.
class Waiting {
 public:
  Waiting(Progress& progress, std::string account, std::string why, std::chrono::milliseconds until);
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  Progress& progress_;
  std::string account_;
};

// How fast: of the last seconds and of the whole stage.
class Rates {
 public:
  struct Rate {
    double messages = 0, octets = 0;  // a second
  };
  void start(std::chrono::milliseconds now, std::uint64_t messages, base::Octets octets);
  void sample(std::chrono::milliseconds now, std::uint64_t messages, base::Octets octets);
  Rate last(std::chrono::milliseconds span) const;
  Rate overall() const;
  // From the pace of the last minute, or of the whole stage if nothing moved in it; nothing where nothing has moved.
  std::optional<std::chrono::milliseconds> left(std::uint64_t messages) const;

 private:
  struct Sample {
    std::chrono::milliseconds at{0};
    std::uint64_t messages = 0;
    base::Octets octets = 0;
  };
  static Rate between(const Sample& from, const Sample& to);
  Sample first_;
  std::deque<Sample> samples_;  // the last minute, at most two a second
};

class Meter {
 public:
  explicit Meter(const Progress& progress) : progress_(progress) {}
  void sample(std::chrono::milliseconds now);  // a few times a second
  // The fields of "status" (docs/manual.md). Bounded: of very many names the first ones are given.
  boost::json::object snapshot(std::chrono::milliseconds now) const;

 private:
  const Progress& progress_;
  Rates rates_;
  std::string stage_;
  std::chrono::milliseconds began_{-1};
};

// A snapshot for people: one line, and a table of the accounts that are running. No line is wider than `columns`.
std::string status_line(const boost::json::object& snapshot);
std::vector<std::string> status_table(const boost::json::object& snapshot, std::size_t columns);

}  // namespace pipeline
