// The data contract against servers that lie, forget, freeze and rewrite. Each test is one attack; the defence it
// breaks without is named in docs/architecture.md.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/support/world.hpp"

namespace test {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

class Contract : public ::testing::Test {
 protected:
  void fill(int n, const std::string& mailbox = "INBOX") {
    for (int i = 0; i < n; ++i) w.source.put(World::kUser, mailbox, mail("message " + std::to_string(i)));
  }
  // A further run has nothing to send and no body to read.
  void expect_nothing_left_to_do() {
    const auto appends = w.target.appends, bodies = w.source.body_fetches + w.target.body_fetches;
    const auto again = w.run();
    EXPECT_EQ(w.target.appends, appends) << "a second run sent an APPEND";
    EXPECT_EQ(w.source.body_fetches + w.target.body_fetches, bodies) << "a second run read a body";
    w.expect_in_order();
  }
  World w;
};

TEST_F(Contract, PlainMigrationIsCompleteVerifiedAndIdempotent) {
  fill(150);
  w.source.put(World::kUser, "Archive/2019", mail("old"), {"\\Seen", "$Forwarded"});
  w.source.users[World::kUser]["Archive/2019"].subscribed = true;
  const auto r = w.run();
  EXPECT_EQ(r.exit, 0) << r.error;
  w.expect_equal();
  w.expect_in_order();
  EXPECT_TRUE(w.target.users[World::kUser]["Archive/2019"].subscribed);
  EXPECT_EQ(w.target.users[World::kUser]["Archive/2019"].messages.at(0).flags,
            (std::set<std::string>{"\\Seen", "$Forwarded"}));
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=4"), 151);
  EXPECT_LT(w.target.appends, 10u) << "MULTIAPPEND was offered";
  expect_nothing_left_to_do();
  EXPECT_EQ(w.run("verify").exit, 0);
}

TEST_F(Contract, WhatIsThereIsLookedAtThoughItWasSelectedBefore) {
  for (const char* name : {"INBOX", "Archive", "Zoo"})
    for (int i = 0; i < 5; ++i) w.source.put(World::kUser, name, mail(name + std::to_string(i)));
  w.target.put(World::kUser, "INBOX", mail("INBOX2"));
  w.target.put(World::kUser, "Archive", mail("Archive4"));
  w.target.put(World::kUser, "Zoo", mail("Zoo0"));
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, ARefusalInOneMailboxWhileAnotherSendsSpoilsNeither) {
  for (int i = 0; i < 300; ++i)
    for (const char* name : {"INBOX", "Archive", "Zoo"})
      w.source.put(World::kUser, name, mail(fmt::format("{} {}{}", name, i, i % 70 == 9 ? " poison" : "")));
  w.target.quirks.refuse = [](const test::ModelMessage& m) -> std::optional<std::string> {
    if (m.octets.find("poison") == std::string::npos) return std::nullopt;
    return "NO message refused";
  };
  w.settings.mailboxes_at_once = 3;
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3);
  w.expect_in_order();
  for (const char* name : {"INBOX", "Archive", "Zoo"}) {
    auto want = w.source.bodies(World::kUser, name);
    std::erase_if(want, [](const auto& b) { return b.find("poison") != std::string::npos; });
    EXPECT_EQ(w.target.bodies(World::kUser, name), want) << "all but the refused, in their order, in " << name;
  }
}

// Connections that no account waits for serve one that is still busy.
TEST_F(Contract, AFreeConnectionHelpsAnAccountThatIsStillBusy) {
  for (const char* name : {"INBOX", "Archive", "Zoo", "Yard"})
    for (int i = 0; i < 100; ++i) w.source.put(World::kUser, name, mail(fmt::format("{} {}", name, i)));
  w.settings.mailboxes_at_once = 1;
  w.settings.verify = pipeline::VerifyLevel::none;
  w.settings.tuning.jobs = 1;
  World other;
  other.source.users = w.source.users;
  other.settings.mailboxes_at_once = 1;
  other.settings.verify = pipeline::VerifyLevel::none;
  other.settings.tuning.jobs = 3;
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(other.run().exit, 0);
  EXPECT_EQ(other.target.logins, w.target.logins + 2) << "one for the plan, one for the load, and two that helped";
  for (World* x : {&w, &other}) {
    x->expect_equal();
    x->expect_in_order();
  }
}

// Nobody is the worse for help that is refused.
TEST_F(Contract, HelpThatIsRefusedIsNotAskedForAgain) {
  for (const char* name : {"INBOX", "Archive", "Zoo", "Yard"})
    for (int i = 0; i < 100; ++i) w.source.put(World::kUser, name, mail(fmt::format("{} {}", name, i)));
  w.settings.mailboxes_at_once = 1;
  w.settings.tuning.jobs = 9;
  for (const char* words : {"NO [LIMIT] no more connections", "NO no"}) {
    World x;
    x.source.users = w.source.users;
    x.settings = w.settings;
    x.settings.roster = x.folder.path() + "/roster.csv";
    x.settings.state = x.folder.path() + "/state";
    for (std::uint64_t n = 3; n < 20; ++n)
      if (n != 4) x.target.login_answers[n] = words;
    const auto r = x.run();
    EXPECT_EQ(r.exit, 0) << words << ": " << r.error;
    x.expect_equal();
    x.expect_in_order();
    EXPECT_EQ(x.target.logins, 4u) << "of the plan, the load, one that would help, and the verification";
  }
}

// A second look needs a session of its own, which a limit of the user's connections refuses while others help: the
// account is tried again without them, and its password is not taken for wrong.
TEST_F(Contract, HelpInTheWayOfASecondLookIsGivenUp) {
  for (const char* words : {"NO [LIMIT] no more connections", "NO no"}) {
    World x;
    for (const char* name : {"INBOX", "Archive", "Zoo", "Yard"})
      for (int i = 0; i < 100; ++i) x.source.put(World::kUser, name, mail(fmt::format("{} {}", name, i)));
    x.settings.mailboxes_at_once = 1;
    x.settings.tuning.jobs = 9;
    x.target.quirks.capabilities.erase("UIDPLUS");
    x.target.quirks.hides_fresh = seconds(5);
    x.target.login_answers[6] = words;  // after those of the plan, the load and three that help
    const auto r = x.run();
    EXPECT_EQ(r.exit, 0) << words << ": " << r.error;
    EXPECT_GT(x.target.logins, 6u);
    x.expect_equal();
    x.expect_in_order();
  }
}

// A server may count the connections of those who helped for a while after they were lost.
TEST_F(Contract, RefusedAfterHelpWasLostIsNotTakenForAWrongPassword) {
  for (const char* name : {"INBOX", "Archive", "Zoo", "Yard"})
    for (int i = 0; i < 100; ++i) w.source.put(World::kUser, name, mail(fmt::format("{} {}", name, i)));
  w.settings.mailboxes_at_once = 1;
  w.settings.tuning.jobs = 9;
  w.target.strikes[3] = Strike::lose_answer;
  w.target.login_answers[5] = "NO no";  // after those of the plan, the load and two that help
  const auto r = w.run();
  EXPECT_EQ(r.exit, 0) << r.error;
  EXPECT_GT(w.target.logins, 5u);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, SameWithoutUidplusLiteralPlusMultiappendAndWithoutAll) {
  for (const std::set<std::string>& hidden : std::vector<std::set<std::string>>{
           {"UIDPLUS"}, {"LITERAL+"}, {"MULTIAPPEND"}, {"UIDPLUS", "LITERAL+", "MULTIAPPEND", "NAMESPACE"}}) {
    World world;
    for (const auto& c : hidden) world.target.quirks.capabilities.erase(c);
    for (int i = 0; i < 70; ++i)
      world.source.put(World::kUser, "INBOX", mail("m" + std::to_string(i % 60)));  // some equal
    const auto ran = world.run();
    EXPECT_EQ(ran.exit, 0);
    EXPECT_EQ(ran.settled, 70u) << "each is counted once in the progress";
    world.expect_equal();
    world.expect_in_order();
    const auto before = world.target.appends;
    world.run();
    EXPECT_EQ(world.target.appends, before);
    world.lose_state();
    EXPECT_EQ(world.run().exit, 0);
    EXPECT_EQ(world.target.appends, before) << "adopted, not sent again";
    world.expect_in_order();
  }
}

