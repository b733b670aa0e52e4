// How fast, how long still, and what is said of it; time is an argument.
#include "pipeline/progress.hpp"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "pipeline/tuning.hpp"

namespace {

using namespace pipeline;
using namespace std::chrono_literals;

TEST(Rates, LastSecondsAndWholeStageAreToldApart) {
  Rates r;
  r.start(1000s, 0, 0);
  for (int s = 1; s <= 100; ++s) r.sample(1000s + std::chrono::seconds(s), static_cast<std::uint64_t>(s) * 10, 0);
  for (int s = 101; s <= 120; ++s)
    r.sample(1000s + std::chrono::seconds(s), 1000 + static_cast<std::uint64_t>(s - 100) * 100, 5000);
  EXPECT_DOUBLE_EQ(r.last(10s).messages, 100);
  EXPECT_DOUBLE_EQ(r.overall().messages, 3000.0 / 120);
  EXPECT_DOUBLE_EQ(r.last(10s).octets, 0);
  // The last minute: 40 s at 10 and 20 s at 100.
  EXPECT_EQ(r.left(2400), std::chrono::milliseconds(60 * 1000));
}

TEST(Rates, ManySamplesASecondGiveTheSameAndAreNotAllKept) {
  Rates r;
  r.start(0s, 0, 0);
  for (int i = 1; i <= 5 * 3600 * 5; ++i)
    r.sample(i * 200ms, static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(i) * 100);
  EXPECT_NEAR(r.last(10s).messages, 5, 0.3);
  EXPECT_NEAR(r.last(10s).octets, 500, 30);
  EXPECT_DOUBLE_EQ(r.overall().messages, 5);
}

TEST(Rates, NothingIsPromisedWhereNothingMoves) {
  Rates r;
  EXPECT_FALSE(r.left(5));
  r.start(0s, 0, 0);
  r.sample(10s, 0, 0);
  EXPECT_FALSE(r.left(5));
  EXPECT_EQ(r.left(0), 0ms);
  // A pause longer than a minute: the pace of the whole stage is the best there is.
  r.sample(20s, 20, 0);
  for (int s = 21; s <= 200; ++s) r.sample(std::chrono::seconds(s), 20, 0);
  EXPECT_DOUBLE_EQ(r.last(10s).messages, 0);
  EXPECT_EQ(r.left(10), std::chrono::milliseconds(100 * 1000));
}

TEST(Meter, ShowsTheStageItsAccountsAndWhatTheyWaitFor) {
  Progress p;
  Meter meter(p);
  p.finished.settled = 7;  // of an earlier stage
  p.begin("copy", 100s);
  p.total = 1000;
  p.total_octets = 50000;
  p.accounts = 3;
  p.accounts_done = 2;
  p.failed.emplace("bad@x", "no such user\r\x1b[2J");
  p.finished.settled += 300;
  p.finished.octets += 1000;
  p.running["jane@x"].messages = 700;
  p.running["jane@x"].load.settled = 100;
  const Waiting wait(p, "jane@x", "it is tried again: server said NO [LIMIT]", 350s);
  meter.sample(100s);
  meter.sample(110s);
  const auto s = meter.snapshot(110s);
  EXPECT_EQ(s.at("messages_done").as_uint64(), 400u);
  EXPECT_EQ(s.at("octets_done").as_uint64(), 1000u);
  EXPECT_EQ(s.at("accounts_done").as_uint64(), 1u);
  EXPECT_EQ(s.at("accounts_failed").as_uint64(), 1u);
  EXPECT_EQ(s.at("eta_seconds").as_int64(), 15);
  EXPECT_EQ(s.at("running").as_array().at(0).at("waiting_seconds").as_int64(), 240);
  EXPECT_EQ(boost::json::serialize(s).find('\x1b'), std::string::npos);
  EXPECT_EQ(s.at("failed").as_array().at(0).at("why").as_string(), "no such user\\x0D\\x1B[2J");
  const std::string line = status_line(s);
  EXPECT_NE(line.find("copy: 400 of 1,000 messages"), std::string::npos) << line;
  EXPECT_NE(line.find("1 of 3 accounts done, 1 running, 1 failed"), std::string::npos) << line;
  EXPECT_NE(line.find("waiting: jane@x: 4 min"), std::string::npos) << line;
  for (const auto& l : status_table(s, 60)) EXPECT_LE(l.size(), 60u);
}

TEST(Meter, WaitEndsWithItsReasonAndANewStageStartsAtNought) {
  Progress p;
  p.begin("copy", 0s);
  p.running["a@x"];
  {
    const Waiting wait(p, "a@x", "why", 5s);
    ASSERT_TRUE(p.running["a@x"].wait());
    { const Waiting shorter(p, "a@x", "another session", 1s); }
    ASSERT_TRUE(p.running["a@x"].wait());
    EXPECT_EQ(p.running["a@x"].wait()->why, "why") << "another's end is not its own";
  }
  EXPECT_FALSE(p.running["a@x"].wait());
  { const Waiting nobody(p, "gone@x", "why", 5s); }
  EXPECT_EQ(p.running.size(), 1u);
  p.running["a@x"].load.settled = 5;
  Meter meter(p);
  meter.sample(1s);
  p.begin("verify", 50s);
  meter.sample(50s);
  p.verified = 10;
  meter.sample(60s);
  const auto s = meter.snapshot(60s);
  EXPECT_EQ(s.at("messages_done").as_uint64(), 10u);
  EXPECT_DOUBLE_EQ(s.at("rate").at("overall").at("messages").as_double(), 1);
  EXPECT_EQ(p.load().settled, 5u) << "the run's count goes on";
}

TEST(Meter, AnswerIsBoundedHoweverManyAccountsFail) {
  Progress p;
  p.begin("copy", 0s);
  for (int i = 0; i < 5000; ++i) p.failed.emplace("user" + std::to_string(i) + "@x", std::string(10000, 'x'));
  const Meter meter(p);
  const auto s = meter.snapshot(1s);
  EXPECT_LT(boost::json::serialize(s).size(), 64u * 1024);
  EXPECT_EQ(s.at("accounts_failed").as_uint64(), 5000u);
}

TEST(RateLimit, WhatIsSentIsPaidOffWithTimeAndANewRateCountsAtOnce) {
  RateLimit limit;
  EXPECT_EQ(limit.until_free(0s, 1000), 0ms);
  limit.send(10000);
  EXPECT_EQ(limit.until_free(0s, 1000), 10s);
  EXPECT_EQ(limit.until_free(4s, 1000), 6s);
  EXPECT_EQ(limit.until_free(4s, 2000), 3s);
  EXPECT_EQ(limit.until_free(7s, 2000), 0ms);
  // Time in which nothing was sent is not saved up.
  EXPECT_EQ(limit.until_free(1000s, 2000), 0ms);
  limit.send(2000);
  EXPECT_EQ(limit.until_free(1000s, 2000), 1s);
  EXPECT_EQ(limit.until_free(1000s, 0), 0ms) << "no limit: nothing is owed";
  EXPECT_EQ(limit.until_free(1000s, 2000), 0ms);
}

TEST(QuietHours, AreReadStrictlyAndMayGoPastMidnight) {
  const auto day = parse_quiet_hours("08:00-18:30");
  ASSERT_TRUE(day);
  EXPECT_FALSE(day->hold(479));
  EXPECT_TRUE(day->hold(480));
  EXPECT_TRUE(day->hold(1109));
  EXPECT_FALSE(day->hold(1110));
  EXPECT_EQ(day->minutes_left(480), 630);
  EXPECT_EQ(to_text(*day), "08:00-18:30");
  const auto night = parse_quiet_hours("22:00-06:00");
  ASSERT_TRUE(night);
  EXPECT_TRUE(night->hold(1320));
  EXPECT_TRUE(night->hold(0));
  EXPECT_FALSE(night->hold(360));
  EXPECT_EQ(night->minutes_left(1380), 420);
  EXPECT_TRUE(parse_quiet_hours("18:00-24:00")->hold(1439));
  for (const auto* wrong :
       {"", "8-18", "08:00", "08:00-25:00", "08:60-09:00", "08:00-08:00", "+8:00-18:00", "08:00-18:00 "})
    EXPECT_FALSE(parse_quiet_hours(wrong)) << wrong;
}

TEST(Octets, AreReadWithTheirUnit) {
  EXPECT_EQ(parse_octets("0"), 0u);
  EXPECT_EQ(parse_octets("2048"), 2048u);
  EXPECT_EQ(parse_octets("500K"), 512000u);
  EXPECT_EQ(parse_octets("2M"), 2097152u);
  for (const auto* wrong : {"", "K", "-1", "10", "1.5M", "2G", "99999999999999999999"})
    EXPECT_FALSE(parse_octets(wrong)) << wrong;
}

}  // namespace
