// How many accounts at once, beside a server whose speed is known.
#include "pipeline/tuning.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "load/window_size.hpp"

namespace pipeline {
namespace {

using namespace std::chrono_literals;

// So long under `rate` (work a second of so many at once); all accounts are always there.
struct Server {
  std::function<double(int)> rate;
  Sizing sizing;
  Tuning tuning;
  std::chrono::milliseconds now{0};
  double done = 0;
  int at_once() const { return sizing.at_once(tuning); }
  int after(std::chrono::milliseconds time) {
    for (const auto end = now + time; now < end; now += 50ms) {
      sizing.look(now, done, at_once(), tuning);
      done += rate(at_once()) * 0.05;
    }
    return at_once();
  }
};

TEST(Sizing, TakesMoreAsLongAsAllOfThemGetFasterForIt) {
  Server s{[](int n) { return 300.0 * std::min(n, 9); }, {}, {}};
  EXPECT_EQ(s.at_once(), 4);
  EXPECT_EQ(s.after(2500ms), 9);
  EXPECT_EQ(s.after(30s), 9);
  s.rate = [](int n) { return 300.0 * n; };
  EXPECT_EQ(s.after(120s), kMostUnasked);
}

TEST(Sizing, StaysWhereItIsIfMoreDoNotHelp) {
  Server s{[](int) { return 1000.0; }, {}, {}};
  s.after(10s);
  int more = 0;
  for (int i = 0; i < 550; ++i) more += s.after(100ms) > 4 ? 1 : 0;
  EXPECT_EQ(s.at_once(), 4);
  EXPECT_LT(more, 30) << "it is tried again now and then, not all the time";
}

TEST(Sizing, ABusyServerHalvesItAndIsNotAskedForMoreUntilAWhileHasPassed) {
  Server s{[](int n) { return 300.0 * n; }, {}, {}};
  s.after(20s);
  ASSERT_EQ(s.at_once(), kMostUnasked);
  EXPECT_TRUE(s.sizing.refused(s.now, s.tuning));
  EXPECT_FALSE(s.sizing.refused(s.now + 100ms, s.tuning)) << "others were told the same at the same moment";
  EXPECT_EQ(s.at_once(), 8);
  EXPECT_EQ(s.after(50s), 8);
  EXPECT_GT(s.after(30s), 8);
  s.sizing.refused(s.now, s.tuning);
  const int half = s.at_once();
  EXPECT_EQ(s.after(110s), half) << "longer after the second time";
  for (int i = 0; i < 20; ++i) {
    s.after(10s);
    s.sizing.refused(s.now, s.tuning);
  }
  EXPECT_EQ(s.at_once(), 1) << "and never none";
}

TEST(Sizing, ANumberThatWasAskedForIsThatNumberUnlessTheServerRefuses) {
  Server s{[](int) { return 100.0; }, {}, {}};
  s.tuning.jobs = 12;
  EXPECT_EQ(s.at_once(), 12);
  EXPECT_EQ(s.after(60s), 12);
  s.sizing.refused(s.now, s.tuning);
  EXPECT_EQ(s.at_once(), 6);
  EXPECT_EQ(s.after(120s), 12);
  s.tuning.target_connections = 2;
  EXPECT_EQ(s.at_once(), 2);
}

TEST(Sizing, TooFewAccountsProveNothing) {
  Sizing s;
  const Tuning t;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(s.look(i * 100ms, i * 1000.0, 3, t));
  EXPECT_EQ(s.at_once(t), 4);
}

TEST(WindowSize, GrowsUntilItKeepsTheTargetBusyAndShrinksForASlowOne) {
  load::WindowSize w;
  EXPECT_EQ(w.messages(), 64u);
  w.took(100ms, 20);  // the end of a mailbox
  EXPECT_EQ(w.messages(), 64u);
  for (int i = 0; i < 10; ++i) w.took(100ms, w.messages());
  EXPECT_EQ(w.messages(), load::WindowSize::kMost);
  w.took(1s, w.messages());
  EXPECT_EQ(w.messages(), load::WindowSize::kMost);
  for (int i = 0; i < 10; ++i) w.took(10s, w.messages());
  EXPECT_EQ(w.messages(), load::WindowSize::kLeast);
}

}  // namespace
}  // namespace pipeline