TEST_F(Contract, LargeBodyStreamsAndIsTheSame) {
  std::string big = mail("big");
  while (big.size() < 3 * 1024 * 1024) big += "line of a large attachment, again and again\r\n";
  w.source.put(World::kUser, "INBOX", mail("before"));
  w.source.put(World::kUser, "INBOX", big);
  w.source.put(World::kUser, "INBOX", mail("after"));
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").at(1), big) << "and in its place";
  w.expect_in_order();
  w.lose_state();
  const auto before = w.target.appends;
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.target.appends, before);
}

TEST_F(Contract, LargerThanAppendlimitIsQuarantinedAndNeverOffered) {  // F34; Cyrus ends the session over one
  w.target.quirks.capabilities.insert("APPENDLIMIT=5000");
  std::size_t largest = 0;
  w.target.quirks.refuse = [&](const ModelMessage& m) {
    largest = std::max(largest, m.octets.size());
    return std::optional<std::string>();
  };
  w.source.put(World::kUser, "INBOX", mail("before"));
  w.source.put(World::kUser, "INBOX", mail("large") + std::string(10000, 'x') + "\r\n");
  w.source.put(World::kUser, "INBOX", mail("streamed") + std::string(2 << 20, 'x') + "\r\n");
  w.source.put(World::kUser, "INBOX", mail("after"));
  EXPECT_EQ(w.run().exit, 3);
  EXPECT_LE(largest, 5000u);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX"), (std::vector<std::string>{mail("before"), mail("after")}));
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=7"), 2);
  expect_nothing_left_to_do();
}

TEST_F(Contract, EqualCopiesAreCopiedCountWise) {  // F38
  for (int i = 0; i < 5; ++i) w.source.put(World::kUser, "INBOX", mail("same"));
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.lose_state();
  w.target.users[World::kUser]["INBOX"].messages.pop_back();
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal("after one of five was lost with the state");
}

TEST_F(Contract, OfMessagesThatTheTargetMergesOneIsBoundAndEachOtherIsReported) {  // F39, I3
  for (const bool uidplus : {true, false}) {
    World world;
    if (!uidplus) world.target.quirks.capabilities.erase("UIDPLUS");
    world.target.quirks.merges_equal = true;
    world.source.put(World::kUser, "INBOX", mail("before"));
    for (int i = 0; i < 3; ++i) world.source.put(World::kUser, "INBOX", mail("same"));
    world.source.put(World::kUser, "INBOX", mail("after"));
    for (int again = 0; again < 2; ++again) {
      EXPECT_EQ(world.run().exit, 3);
      EXPECT_EQ(world.target.bodies(World::kUser, "INBOX").size(), 3u);
      EXPECT_EQ(world.query("SELECT count(*) FROM message WHERE state IN (3,4)"), 3);
      EXPECT_EQ(world.query("SELECT count(*) FROM message WHERE state=7"), 2);
      EXPECT_EQ(world.query("SELECT count(DISTINCT message) FROM note WHERE kind='quarantine' AND detail LIKE '%keeps "
                            "one of several equal ones%'"),
                2);
      EXPECT_EQ(world.query("SELECT count(*) FROM surplus"), 0);
    }
    world.lose_state();
    EXPECT_EQ(world.run().exit, 3) << "and the same without the state";
    EXPECT_EQ(world.target.bodies(World::kUser, "INBOX").size(), 3u);
    world.expect_in_order();
  }
}

TEST_F(Contract, AClockOnTheWallThatIsSetAnewChangesNothing) {  // F9
  for (const std::int64_t off : {-1'699'999'000L, -7200L, 7200L, 400'000'000L}) {
    World world;
    for (int i = 0; i < 30; ++i) world.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    world.target.strikes[1] = Strike::lose_answer;
    world.on_step = [&](std::uint64_t n) { world.clock.wall_off = n < 25 ? 0 : off; };
    EXPECT_EQ(world.run().exit, 0) << off;
    world.expect_equal("set by " + std::to_string(off));
    EXPECT_EQ(world.query("SELECT count(*) FROM note"), 0) << "no date was changed";
    world.clock.wall_off = off;
    EXPECT_EQ(world.run().appended, 0u) << off;
    world.lose_state();
    EXPECT_EQ(world.run().appended, 0u) << off;
    world.expect_equal("without the state, set by " + std::to_string(off));
  }
}

TEST_F(Contract, LostAnswerIsLookedAtAndNotSentAgain) {  // F13, F14
  for (const bool multi : {true, false}) {
    World world;
    if (!multi) world.target.quirks.capabilities.erase("MULTIAPPEND");
    for (int i = 0; i < 20; ++i) world.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    world.target.strikes[1] = Strike::lose_answer;
    EXPECT_EQ(world.run().exit, 0);
    world.expect_equal(multi ? "multi" : "single");
    world.expect_in_order();
  }
}

// Of two with the same octets, sent at once, one is stored. It is the one that the copy is more like; the other is sent
// again.
struct Twins {
  std::string date[2];
  std::set<std::string> flags[2];
  void (*target)(Quirks&);
};

class TwinsInDoubt : public Contract, public testing::WithParamInterface<Twins> {};

TEST_P(TwinsInDoubt, TheOneThatTheCopyIsMoreLikeIsThere) {
  const Twins& twins = GetParam();
  twins.target(w.target.quirks);
  for (const int i : {0, 1}) w.source.put(World::kUser, "INBOX", mail("twin"), twins.flags[i]).date = twins.date[i];
  w.target.strikes[1] = Strike::lose_answer;
  std::multiset<std::pair<std::string, std::set<std::string>>> all, now;
  const auto what_is_there = [&](auto* out) {
    for (const auto& m : w.target.users[World::kUser]["INBOX"].messages) out->emplace(m.date, m.flags);
  };
  w.on_step = [&](std::uint64_t) {
    auto& there = w.target.users[World::kUser]["INBOX"].messages;
    if (!all.empty() || there.size() != 2) return;
    what_is_there(&all);
    there.erase(there.begin());
  };
  EXPECT_EQ(w.run().exit, 0);
  ASSERT_FALSE(all.empty());
  what_is_there(&now);
  EXPECT_EQ(now, all);
}

const std::string kJanuary = "11-Jan-2020 00:00:00 +0000", kFebruary = "12-Feb-2020 00:00:00 +0000";
INSTANTIATE_TEST_SUITE_P(  //
    Contract, TwinsInDoubt,
    testing::Values(Twins{{kJanuary, kFebruary}, {}, [](Quirks&) {}},
                    Twins{{kJanuary, kJanuary}, {{"\\Seen"}, {}}, [](Quirks&) {}},
                    // Flags alone tell them apart: the target stores its own date.
                    Twins{{kJanuary, kFebruary}, {{"\\Seen"}, {}}, [](Quirks& q) { q.forgets_dates = true; }},
                    // The date counts for more than the flags, of which this target keeps none.
                    Twins{{kJanuary, kFebruary}, {{}, {"\\Seen"}}, [](Quirks& q) { q.forgets_flags = true; }}));

TEST_F(Contract, ConnectionCutInTheMiddleOfALiteralLosesAndDoublesNothing) {
  fill(10);
  w.target.strikes[1] = Strike::cut;
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, ZombieThatEndsWithinTheSettleIsBoundAndNotDoubled) {  // F15
  fill(10);
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = seconds(5);
  w.settings.load.settle = seconds(10);
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, ZombieThatOutlivesTheSettleIsSweptAndReported) {  // F15, late sweep
  fill(10);
  w.source.put(World::kUser, "Z", mail("later"));
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = seconds(25);
  w.settings.load.settle = seconds(10);
  w.run();
  EXPECT_GT(w.clock.now(), seconds(10)) << "the settle was waited for";
  // The frozen session finishes after everything was sent again.
  w.clock.pass(seconds(60));
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 20u) << "the zombie has doubled everything";
  const auto r = w.run();
  w.expect_equal("after the sweep");
  EXPECT_EQ(w.query("SELECT count(*) FROM surplus WHERE removed=1"), 10);
  w.expect_in_order();
  EXPECT_EQ(r.exit, 0);
}

TEST_F(Contract, ZombieOfALargeMessageIsGivenTheTimeOfItsSize) {  // attack 12
  w.source.put(World::kUser, "INBOX", mail("large", std::string(15 * 1024 * 1024, 'x') + "\r\n"));
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = seconds(12);
  w.settings.load.settle = seconds(2);
  EXPECT_EQ(w.run().exit, 0);
  w.clock.pass(seconds(60));
  w.expect_equal();
  EXPECT_EQ(w.target.appends, 1u) << "found, not sent again";
  w.expect_in_order();
}

