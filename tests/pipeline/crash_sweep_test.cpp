// The process dies before every step of a migration - each read, write, connection and piece of work for the store -
// and goes on: nothing lost, nothing twice, whatever the server lacks. Then a sample of the resumes is cut at every
// step too.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "tests/support/world.hpp"

namespace test {
namespace {

struct Variant {
  const char* name;
  std::set<std::string> hidden;
  bool faults;
  bool large;           // with a body that is streamed
  bool helped = false;  // by a second pair of connections
};

void PrintTo(const Variant& v, std::ostream* os) { *os << v.name; }

void prepare(World& w, const Variant& v) {
  for (const auto& c : v.hidden) w.target.quirks.capabilities.erase(c);
  w.settings.load.settle = std::chrono::seconds(10);
  w.target.thaw = std::chrono::seconds(4);
  if (v.helped) {
    w.settings.mailboxes_at_once = 1;
    w.settings.tuning.jobs = 3;
    w.settings.helped_from = 1;
    w.source.put(World::kUser, "Second", mail("second"));
  }
  for (int i = 0; i < 12; ++i)
    w.source.put(World::kUser, "INBOX", mail(std::to_string(i % 10)), {"\\Seen"});  // two equal pairs
  if (v.large) {
    static const std::string big = mail("big", std::string(1100 * 1024, 'x') + "\r\n");
    w.source.put(World::kUser, "INBOX", big);
  }
  w.source.put(World::kUser, "INBOX", mail("last"));
  w.source.put(World::kUser, "Archive", mail("archive"));
  w.source.users[World::kUser]["Archive"].subscribed = true;
  w.target.put(World::kUser, "INBOX", mail("a stranger"));
  w.target.put(World::kUser, "INBOX", mail("3"));  // one is there already
  if (!v.faults) return;
  w.source.put(World::kUser, "INBOX", "From x\r\n" + mail("mbox"));
  w.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
    if (m.octets.starts_with("From ")) return "NO Message contains invalid header";
    return std::nullopt;
  };
  w.target.strikes[2] = Strike::freeze;
}

// Source and target agree, counting the stranger; the mbox line is repaired away.
void expect_exactly_once(World& w, const std::string& when) {
  std::map<std::string, int> want, have;
  for (auto b : w.source.bodies(World::kUser, "INBOX")) ++want[b.starts_with("From x\r\n") ? b.substr(8) : b];
  ++want[mail("a stranger")];
  for (const auto& b : w.target.bodies(World::kUser, "INBOX")) ++have[b];
  ASSERT_EQ(want, have) << when;
  ASSERT_EQ(w.target.bodies(World::kUser, "Archive").size(), 1u) << when;
  w.expect_in_order();
}

class CrashSweep : public ::testing::TestWithParam<Variant> {};

INSTANTIATE_TEST_SUITE_P(
    Servers, CrashSweep,
    ::testing::Values(Variant{"everything", {}, false, true}, Variant{"no_uidplus", {"UIDPLUS"}, false, false},
                      Variant{"no_multiappend", {"MULTIAPPEND"}, false, false},
                      Variant{"nothing", {"UIDPLUS", "LITERAL+", "MULTIAPPEND", "NAMESPACE"}, false, true},
                      Variant{"faults", {}, true, false}, Variant{"faults_single", {"MULTIAPPEND"}, true, false},
                      Variant{"helped", {}, true, false, true}),
    [](const auto& p) { return std::string(p.param.name); });

TEST_P(CrashSweep, DyingBeforeAnyStepLosesAndDoublesNothing) {
  std::uint64_t steps = 0;
  for (std::uint64_t n = 1;; ++n) {
    World w;
    prepare(w, GetParam());
    const bool died = w.run("run", n).died;
    const auto resumed = w.run();
    ASSERT_FALSE(resumed.died);
    ASSERT_EQ(resumed.error, "") << "resume after step " << n;
    ASSERT_EQ(resumed.exit, 0) << "resume after step " << n << "\n" << pipeline::report_text(resumed.report);
    expect_exactly_once(w, "crash before step " + std::to_string(n));
    if (HasFatalFailure()) return;
    if (!died) {
      if (GetParam().helped) {
        EXPECT_GT(w.target.logins, 4u) << "nobody helped";
      }
      break;
    }
    steps = n;
    if (n % 9 == 0) {
      const auto appends = w.target.appends;
      w.run();
      ASSERT_EQ(w.target.appends, appends) << "a further run after step " << n;
    }
  }
  std::cout << GetParam().name << ": died before each of " << steps << " steps, 0 lost, 0 twice\n";
  EXPECT_GT(steps, 60u);
}

TEST_P(CrashSweep, DyingAgainInTheResumeLosesAndDoublesNothing) {
  // A sample; CRASH_SWEEP=all cuts every resume at every step (hours).
  const bool all = std::getenv("CRASH_SWEEP") != nullptr;
  std::uint64_t cuts = 0;
  for (std::uint64_t n = all ? 1 : 5;; n += all ? 1 : 37) {
    bool died = true;
    for (std::uint64_t k = all ? 1 : 1 + n % 5; died; k += all ? 1 : 19) {
      World w;
      prepare(w, GetParam());
      if (!w.run("run", n).died) {
        std::cout << GetParam().name << ": " << cuts << " double crashes, 0 lost, 0 twice\n";
        return;
      }
      died = w.run("run", k).died;
      const auto resumed = w.run();
      ASSERT_EQ(resumed.error, "") << n << " then " << k;
      expect_exactly_once(w,
                          "crash before step " + std::to_string(n) + ", resume cut before step " + std::to_string(k));
      if (HasFatalFailure()) return;
      ++cuts;
    }
  }
}

// P6: a disk that lied about its last syncs. The intents are lost, the messages are on the target.
TEST_P(CrashSweep, LostTransactionsCostTimeAndNothingElse) {
  for (std::uint64_t n = 10;; n += 23) {
    World w;
    prepare(w, GetParam());
    const bool died = w.run("run", n).died;
    if (!died) break;
    if (!std::filesystem::exists(w.settings.state + "/state.db")) continue;
    {
      state::Store store(w.settings.state, state::Store::Mode::existing);
      if (store.db().integer("SELECT count(*) FROM sqlite_schema WHERE name='message'") == 0) continue;
      // As before the last windows: nothing of the sending is known, only the inventory.
      store.db().exec(
          "DELETE FROM intent; DELETE FROM note; UPDATE message SET state=0, attempts=0, target_uid=NULL, e1=NULL, "
          "e0=NULL, e1x=NULL;"
          "UPDATE mailbox SET low_water=1");
    }
    // A zombie of the lost transactions cannot be waited for: let it end first.
    w.clock.pass(std::chrono::seconds(60));
    ASSERT_EQ(w.run().error, "") << n;
    expect_exactly_once(w, "transactions lost after step " + std::to_string(n));
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace test
