// A mailbox that was just made on the target is sent to without being selected first. The same attacks as on any other,
// and those that only it has to fear.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/world.hpp"

namespace test {
namespace {

class MadeMailbox : public ::testing::Test {
 protected:
  static void fill(World& world, int n) {
    world.source.put(World::kUser, "INBOX", mail("in the inbox"));
    for (const char* name : {"Archive", "Zoo"})
      for (int i = 0; i < n; ++i) world.source.put(World::kUser, name, mail(fmt::format("{} {}", name, i)));
  }
  static std::ptrdiff_t selected_before_append(const World& world) {
    const auto& said = world.target.commands;
    return std::count(said.begin(), std::find(said.begin(), said.end(), "APPEND"), "SELECT");
  }
  // Calls `what` once, when the target has been asked to make a mailbox.
  static void when_made(World& world, std::function<void()> what) {
    world.on_step = [&world, what = std::move(what), done = false](std::uint64_t) mutable {
      const auto& said = world.target.commands;
      if (done || std::count(said.begin(), said.end(), "CREATE") < 2) return;
      done = true;
      what();
    };
  }
  static void expect_nothing_left_to_do(World& world) {
    const auto appends = world.target.appends;
    EXPECT_EQ(world.run().exit, 0);
    EXPECT_EQ(world.target.appends, appends) << "a second run sent an APPEND";
    world.expect_equal("after a second run");
    world.expect_in_order();
  }
  World w;
};

TEST_F(MadeMailbox, IsNotSelectedAndAllThereIsToKnowOfItIsKnown) {
  fill(w, 150);
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(selected_before_append(w), 1) << "INBOX";
  w.expect_equal();
  w.expect_in_order();
  for (const char* name : {"Archive", "Zoo"}) {
    const auto& there = w.target.users[World::kUser][name];
    EXPECT_EQ(w.query(fmt::format("SELECT target_validity FROM mailbox WHERE name='{}'", name)), there.uid_validity);
    EXPECT_EQ(w.query(fmt::format("SELECT low_water FROM mailbox WHERE name='{}'", name)), there.uid_next);
    EXPECT_EQ(w.query(fmt::format("SELECT first_u0 FROM mailbox WHERE name='{}'", name)), 1);
  }
  expect_nothing_left_to_do(w);
}

TEST_F(MadeMailbox, IsSelectedWhereItMustBe) {
  for (const bool uidplus : {true, false}) {
    World world;
    fill(world, 5);
    world.source.put(World::kUser, "Zoo", mail("work"), {"\\Seen", "$Work"});
    if (uidplus) world.target.quirks.permanent_flags = "(\\Answered \\Flagged \\Deleted \\Seen \\Draft)";
    else world.target.quirks.capabilities.erase("UIDPLUS");
    EXPECT_EQ(world.run().exit, 0);
    EXPECT_EQ(selected_before_append(world), 3) << "no APPENDUID tells of it, or what it keeps is not known";
    EXPECT_EQ(world.query("SELECT count(*) FROM note WHERE kind='flags' AND detail LIKE '%$Work%'"), uidplus ? 1 : 0);
    world.expect_equal();
    expect_nothing_left_to_do(world);
  }
}

// What comes of it must not depend on whether the mailbox had to be made, or was there and empty.
TEST_F(MadeMailbox, LiesAndLostAnswersAreMetAsInOneThatWasThere) {
  using A = Quirks::AppendUid;
  const auto outcome = [](bool there, bool multi, A lie, std::optional<Strike> strike) {
    World world;
    if (!multi) world.target.quirks.capabilities.erase("MULTIAPPEND");
    fill(world, 12);
    if (there)
      for (const char* name : {"Archive", "Zoo"}) world.target.users[World::kUser][name].uid_validity = name[0];
    world.target.quirks.append_uid = lie;
    if (strike) world.target.strikes[2] = world.target.strikes[4] = *strike;
    std::string out;
    for (int again = 0; again < 2; ++again) out += fmt::format("run {}, ", world.run().exit);
    world.target.quirks.append_uid = A::honest;
    out += fmt::format("run {}, ", world.run().exit);
    out += fmt::format("verify {}, ", world.run("verify").exit);
    world.expect_in_order();
    if (lie == A::honest) world.expect_equal(out);
    for (const char* name : {"INBOX", "Archive", "Zoo"}) {
      auto bodies = world.target.bodies(World::kUser, name);
      std::sort(bodies.begin(), bodies.end());
      for (const auto& b : bodies) out += b;
    }
    return out;
  };
  for (const bool multi : {true, false})
    for (const A lie : {A::honest, A::swapped, A::wrong_validity, A::absent, A::too_low, A::repeated, A::far_too_high})
      for (const auto strike :
           {std::optional<Strike>(), std::optional(Strike::lose_answer), std::optional(Strike::freeze),
            std::optional(Strike::cut), std::optional(Strike::put_off), std::optional(Strike::store_and_no)})
        EXPECT_EQ(outcome(false, multi, lie, strike), outcome(true, multi, lie, strike))
            << multi << static_cast<int>(lie) << (strike ? static_cast<int>(*strike) : -1);
}

TEST_F(MadeMailbox, AnyOtherWithoutLastingUidsIsNotTakenForOne) {
  fill(w, 5);
  w.target.users[World::kUser]["INBOX"].uid_validity = 0;
  EXPECT_EQ(w.run().exit, 3);
  EXPECT_TRUE(w.target.bodies(World::kUser, "INBOX").empty());
  EXPECT_EQ(w.target.bodies(World::kUser, "Zoo").size(), 5u);
  w.expect_in_order();
}

// The first answer alone names another UIDVALIDITY: what it told is found again by content, in the same run.
TEST_F(MadeMailbox, OneOddAnswerCostsNothing) {
  w.target.quirks.capabilities.erase("MULTIAPPEND");
  fill(w, 70);
  w.target.quirks.append_uid = Quirks::AppendUid::wrong_validity;
  w.on_step = [this](std::uint64_t) {
    if (w.target.appends > 0) w.target.quirks.append_uid = Quirks::AppendUid::honest;
  };
  EXPECT_EQ(w.run().exit, 0);
  w.expect_equal();
  expect_nothing_left_to_do(w);
}

// Verification of one whose UIDVALIDITY is not known attests nothing of it.
TEST_F(MadeMailbox, NotReadIsNotAttestedAsEmpty) {
  fill(w, 5);
  w.dies = [this] { return w.target.appends == 1; };
  EXPECT_TRUE(w.run().died);
  w.dies = nullptr;
  const auto r = w.run("verify");
  EXPECT_NE(r.exit, 0);
  EXPECT_TRUE(r.report.at("evidence").at("on_target").is_null()) << r.report;
}

// A stranger's mail came in between: it is looked at before a second window is sent.
TEST_F(MadeMailbox, WhatSomebodyElsePutThereFirstIsNotSentAgain) {
  fill(w, 150);
  when_made(w, [this] {
    w.target.put(World::kUser, "Archive", mail("Archive 64"));  // the first of the second window
    w.target.put(World::kUser, "Zoo", mail("a stranger's"));
  });
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_EQ(selected_before_append(w), 1);
  auto want = w.source.bodies(World::kUser, "Archive"), have = w.target.bodies(World::kUser, "Archive");
  std::sort(want.begin(), want.end());
  std::sort(have.begin(), have.end());
  EXPECT_EQ(have, want);
  EXPECT_EQ(w.target.bodies(World::kUser, "Zoo").size(), 151u);
  w.expect_in_order();
  EXPECT_EQ(w.run("verify").exit, 0);
}

// A server that breaks RFC 3501: what LIST does not show is there, and CREATE says OK. Nothing is lost, no more than
// one window is there twice, and each second copy is told.
TEST_F(MadeMailbox, ThatWasThereAllTheTimeCostsOneWindowAndIsReported) {
  fill(w, 150);
  for (int i = 0; i < 150; ++i) w.target.put(World::kUser, "Archive", mail(fmt::format("Archive {}", i)));
  w.target.quirks.unlisted = {"Archive"};
  w.run();
  w.expect_in_order();
  const auto twice = w.target.bodies(World::kUser, "Archive").size() - 150;
  EXPECT_GT(twice, 0u);
  EXPECT_LE(twice, 64u);
  EXPECT_EQ(w.query("SELECT count(*) FROM surplus WHERE removed=0"), static_cast<std::int64_t>(twice));
}

// What was learnt of it is on record before the UIDs are: another mailbox of its name is told from it.
TEST_F(MadeMailbox, MadeAnewWhileWeWereAwayIsNotTakenForOurs) {
  enum class First : std::uint8_t { ours, a_strangers, without_uid };
  for (const auto first : {First::ours, First::a_strangers, First::without_uid}) {
    World world;
    fill(world, 150);
    if (first == First::without_uid) world.target.quirks.append_uid = Quirks::AppendUid::absent;
    if (first == First::a_strangers)
      when_made(world, [&world] {
        for (const char* name : {"Archive", "Zoo"}) world.target.put(World::kUser, name, mail("a stranger's"));
      });
    world.dies = [&world] { return world.target.appends == 4; };
    EXPECT_TRUE(world.run().died);
    world.dies = nullptr;
    auto& user = world.target.users[World::kUser];
    for (const char* name : {"Archive", "Zoo"}) user[name] = ModelMailbox{}, user[name].uid_validity = 777;
    world.run();
    EXPECT_GE(world.query("SELECT count(*) FROM event WHERE kind='target mailbox changed'"), 1)
        << static_cast<int>(first);
    world.expect_in_order();
  }
}

// Died with the first windows on their way: its UIDVALIDITY is not known yet.
TEST_F(MadeMailbox, LostSightOfBeforeItsUidValidityWasKnownIsFoundAgain) {
  for (const bool late : {false, true}) {
    World world;
    fill(world, 20);
    if (late) world.target.strikes[1] = Strike::freeze;
    world.dies = [&world] { return world.target.appends == 1; };
    EXPECT_TRUE(world.run().died);
    EXPECT_GE(world.query("SELECT count(*) FROM mailbox WHERE target_validity=0 AND first_u0=1"), 1);
    EXPECT_GT(world.query("SELECT count(*) FROM message WHERE state=1"), 0) << "on their way";
    world.dies = nullptr;
    EXPECT_EQ(world.run().exit, 0);
    EXPECT_EQ(world.query("SELECT count(*) FROM mailbox WHERE first_u0=1"), 3)
        << "all that is in it came after it was made";
    world.expect_equal();
    expect_nothing_left_to_do(world);
  }
}

}  // namespace
}  // namespace test