TEST_F(Contract, ZombieOfASlowServerIsGivenThreeTimesItsSlowestAppend) {
  w.settings.mailboxes_at_once = 1;
  for (int i = 0; i < 3; ++i) w.source.put(World::kUser, "A", mail("slow " + std::to_string(i)));
  w.source.put(World::kUser, "B", mail("b"));
  w.target.quirks.refuse = [&](const ModelMessage& m) -> std::optional<std::string> {
    if (m.octets.find("slow") != std::string::npos) w.clock.pass(seconds(5));
    return {};
  };
  w.target.strikes[2] = Strike::freeze;
  w.target.thaw = seconds(25);
  w.settings.load.settle = seconds(2);
  EXPECT_EQ(w.run().exit, 0);
  w.clock.pass(seconds(60));
  w.expect_equal();
  EXPECT_EQ(w.target.appends, 2u) << "found, not sent again";
}

// However slow a server was once, a night has an end.
TEST_F(Contract, SettleForASlowServersSakeIsNeverLongerThanAQuarterOfAnHour) {
  w.settings.mailboxes_at_once = 1;
  w.source.put(World::kUser, "A", mail("slow"));
  w.source.put(World::kUser, "B", mail("b"));
  w.target.quirks.refuse = [&](const ModelMessage& m) -> std::optional<std::string> {
    if (m.octets.find("slow") != std::string::npos) w.clock.pass(minutes(5) + seconds(30));
    return {};
  };
  w.target.strikes[2] = Strike::freeze;
  w.settings.load.settle = seconds(2);
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.query("SELECT count(*) FROM event WHERE kind='settle' AND detail LIKE '%waiting 15 min 00 s before%'"),
            1);
  w.expect_equal();
}

TEST_F(Contract, AStopDuringTheSettleLeavesTheVerdictToTheNextRun) {
  fill(10);
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = minutes(20);
  w.settings.load.settle = minutes(10);
  // The third log-in is that after the cut, those of the plan and the load being before it: it waits for the settle.
  std::optional<std::chrono::milliseconds> settling;
  w.on_step = [&](std::uint64_t) {
    if (!settling && w.target.logins == 3) settling = w.clock.now();
  };
  const auto before = w.clock.on_sleep;
  w.clock.on_sleep = [&] {
    if (before) before();
    if (settling && w.stop) w.stop();
  };
  EXPECT_NE(w.run().exit, 0);
  w.clock.on_sleep = before;
  w.on_step = {};
  ASSERT_TRUE(settling);
  EXPECT_LT(w.clock.now() - *settling, seconds(10));
  w.clock.pass(minutes(20));
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.target.appends, 1u) << "found, not sent again";
  w.expect_equal();
}

TEST_F(Contract, InboxThatNeverComesToRestEndsTheSettleAllTheSame) {  // attack 12
  fill(10);
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = seconds(35);
  w.settings.load.settle = seconds(10);
  const auto before = w.clock.on_sleep;
  int news = 0;
  w.clock.on_sleep = [&] {
    if (before) before();
    w.target.put(World::kUser, "INBOX", mail("news " + std::to_string(news++)));
  };
  w.run();
  w.clock.on_sleep = before;
  w.clock.pass(seconds(60));
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_GT(news, 0);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 10u + static_cast<std::size_t>(news))
      << "ours once, and all that its user got";
  w.expect_in_order();
}

TEST_F(Contract, ZombieOfMessagesWithEqualOctetsIsSweptWhole) {  // F15: each copy has the flags of its own twin
  for (const auto& flags : {std::vector<std::string>{}, {"\\Seen"}, {"\\Answered"}})
    w.source.put(World::kUser, "INBOX", mail("same"), {flags.begin(), flags.end()});
  w.source.put(World::kUser, "Z", mail("later"));
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = seconds(25);
  w.settings.load.settle = seconds(10);
  w.run();
  w.clock.pass(seconds(60));
  ASSERT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 6u) << "the zombie has doubled everything";
  w.run();
  w.expect_equal("after the sweep");
  EXPECT_EQ(w.query("SELECT count(*) FROM surplus WHERE removed=1"), 3);
}

TEST_F(Contract, ZombieOfWhatTheSourceDeletedMeanwhileIsListedAndLeft) {
  fill(3);
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = seconds(60);
  w.settings.load.settle = seconds(10);
  // Deleted when the first attempt is proven absent, before the second.
  w.on_step = [&](std::uint64_t) {
    auto& there = w.source.users[World::kUser]["INBOX"].messages;
    if (w.clock.now() >= seconds(10) && there.size() == 3) there.erase(there.begin());
  };
  w.run();
  ASSERT_EQ(w.query("SELECT count(*) FROM message WHERE state=5 AND attempts>0"), 1);
  w.clock.pass(seconds(90));
  ASSERT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 5u);
  w.run();
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 3u);
  EXPECT_EQ(w.query("SELECT count(*) FROM surplus WHERE removed=1"), 2);
  EXPECT_EQ(w.query("SELECT count(*) FROM surplus WHERE removed=0 AND detail LIKE '%deleted there while%'"), 1);
  w.expect_in_order();
}

TEST_F(Contract, SurplusIsOnlyListedWithoutUidplusOrWhenItsUserTouchedIt) {
  for (const bool uidplus : {true, false}) {
    World world;
    if (!uidplus) world.target.quirks.capabilities.erase("UIDPLUS");
    world.source.put(World::kUser, "INBOX", mail("a"));
    world.run();
    // As if a second attempt had been made, and its zombie were here now, read by its user.
    {
      state::Store store(world.settings.state, state::Store::Mode::existing);
      store.db().exec("UPDATE message SET attempts=2");
    }
    auto& copy = world.target.put(World::kUser, "INBOX", mail("a"));
    if (uidplus) copy.flags.insert("\\Flagged");
    world.run();
    EXPECT_EQ(world.target.bodies(World::kUser, "INBOX").size(), 2u) << "left there";
    EXPECT_EQ(world.query("SELECT count(*) FROM surplus WHERE removed=0"), 1) << "and listed";
    world.expect_in_order();
  }
}

TEST_F(Contract, UsersOwnCopyAndNewMailOnTheTargetAreNeverTouched) {
  fill(3);
  w.run();
  w.target.put(World::kUser, "INBOX", mail("new mail"));
  w.target.put(World::kUser, "INBOX", mail("message 1"));  // its user copied it
  fill(1);
  w.run();
  const auto bodies = w.target.bodies(World::kUser, "INBOX");
  EXPECT_EQ(std::count(bodies.begin(), bodies.end(), mail("new mail")), 1);
  EXPECT_GE(std::count(bodies.begin(), bodies.end(), mail("message 1")), 2);
  w.expect_in_order();
}

TEST_F(Contract, RefusedMultiappendThatKeptItsFirstMessagesIsLookedAt) {  // attack 3
  for (const bool uidplus : {true, false}) {  // without UIDPLUS no sweep could put it right afterwards
    World x;
    if (!uidplus) x.target.quirks.capabilities.erase("UIDPLUS");
    for (int i = 0; i < 10; ++i) x.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    x.source.put(World::kUser, "INBOX", std::string("X: y\r\n\r\npoison"));
    for (int i = 10; i < 15; ++i) x.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    x.target.quirks.keeps_first_of_refused_multi = true;
    x.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
      if (m.octets.find("poison") != std::string::npos) return "NO Message looks bad";
      return std::nullopt;
    };
    EXPECT_EQ(x.run().exit, 3);
    EXPECT_EQ(x.target.bodies(World::kUser, "INBOX").size(), 15u);
    EXPECT_EQ(x.query("SELECT count(*) FROM message WHERE state=7"), 1);
    EXPECT_EQ(x.query("SELECT count(*) FROM surplus"), 0);
    x.expect_in_order();
  }
}

TEST_F(Contract, NoAfterACommitIsLookedAtBeforeAnythingIsSentAgain) {  // attack 3
  for (const bool multi : {true, false}) {
    World world;
    if (!multi) world.target.quirks.capabilities.erase("MULTIAPPEND");
    for (int i = 0; i < 5; ++i) world.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    bool once = true;
    world.target.quirks.refuses_after_storing = true;
    world.target.quirks.refuse = [&](const ModelMessage&) -> std::optional<std::string> {
      if (!std::exchange(once, false)) return std::nullopt;
      return "NO [UNAVAILABLE] try later";
    };
    EXPECT_EQ(world.run().exit, 0);
    world.expect_equal(multi ? "multi" : "single");
    world.expect_in_order();
  }
}

TEST_F(Contract, PoisonIsBisectedRepairedMinimallyAndElseQuarantinedWithItsWords) {
  fill(30);
  const std::string mbox = "From someone Mon Jan 1\r\n" + mail("mbox"), nul = mail("nul", std::string("a\0b\r\n", 5)),
                    virus = mail("virus", "EICAR\r\n");
  for (const auto& m : {mbox, nul, virus}) w.source.put(World::kUser, "INBOX", m);
  fill(30);
  w.target.quirks.nul_to_80 = false;
  w.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
    if (m.octets.starts_with("From ")) return "NO Message contains invalid header";
    if (m.octets.find('\0') != std::string::npos) return "NO Message contains NUL characters";
    if (m.octets.find("EICAR") != std::string::npos) return "NO [CANNOT] virus found";
    return std::nullopt;
  };
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 62u);
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='repair'"), 2);
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='quarantine' AND detail LIKE '%virus found%'"), 1);
  std::size_t eml = 0;
  for (const auto& f : std::filesystem::directory_iterator(w.settings.state + "/quarantine"))
    if (f.path().extension() == ".eml") {
      ++eml;
      EXPECT_EQ(std::filesystem::file_size(f.path()), virus.size());
    }
  EXPECT_EQ(eml, 1u);
  w.expect_in_order();
  expect_nothing_left_to_do();
  // Adopt knows repaired forms too (attack 2).
  w.lose_state();
  w.run();
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 62u);
  // Raise the limit, retry.
  w.target.quirks.refuse = nullptr;
  EXPECT_EQ(w.run("retry").exit, 0);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 63u);
  w.expect_in_order();
}

TEST_F(Contract, LargeBodyIsRepairedWhereThatLeavesItsOctetsAlone) {  // F36, F37
  for (const bool literal_plus : {true, false}) {
    World world;
    if (!literal_plus) world.target.quirks.capabilities.erase("LITERAL+");
    const std::string large(2 << 20, 'x');
    world.source.put(World::kUser, "INBOX", mail("keyword") + large + "\r\n", {"\\Seen", "$Odd"});
    world.source.put(World::kUser, "INBOX", mail("date") + large + "\r\n").date = "12-Jul-2020 02:44:25 +0000";
    world.source.put(World::kUser, "INBOX", mail("virus") + large + "\r\n");
    world.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
      if (m.flags.contains("$Odd")) return "NO Invalid keyword";
      if (m.date.starts_with("12-")) return "NO Invalid date";
      if (m.octets.find("virus") != std::string::npos) return "NO [CANNOT] virus found";
      return std::nullopt;
    };
    EXPECT_EQ(world.run().exit, 3) << "one is quarantined";
    const auto& there = world.target.users[World::kUser]["INBOX"].messages;
    ASSERT_EQ(there.size(), 2u);
    EXPECT_EQ(there[0].flags, (std::set<std::string>{"\\Seen"}));
    EXPECT_EQ(there[1].date, "17-Jul-2020 02:44:25 +0000") << "that of its Date: header";
    EXPECT_EQ(world.query("SELECT count(*) FROM note WHERE kind='repair'"), 2);
    EXPECT_EQ(world.query("SELECT count(*) FROM note WHERE kind='quarantine' AND detail LIKE '%virus found%'"), 1);
    world.expect_in_order();
    const auto appends = world.target.appends;
    world.run();
    EXPECT_EQ(world.target.appends, appends);
  }
}

TEST_F(Contract, RepairedMessageStoredBeforeACrashIsNotSentTwice) {  // attack 2
  w.source.put(World::kUser, "INBOX", "From someone Mon Jan 1\r\n" + mail("mbox"));
  w.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
    if (m.octets.starts_with("From ")) return "NO Message contains invalid header";
    return std::nullopt;
  };
  w.target.strikes[2] = Strike::lose_answer;
  w.run();
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 1u);
  w.expect_in_order();
}

TEST_F(Contract, LateCopyOfARepairedMessageIsNotTakenForAnEqualOne) {
  w.source.put(World::kUser, "INBOX", "From someone Mon Jan 1\r\n" + mail("twin"), {"\\Seen"}).date =
      "15-Jul-2020 02:44:25 +0000";
  w.source.put(World::kUser, "INBOX", mail("twin"), {"\\Flagged"}).date = "16-Jul-2020 02:44:25 +0000";
  w.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
    if (m.octets.starts_with("From ")) return "NO Message contains invalid header";
    return std::nullopt;
  };
  w.target.strikes[3] = Strike::freeze;  // of the repaired one; both together, and the first alone, were refused
  w.target.strikes[4] = Strike::freeze;
  w.target.thaw = std::chrono::seconds(15);  // after the settle, when both are in doubt
  w.run();
  w.run();
  std::multiset<std::string> there;
  for (const auto& m : w.target.users[World::kUser]["INBOX"].messages) there.insert(m.date + " " + *m.flags.begin());
  EXPECT_EQ(there,
            (std::multiset<std::string>{"15-Jul-2020 02:44:25 +0000 \\Seen", "16-Jul-2020 02:44:25 +0000 \\Flagged"}));
  w.expect_in_order();
}

TEST_F(Contract, RefusedMessageIsTriedInItsOwnFormAgain) {
  const std::string mbox = "From someone Mon Jan 1\r\n" + mail("mbox");
  w.source.put(World::kUser, "INBOX", mbox);
  w.target.quirks.refuse = [](const ModelMessage&) -> std::optional<std::string> { return "NO not today"; };
  w.run();
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=7"), 1);
  w.target.quirks.refuse = nullptr;
  EXPECT_EQ(w.run("retry").exit, 0);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX"), std::vector<std::string>{mbox});
}

TEST_F(Contract, RawHeaderRewrittenByTheTargetIsBoundNotedAndNotSentTwice) {  // attack 1
  w.source.put(World::kUser, "INBOX",
               mail("\xc3\x9c"
                    "bersicht?"));
  w.target.quirks.header_8bit_to_x = true;
  w.target.strikes[1] = Strike::lose_answer;
  const auto r = w.run();
  EXPECT_EQ(r.exit, 0) << r.error;
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 1u);
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='rewritten'"), 1);
  w.lose_state();
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 1u) << "adopted by E1x";
  w.expect_in_order();
}

TEST_F(Contract, SourceThatDeletesAfterTheWindowLeftLeavesNoEndlessPending) {  // attack 4
  // Die right after the window was stored, then the source loses the messages. Of a streamed one, too: its E1 is
  // durable before the octets that let the server store it.
  for (const bool large : {false, true}) {
    for (std::uint64_t n = 1;; ++n) {
      World y;
      if (large) y.source.put(World::kUser, "INBOX", mail("large", std::string(1100 * 1024, 'x') + "\r\n"));
      for (int i = 0; i < 4; ++i) y.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
      ASSERT_TRUE(y.run("run", n).died);
      const auto stored = static_cast<std::int64_t>(y.target.bodies(World::kUser, "INBOX").size());
      if (stored == 0) continue;
      y.source.users[World::kUser]["INBOX"].messages.clear();
      const auto r = y.run();
      EXPECT_EQ(r.exit, 0) << r.error;
      EXPECT_EQ(static_cast<std::int64_t>(y.target.bodies(World::kUser, "INBOX").size()), stored);
      EXPECT_EQ(y.query("SELECT count(*) FROM message WHERE state IN (3,4)"), stored) << "bound from the stored E1";
      y.expect_in_order();
      break;
    }
  }
}

TEST_F(Contract, NewUidValidityAtTheSourceCopiesNothingAgain) {  // attacks 4, 5
  fill(20);
  w.run();
  auto& box = w.source.users[World::kUser]["INBOX"];
  box.uid_validity = 99;
  for (auto& m : box.messages) m.uid += 500;
  box.uid_next += 500;
  w.source.put(World::kUser, "INBOX", mail("really new"));
  const auto r = w.run();
  EXPECT_EQ(r.exit, 0) << r.error;
  EXPECT_EQ(r.appended, 1u);
  w.expect_equal();
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=5"), 0) << "nothing is gone that exists";
  w.expect_in_order();
}

TEST_F(Contract, UidValidityThatChangesBetweenInventoryAndLoadStopsThatMailboxOnly) {  // attack 5
  fill(3);
  w.source.put(World::kUser, "Other", mail("x"));
  // The inventory alone: the target refuses the log-in.
  w.target.passwords[World::kUser] = "other";
  w.run();
  w.target.passwords[World::kUser] = "secret";
  w.source.users[World::kUser]["INBOX"].uid_validity = 77;
  const auto r = w.run("load");
  EXPECT_EQ(w.target.bodies(World::kUser, "Other").size(), 1u);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 0u);
  EXPECT_EQ(r.exit, 3);
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=5"), 0);
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, ShortListUnderOkIsNotTakenForComplete) {  // attack 5
  fill(5);
  w.source.quirks.short_lists = true;
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3) << "the mailbox is named";
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=5"), 0);
  w.source.quirks.short_lists = false;
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
}

TEST_F(Contract, MessageThatVanishedBeforeItWasCopiedIsGoneAndNeverAnEmptyMessage) {  // F42
  for (const bool nil : {true, false}) {
    World world;
    world.source.quirks.nil_for_expunged = nil;
    for (int i = 0; i < 3; ++i) world.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    world.target.passwords[World::kUser] = "other";
    world.run();  // the inventory only
    world.target.passwords[World::kUser] = "secret";
    auto& box = world.source.users[World::kUser]["INBOX"];
    box.messages.erase(box.messages.begin() + 1);
    const auto r = world.run("load");
    EXPECT_EQ(world.target.bodies(World::kUser, "INBOX").size(), 2u);
    EXPECT_EQ(world.query("SELECT count(*) FROM message WHERE state=5"), 1) << r.error;
    EXPECT_EQ(r.exit, 0);
    world.expect_in_order();
  }
}

TEST_F(Contract, EmptyMessageIsQuarantinedAndNeverSent) {  // F35
  fill(2);
  w.source.put(World::kUser, "INBOX", "");
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3);
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='quarantine' AND detail LIKE '%no octets%'"), 1);
  w.expect_in_order();
}

TEST_F(Contract, AppenduidThatCannotBeTrueIsNotBelieved) {  // S13, attack 11
  using A = Quirks::AppendUid;
  for (const A lie : {A::swapped, A::wrong_validity, A::absent, A::too_low, A::repeated, A::far_too_high}) {
    World world;
    world.target.quirks.append_uid = lie;
    for (int i = 0; i < 20; ++i) world.target.put(World::kUser, "INBOX", mail("stranger " + std::to_string(i)));
    for (int i = 0; i < 10; ++i) world.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    const auto r = world.run();
    EXPECT_EQ(r.exit, 0) << static_cast<int>(lie) << r.error;
    EXPECT_EQ(world.target.bodies(World::kUser, "INBOX").size(), 30u);
    world.expect_in_order();
    // Only what looks right in every respect is believed at first, and found out when UIDNEXT shows it to be wrong.
    EXPECT_EQ(world.query("SELECT count(*) FROM event WHERE kind='target UIDs not believed'"),
              lie == A::far_too_high ? 1 : 0)
        << static_cast<int>(lie);
    EXPECT_EQ(world.run("verify").exit, 0);
  }
}

TEST_F(Contract, BodyThatTheTargetStoresAlteredIsFoundByTheRunItself) {
  fill(3);
  w.target.quirks.alters = [](std::string& octets) {
    if (octets.find("message 1") != std::string::npos) octets += "footer\r\n";
  };
  const auto r = w.run();
  EXPECT_EQ(r.exit, 4);
  ASSERT_EQ(r.verified.differences.size(), 1u);
  EXPECT_EQ(r.verified.differences[0].kind, "another body");
}

TEST_F(Contract, AcknowledgedAndNowhereToBeFoundEndsAsQuarantinedWithItsStory) {  // attacks 6, 7
  w.target.quirks.capabilities.erase("UIDPLUS");
  w.target.quirks.hides_fresh = seconds(1000000);
  fill(2);
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3);
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state<3"), 0) << "pending reaches 0";
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='quarantine' AND detail LIKE '%said it stored%'"), 2);
  w.expect_in_order();
}

TEST_F(Contract, AcknowledgedAndLostIsNotFoundInAnotherMailboxThatIsBeingCopied) {
  w.target.quirks.capabilities.erase("UIDPLUS");
  w.source.put(World::kUser, "INBOX", mail("the same"));
  w.source.put(World::kUser, "Archive", mail("the same"));
  fill(500, "Archive");
  bool lost = false;
  w.on_step = [&](std::uint64_t) {
    auto& box = w.target.users[World::kUser]["INBOX"];
    if (!lost && !box.messages.empty() && !w.target.users[World::kUser]["Archive"].messages.empty()) {
      box.messages.clear();
      lost = true;
    }
  };
  EXPECT_EQ(w.run().exit, 3);
  ASSERT_TRUE(lost);
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='quarantine' AND detail LIKE '%said it stored%'"), 1);
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state IN (3, 4)"), 501);
  EXPECT_EQ(w.target.bodies(World::kUser, "Archive"), w.source.bodies(World::kUser, "Archive"));
  w.expect_in_order();
}

TEST_F(Contract, AcknowledgedAndMovedByItsUserIsFoundInTheOtherMailbox) {  // attack 6
  // Die when both are acknowledged and not yet bound; then their user moves one.
  for (std::uint64_t n = 1;; ++n) {
    World y;
    y.target.quirks.capabilities.erase("UIDPLUS");
    for (int i = 0; i < 2; ++i) y.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    if (!y.run("run", n).died) FAIL() << "never acknowledged";
    if (!std::filesystem::exists(y.settings.state + "/state.db") ||
        y.query("SELECT count(*) FROM sqlite_schema WHERE name='message'") == 0)
      continue;
    if (y.query("SELECT count(*) FROM message WHERE state=2") < 2) continue;
    auto& inbox = y.target.users[World::kUser]["INBOX"];
    y.target.put(World::kUser, "Moved", inbox.messages.back().octets);
    inbox.messages.pop_back();
    y.run();
    EXPECT_EQ(y.target.bodies(World::kUser, "INBOX").size() + y.target.bodies(World::kUser, "Moved").size(), 2u)
        << "nothing was sent again";
    EXPECT_EQ(y.query("SELECT count(*) FROM note WHERE kind='excluded' AND detail LIKE '%Moved%'"), 1);
    y.expect_in_order();
    break;
  }
}

TEST_F(Contract, TargetMailboxMadeAnewIsBoundByContentBeforeAnythingElse) {  // attack 9
  for (const bool lower_uidnext : {false, true}) {
    World world;
    for (int i = 0; i < 10; ++i) world.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    world.run();
    auto& box = world.target.users[World::kUser]["INBOX"];
    if (!lower_uidnext) box.uid_validity = 500;
    std::reverse(box.messages.begin(), box.messages.end());
    std::uint32_t uid = 1;
    box.messages.erase(box.messages.begin());  // one is not in the restored mailbox
    for (auto& m : box.messages) m.uid = uid++;
    box.uid_next = uid;
    box.messages.insert(box.messages.begin(),
                        ModelMessage{uid++, mail("a stranger"), {}, "17-Jul-2020 02:44:25 +0000", {}});
    std::sort(box.messages.begin(), box.messages.end(), [](const auto& a, const auto& b) { return a.uid < b.uid; });
    box.uid_next = lower_uidnext ? 10 : uid;
    if (lower_uidnext) box.messages.pop_back();
    const auto appends = world.target.appends;
    const auto r = world.run();
    EXPECT_EQ(world.target.appends, appends) << "nothing is sent again without being asked to";
    EXPECT_EQ(r.exit, 3) << r.error << " the one that is missing is named";
    EXPECT_EQ(world.query("SELECT count(*) FROM message WHERE state IN (3,4)"), 9);
    world.expect_in_order();
  }
}

TEST_F(Contract, StateLostWhileAZombieIsInFlightIsSweptOrListed) {  // attack 13
  fill(5);
  w.target.strikes[1] = Strike::freeze;
  w.target.thaw = seconds(100000);
  w.settings.load.settle = seconds(1);
  // The first process is killed while the server sits on its window.
  std::uint64_t n = 1;
  for (; w.target.appends == 0; ++n) w.run("run", n);
  w.lose_state();
  EXPECT_EQ(w.run().exit, 0);
  w.clock.pass(seconds(200000));
  ASSERT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 10u);
  w.run();
  EXPECT_EQ(w.query("SELECT count(*) FROM surplus"), 5) << "listed: this store sent them only once";
  w.expect_in_order();
}

TEST_F(Contract, CopyLostBeforeItWasVerifiedIsNeverCalledItsUsersDoing) {  // attack 14
  fill(3);
  w.settings.verify = pipeline::VerifyLevel::none;
  w.run();
  w.target.users[World::kUser]["INBOX"].messages.pop_back();
  EXPECT_EQ(w.run("verify").exit, 4);
}

TEST_F(Contract, VerifyNamesEveryPlantedFault) {
  const auto plant = [](const std::function<void(World&, ModelMailbox&)>& fault) {
    World world;
    for (int i = 0; i < 5; ++i) world.source.put(World::kUser, "INBOX", mail(std::to_string(i)), {"\\Seen"});
    world.source.put(World::kUser, "Sub", mail("sub"));
    world.source.users[World::kUser]["Sub"].subscribed = true;
    world.settings.verify = pipeline::VerifyLevel::none;  // so that nothing can be laid at a user's door
    EXPECT_EQ(world.run().exit, 0);
    fault(world, world.target.users[World::kUser]["INBOX"]);
    const auto r = world.run("verify");
    std::set<std::string> kinds;
    for (const auto& d : r.verified.differences) kinds.insert(d.kind);
    return std::make_pair(r.exit, kinds);
  };
  using R = std::pair<int, std::set<std::string>>;
  EXPECT_EQ(plant([](World&, ModelMailbox&) {}), R(0, {}));
  EXPECT_EQ(plant([](World&, ModelMailbox& b) { b.messages.pop_back(); }), R(4, {"absent"}));
  EXPECT_EQ(plant([](World& x, ModelMailbox&) { x.target.put(World::kUser, "INBOX", mail("3")); }),
            R(4, {"duplicate"}));
  EXPECT_EQ(plant([](World&, ModelMailbox& b) { std::swap(b.messages[0].octets, b.messages[1].octets); }),
            R(4, {"another body"}));
  EXPECT_EQ(plant([](World&, ModelMailbox& b) { b.messages[0].octets += "x"; }), R(4, {"another body"}));
  EXPECT_EQ(plant([](World&, ModelMailbox& b) { b.messages[0].flags = {"\\Flagged"}; }), R(4, {"flags"}));
  EXPECT_EQ(plant([](World&, ModelMailbox& b) { b.messages[0].date = "18-Jul-2020 02:44:25 +0000"; }), R(4, {"date"}));
  EXPECT_EQ(plant([](World& x, ModelMailbox&) { x.target.users[World::kUser]["Sub"].subscribed = false; }),
            R(4, {"subscription"}));
  EXPECT_EQ(plant([](World& x, ModelMailbox&) { x.source.put(World::kUser, "INBOX", mail("new")); }),
            R(3, {"new at the source"}));
  EXPECT_EQ(plant([](World& x, ModelMailbox&) { x.source.users[World::kUser]["New"]; }), R(3, {"new mailbox"}));
  EXPECT_EQ(plant([](World& x, ModelMailbox& b) {
              // UIDs swapped on the target: bodies are all there, in another order.
              std::swap(b.messages[0].octets, b.messages[4].octets);
              x.target.put(World::kUser, "INBOX", mail("stranger"));
            }),
            R(4, {"another body"}));
}

TEST_F(Contract, WhatItsUserChangedAfterVerificationIsExplained) {
  fill(3);
  w.run();
  auto& box = w.target.users[World::kUser]["INBOX"];
  box.messages[0].flags = {"\\Seen"};
  EXPECT_EQ(w.run("verify").exit, 0) << "flags of what had been verified";
  box.messages.pop_back();
  EXPECT_EQ(w.run("verify").exit, 3) << "every absence is said aloud";
  box.messages[0].octets += "x";
  EXPECT_EQ(w.run("verify").exit, 4) << "never a body";
}

TEST_F(Contract, DatesThatServersSpoilAreReplacedOrNoted) {  // F36
  w.source.put(World::kUser, "INBOX", mail("bad")).date = "00-Jan-0000 00:00:00 +0000";
  w.source.put(World::kUser, "INBOX", mail("old")).date = "01-Jan-1960 00:00:00 +0000";
  w.source.put(World::kUser, "INBOX", mail("good")).date = "05-May-2011 05:05:05 +0500";
  EXPECT_EQ(w.run().exit, 0);
  const auto& m = w.target.users[World::kUser]["INBOX"].messages;
  EXPECT_EQ(m[0].date, "17-Jul-2020 02:44:25 +0000") << "the Date: header";
  EXPECT_EQ(m[1].date, "17-Jul-2020 02:44:25 +0000");
  EXPECT_EQ(m[2].date, " 5-May-2011 05:05:05 +0500");
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='date'"), 2);
  World x;
  x.target.quirks.forgets_dates = true;
  x.source.put(World::kUser, "INBOX", mail("a"));
  EXPECT_EQ(x.run().exit, 0);
  EXPECT_EQ(x.query("SELECT count(*) FROM note WHERE kind='date' AND detail LIKE '%the target stores%'"), 1);
  EXPECT_EQ(x.run("verify").exit, 0) << "a difference on record is explained";
}

TEST_F(Contract, FlagsThatTheTargetDoesNotKeepAreLeftOutAndListed) {  // F37
  w.source.put(World::kUser, "INBOX", mail("a"), {"\\Seen", "$Forwarded", "foo[1]", "\\Recent", "\\Odd"});
  w.target.quirks.permanent_flags = "(\\Seen \\Answered)";
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.target.users[World::kUser]["INBOX"].messages.at(0).flags, (std::set<std::string>{"\\Seen"}));
  EXPECT_EQ(
      w.query("SELECT count(*) FROM note WHERE kind='flags' AND detail LIKE '%$Forwarded%' AND detail LIKE '%foo[1]%'"),
      1);
  EXPECT_EQ(w.run("verify").exit, 0);
}

TEST_F(Contract, QuotaStopsTheAccountAtOnceAndKeepsItsMessagesPending) {  // F27
  fill(100);
  int left = 70;
  w.target.quirks.capabilities.erase("MULTIAPPEND");
  w.target.quirks.refuse = [&](const ModelMessage&) -> std::optional<std::string> {
    if (left-- > 0) return std::nullopt;
    return "NO [OVERQUOTA] Quota exceeded";
  };
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3);
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=7"), 0) << "a full account is no reason to quarantine";
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state<3"), 30);
  w.target.quirks.refuse = nullptr;
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, WrongPasswordIsTriedOnceAndBusyIsNotAWrongPassword) {  // F24, F26
  fill(1);
  w.source.passwords[World::kUser] = "other";
  const auto r = w.run();
  EXPECT_EQ(w.source.logins, 1u);
  EXPECT_EQ(w.target.logins, 0u) << "what one server has refused, the other is not asked";
  EXPECT_EQ(r.exit, 3);
  w.source.passwords[World::kUser] = "secret";
  w.source.refuse_logins = 2;
  EXPECT_EQ(w.run().exit, 0) << "put off twice, then let in";
  w.expect_equal();
}

// While a plan takes the inventory, the target is looked at, too.
TEST_F(Contract, RefusedByTheTargetDuringTheInventoryIsToldInItsWordsAndNotTriedAgain) {
  fill(1);
  w.target.login_answers[1] = "NO [AUTHENTICATIONFAILED] not with that password";
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3);
  EXPECT_EQ(w.target.logins, 1u);
  EXPECT_EQ(w.source.logins, 1u);
  EXPECT_EQ(w.query("SELECT count(*) FROM message"), 1) << "its inventory was taken all the same";
  EXPECT_EQ(w.query("SELECT count(*) FROM account WHERE error LIKE '%not with that password%'"), 1);
}

TEST_F(Contract, AListThatIsLostIsAskedForAgainBeforeAnythingIsPlanned) {
  for (const std::string command : {"run", "retry"}) {  // with an inventory of its own, and from one that is there
    World x;
    x.target.quirks.prefix = "INBOX.";
    x.target.quirks.delimiter = ".";
    for (const char* name : {"INBOX", "Archive"}) x.source.put(World::kUser, name, mail("a message"));
    std::uint64_t before = 0;
    if (command == "retry") {
      x.target.login_answers[1] = "NO not now";
      EXPECT_EQ(x.run().exit, 3);
      before = x.target.commands.size();
    }
    x.target.hang_ups[before + 3] = test::ModelServer::HangUp::before;
    EXPECT_EQ(x.run(command).exit, 0);
    EXPECT_EQ(x.target.commands.at(before + 2), "NAMESPACE");
    EXPECT_EQ(x.target.bodies(World::kUser, "INBOX.Archive").size(), 1u) << command;
    EXPECT_FALSE(x.target.users[World::kUser].contains("Archive")) << command;
  }
}

TEST_F(Contract, ATargetThatWaitedForALongInventoryIsLookedAtAfresh) {
  for (const char* name : {"INBOX", "Archive", "Yard", "Zoo"}) fill(1, name);
  w.settings.verify = pipeline::VerifyLevel::none;
  w.source.quirks.capabilities.erase("LITERAL+");  // its mailboxes are read one by one
  bool passed = false;
  w.on_step = [&](std::uint64_t) {
    if (passed || std::count(w.source.commands.begin(), w.source.commands.end(), "UID FETCH") < 3) return;
    passed = true;
    w.clock.pass(std::chrono::minutes(2));
  };
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_TRUE(passed);
  EXPECT_EQ(w.target.logins, 3u) << "looked at, looked at afresh, and copied to";
  w.expect_equal();
}

TEST_F(Contract, FlagsChangedAtTheSourceAreBroughtWithoutUndoingTheTargetsOwn) {
  w.source.put(World::kUser, "INBOX", mail("a"), {"\\Seen"});
  w.run();
  auto& there = w.target.users[World::kUser]["INBOX"].messages.at(0);
  there.flags.insert("\\Flagged");  // its user
  w.source.users[World::kUser]["INBOX"].messages.at(0).flags = {"\\Answered"};
  ++w.source.users[World::kUser]["INBOX"].modseq;
  w.run();
  EXPECT_EQ(there.flags, (std::set<std::string>{"\\Answered", "\\Flagged"}));
  w.expect_in_order();
}

TEST_F(Contract, PlanWritesNothingOnEitherServer) {  // I8
  fill(3);
  w.target.put(World::kUser, "INBOX", mail("there"));
  w.target.read_only = true;
  w.run("plan");
  EXPECT_TRUE(w.target.violations.empty());
  EXPECT_EQ(w.target.appends, 0u);
}

TEST_F(Contract, ResumeReadsEachMailboxFromItselfWhateverWasOpenedBefore) {
  // Z is in doubt and looked at first, INBOX is copied in between: Z's UIDs must not be read from INBOX.
  for (std::uint64_t n = 20;; n += 7) {
    World x;
    x.target.quirks.capabilities.erase("UIDPLUS");
    for (int i = 0; i < 200; ++i) x.source.put(World::kUser, "INBOX", mail("inbox " + std::to_string(i)));
    for (int i = 0; i < 700; ++i) x.source.put(World::kUser, "Z", mail("z " + std::to_string(i)));
    ASSERT_TRUE(x.run("run", n).died) << "never in that state";
    if (!std::filesystem::exists(x.settings.state + "/state.db") ||
        x.query("SELECT count(*) FROM sqlite_schema WHERE name='message'") == 0)
      continue;
    const std::string z = " AND mailbox=(SELECT id FROM mailbox WHERE name='Z')";
    if (x.query("SELECT count(*) FROM message WHERE state=2" + z) < 64 ||
        x.query("SELECT count(*) FROM message WHERE state=0" + z) < 10)
      continue;
    auto& there = x.target.users[World::kUser]["Z"].messages;
    there.erase(there.begin());  // its user deletes one that was acknowledged
    x.source.put(World::kUser, "INBOX", mail("inbox, new"));
    x.run();
    for (const auto& b : x.target.bodies(World::kUser, "Z")) EXPECT_EQ(b.find("inbox"), std::string::npos);
    EXPECT_EQ(x.target.bodies(World::kUser, "Z").size(), 699u);
    EXPECT_EQ(x.query("SELECT count(*) FROM message WHERE state=5"), 0) << "gone though it is at the source";
    x.expect_in_order();
    break;
  }
}

TEST_F(Contract, CopiesThatShowOnlyAfterTheSettleBeganAreFound) {
  fill(5);
  w.target.quirks.hides_fresh = seconds(5);
  w.target.strikes[1] = Strike::lose_answer;
  EXPECT_EQ(w.run().exit, 0);
  w.clock.pass(seconds(100));
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 5u);
  w.expect_in_order();
}

TEST_F(Contract, HiddenFreshMessagesWithoutUidplusAreWaitedFor) {
  w.target.quirks.capabilities.erase("UIDPLUS");
  w.target.quirks.hides_fresh = seconds(5);
  fill(3);
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, RetryLooksBeforeItSendsWhatWasSaidToBeStored) {
  w.target.quirks.capabilities.erase("UIDPLUS");
  w.target.quirks.hides_fresh = seconds(500);
  fill(3);
  EXPECT_EQ(w.run().exit, 3);
  w.clock.pass(seconds(1000));
  EXPECT_EQ(w.run("retry").exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, ShortListOfTheTargetProvesNothing) {
  for (const bool uidplus : {true, false}) {  // without UIDPLUS no sweep could put it right afterwards
    World x;
    if (!uidplus) x.target.quirks.capabilities.erase("UIDPLUS");
    for (int i = 0; i < 5; ++i) x.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    x.target.strikes[1] = Strike::lose_answer;
    x.target.quirks.short_lists = true;
    x.run();
    x.target.quirks.short_lists = false;
    EXPECT_EQ(x.run().exit, 0);
    x.expect_equal();
    x.expect_in_order();
  }
}

TEST_F(Contract, NilForACopyThatIsListedIsNotItsAbsence) {
  fill(5);
  w.target.strikes[1] = Strike::lose_answer;
  int left = 1;
  w.target.quirks.nil_body = [&](const ModelMessage&) { return left-- > 0; };
  w.run();
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, OneThatWasRefusedAndThenCameEmptyIsReadOnceMore) {
  fill(3);
  const auto second = [&](const ModelMessage& m) { return m.uid == 2; };
  int empty = 0;
  // The third log-in at the source is the one that asks again.
  w.source.quirks.refuses_body = [&](const ModelMessage& m) { return second(m) && w.source.logins < 3; };
  w.source.quirks.empty_body = [&](const ModelMessage& m) { return second(m) && empty++ == 0; };
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.source.logins, 3u);
  EXPECT_EQ(empty, 2) << "empty, and then whole";
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, AnotherMessageIsNeverTakenForARewrittenHeader) {
  w.target.put(World::kUser, "INBOX", mail("\xc3\xa9"));
  w.source.put(World::kUser, "INBOX", mail("\xc3\xa8"));
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 2u);
}

TEST_F(Contract, CopyOfAnotherMailboxThatIsBoundIsNotTakenForAMovedOne) {
  w.source.put(World::kUser, "INBOX", mail("both"));
  w.source.put(World::kUser, "A", mail("both"));
  w.source.put(World::kUser, "A", mail("only"));
  w.run();
  auto& box = w.target.users[World::kUser]["A"];  // restored without its first message
  box.uid_validity = 500;
  box.messages.erase(box.messages.begin());
  box.messages[0].uid = 1;
  box.uid_next = 2;
  const auto r = w.run();
  EXPECT_EQ(r.exit, 3);
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=6"), 0);
  EXPECT_EQ(w.query("SELECT count(*) FROM message WHERE state=7"), 1)
      << pipeline::report_text(r.report) << "and its octets are kept";
}

TEST_F(Contract, UidValidityThatGoesThereAndBackLosesNothing) {
  fill(5);
  w.target.passwords[World::kUser] = "other";
  w.run();
  w.source.users[World::kUser]["INBOX"].uid_validity = 99;
  w.run();
  w.source.users[World::kUser]["INBOX"].uid_validity = 11;
  w.target.passwords[World::kUser] = "secret";
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, AnUnchangedMailboxIsNotListedAgainWhereTheSourceTellsChanges) {
  w.source.quirks.capabilities.insert("CONDSTORE");
  fill(3);
  fill(4, "Archive");
  EXPECT_EQ(w.run().exit, 0);
  w.source.commands.clear();
  EXPECT_EQ(w.run().exit, 0);
  const auto& said = w.source.commands;
  EXPECT_EQ(std::count(said.begin(), said.end(), "EXAMINE") + std::count(said.begin(), said.end(), "UID FETCH"), 0);
  auto& archive = w.source.users[World::kUser]["Archive"];
  archive.messages.at(1).flags.insert("\\Flagged");
  ++archive.modseq;
  w.source.commands.clear();
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(std::count(said.begin(), said.end(), "UID FETCH"), 1);
  EXPECT_TRUE(w.target.users[World::kUser]["Archive"].messages.at(1).flags.contains("\\Flagged"));
}

TEST_F(Contract, MailboxThatComesBackUnchangedIsNotLeftBehind) {
  w.source.quirks.capabilities.insert("CONDSTORE");
  fill(1);
  for (int i = 0; i < 5; ++i) w.source.put(World::kUser, "A", mail(std::to_string(i)));
  w.target.passwords[World::kUser] = "other";
  w.run();
  w.target.passwords[World::kUser] = "secret";
  const auto kept = w.source.users[World::kUser]["A"];
  w.source.users[World::kUser].erase("A");
  w.run();
  w.source.users[World::kUser]["A"] = kept;
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  w.expect_in_order();
}

TEST_F(Contract, LaterLiteralOfAMultiappendRefusedProvesNothingOfThoseBefore) {
  for (const bool uidplus : {true, false}) {
    World x;
    x.target.quirks.capabilities.erase("LITERAL+");
    if (!uidplus) x.target.quirks.capabilities.erase("UIDPLUS");
    for (int i = 0; i < 6; ++i) x.source.put(World::kUser, "INBOX", mail(std::to_string(i)));
    x.target.quirks.refuses_literal = 5;
    EXPECT_EQ(x.run().exit, 0);
    x.expect_equal(uidplus ? "UIDPLUS" : "no UIDPLUS");
    EXPECT_EQ(x.query("SELECT count(*) FROM surplus"), 0);
    x.expect_in_order();
  }
}

TEST_F(Contract, SizesThatCannotBeAreNoReasonToStop) {  // F43
  fill(2);
  w.source.quirks.size_lie = "9223372036854775807";
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
}

TEST_F(Contract, MailboxInDoubtThatIsNoMoreDoesNotHoldUpTheOthers) {
  for (std::uint64_t n = 1;; ++n) {
    World x;
    x.source.put(World::kUser, "A", mail("a"));
    ASSERT_TRUE(x.run("run", n).died);
    if (x.target.bodies(World::kUser, "A").empty()) continue;
    x.source.users[World::kUser].erase("A");
    x.target.users[World::kUser].erase("A");
    x.source.put(World::kUser, "INBOX", mail("new"));
    x.run();
    EXPECT_EQ(x.target.bodies(World::kUser, "INBOX").size(), 1u);
    break;
  }
}

TEST_F(Contract, PasswordThatAServerRepeatsIsNotWrittenDown) {  // S23
  fill(1);
  w.source.quirks.echoes_refused_login = true;
  w.source.passwords[World::kUser] = "changed";
  const auto r = w.run();
  EXPECT_EQ(w.query("SELECT count(*) FROM account WHERE error LIKE '%LOGIN%***%'"), 1);
  EXPECT_EQ(w.query("SELECT count(*) FROM account WHERE error LIKE '%secret%'"), 0);
  EXPECT_EQ(boost::json::serialize(r.report).find("secret"), std::string::npos);
}

TEST_F(Contract, SpecialUseThatMovesToAnotherMailboxIsFollowed) {
  fill(1);
  w.source.users[World::kUser]["Sent Messages"].attributes = "\\Sent";
  w.target.users[World::kUser]["Sent"].attributes = "\\Sent";
  w.run();
  w.source.users[World::kUser].erase("Sent Messages");
  w.source.put(World::kUser, "Sent Items", mail("s"));
  w.source.users[World::kUser]["Sent Items"].attributes = "\\Sent";
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.target.bodies(World::kUser, "Sent").size(), 1u);
}

TEST_F(Contract, ARefusedSubscriptionIsSaidAndCostsNoMail) {
  fill(3);
  w.source.users[World::kUser]["INBOX"].subscribed = true;
  w.source.users[World::kUser]["Empty"].subscribed = true;
  w.target.quirks.refuses_subscribe = true;
  w.settings.verify = pipeline::VerifyLevel::none;
  w.run();
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 3u);
  EXPECT_EQ(w.query("SELECT count(*) FROM mailbox WHERE target_error LIKE 'Could not subscribe %: server said NO "
                    "[LIMIT] too many subscriptions.'"),
            2);
  w.target.quirks.refuses_subscribe = false;
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.query("SELECT count(*) FROM mailbox WHERE target_error<>''"), 0);
  EXPECT_TRUE(w.target.users[World::kUser]["INBOX"].subscribed);
  EXPECT_TRUE(w.target.users[World::kUser]["Empty"].subscribed);
}

TEST_F(Contract, ARefusedSubscriptionThatSomebodyMendedIsForgotten) {
  fill(3);
  w.source.users[World::kUser]["INBOX"].subscribed = true;
  w.target.quirks.refuses_subscribe = true;
  w.run();
  EXPECT_EQ(w.run().exit, 3);
  w.target.users[World::kUser]["INBOX"].subscribed = true;  // its user, with a mail client
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(w.query("SELECT count(*) FROM mailbox WHERE target_error<>''"), 0);
}

TEST_F(Contract, AnOldStoresSpellingOfFlagsIsNoDifference) {
  w.source.put(World::kUser, "INBOX", mail("a"), {"\\SEEN"});
  w.settings.verify = pipeline::VerifyLevel::none;
  w.run();
  w.query("UPDATE flagset SET names='\\SEEN' WHERE names='\\Seen'");
  w.target.users[World::kUser]["INBOX"].messages.front().flags = {"\\SEEN"};
  const auto verified = w.run("verify");
  EXPECT_EQ(verified.exit, 0);
  EXPECT_TRUE(verified.verified.differences.empty());
  EXPECT_EQ(w.query("SELECT count(*) FROM note WHERE kind='flags'"), 0);
}

TEST_F(Contract, DeletedPolicyHoldsForLargeMessagesAndForLaterFlags) {
  for (const auto policy : {load::DeletedPolicy::skip, load::DeletedPolicy::unmark}) {
    World x;
    x.settings.load.deleted = policy;
    x.source.put(World::kUser, "INBOX", mail("big", std::string(1100 * 1024, 'x')), {"\\DELETED"});
    x.source.put(World::kUser, "INBOX", mail("later"));
    x.run();
    EXPECT_EQ(x.target.bodies(World::kUser, "INBOX").size(), policy == load::DeletedPolicy::skip ? 1u : 2u);
    x.source.users[World::kUser]["INBOX"].messages.at(1).flags = {"\\Deleted", "\\Seen"};
    x.run();
    for (const auto& m : x.target.users[World::kUser]["INBOX"].messages) EXPECT_FALSE(m.flags.contains("\\Deleted"));
    EXPECT_TRUE(x.target.users[World::kUser]["INBOX"].messages.back().flags.contains("\\Seen"));
    x.expect_in_order();
  }
}

TEST_F(Contract, LossThatVerifyFoundIsNotCalledCompleteByLaterRuns) {
  fill(5);
  w.run();
  w.target.users[World::kUser]["INBOX"].messages.erase(w.target.users[World::kUser]["INBOX"].messages.begin() + 1);
  EXPECT_EQ(w.run().exit, 3) << "fewer than were moved there";
  w.target.put(World::kUser, "INBOX", mail("new mail that hides it"));
  EXPECT_EQ(w.run("verify").exit, 3);
  const auto later = w.run();
  EXPECT_EQ(later.exit, 3) << "on record until it is found again";
  EXPECT_NE(pipeline::verdict_of(later.report).sentence.find("4 of 5"), std::string::npos);
  w.expect_in_order();
}

TEST_F(Contract, SecondCopyThatWasThereBeforeTheStateIsNamedAndLeft) {
  fill(3);
  w.run();
  w.target.put(World::kUser, "INBOX", mail("message 1"));
  w.lose_state();
  const auto r = w.run();
  EXPECT_EQ(r.exit, 0);
  EXPECT_EQ(w.query("SELECT count(*) FROM surplus WHERE removed=0"), 1);
  EXPECT_EQ(pipeline::verdict_of(r.report).sentence.find("nothing is there twice"), std::string::npos);
  const auto v = w.run("verify");
  ASSERT_EQ(v.verified.differences.size(), 1u);
  EXPECT_EQ(v.verified.differences[0].kind, "duplicate");
  EXPECT_EQ(pipeline::verdict_of(v.report).sentence.find("nothing is there twice"), std::string::npos);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 4u);
  w.expect_in_order();
}

TEST_F(Contract, TwoAccountsWithOneTargetLogInAreNotPouredTogether) {
  std::ofstream(w.settings.roster) << "address;password;source_login;target_login\njane@example.org;secret;jane;"
                                      "jane\nbob@example.org;secret;bob;jane\n";
  w.source.passwords["bob"] = "secret";
  w.source.users["bob"]["INBOX"];
  w.source.put("bob", "INBOX", mail("bob's"));
  fill(1);
  EXPECT_EQ(w.run().exit, 3);
  EXPECT_EQ(w.target.bodies(World::kUser, "INBOX").size(), 1u);
}

TEST_F(Contract, StateOfOtherServersIsRefused) {
  fill(1);
  w.run();
  w.settings.target.port = 999;
  const auto r = w.run();
  EXPECT_EQ(r.exit, 10);
  EXPECT_NE(r.error.find("--same-servers"), std::string::npos) << r.error;
}

}  // namespace
}  // namespace test
