// The power goes in the middle of a migration: the process is gone, and of what it wrote only what was synced is sure
// to be there (tests/support/power_loss.hpp). Resumed on what is left: nothing lost, nothing twice.
#include "tests/support/power_loss.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/support/world.hpp"

namespace test {
namespace {

using Order = PowerLoss::Order;

struct Variant {
  const char* name;
  std::set<std::string> hidden;
  bool large;    // with a body that is streamed
  bool freezes;  // an APPEND is finished by the server only after we have gone
  std::uint64_t every;
};

void PrintTo(const Variant& v, std::ostream* os) { *os << v.name; }

void prepare(World& w, const Variant& v) {
  for (const auto& c : v.hidden) w.target.quirks.capabilities.erase(c);
  w.settings.load.settle = std::chrono::seconds(10);
  w.target.thaw = std::chrono::seconds(4);
  if (v.freezes) w.target.strikes[2] = Strike::freeze;
  for (int i = 0; i < 8; ++i) w.source.put(World::kUser, "INBOX", mail(std::to_string(i % 7)), {"\\Seen"});
  if (v.large) w.source.put(World::kUser, "INBOX", mail("big", std::string(1100 * 1024, 'x') + "\r\n"));
  w.source.put(World::kUser, "INBOX", mail("last"));
  w.source.put(World::kUser, "Archive", mail("archive"));
}

void expect_exactly_once(World& w, const std::string& when) {
  SCOPED_TRACE(when);
  w.expect_equal(when);
  w.expect_in_order();
  ASSERT_FALSE(::testing::Test::HasFailure());
}

void expect_resumes(World& w, const std::string& when) {
  w.dies = {};
  w.on_death = {};
  const auto resumed = w.run();
  ASSERT_FALSE(resumed.died) << when;
  ASSERT_EQ(resumed.error, "") << when;
  ASSERT_EQ(resumed.exit, 0) << when << "\n" << pipeline::report_text(resumed.report);
  w.clock.pass(std::chrono::minutes(2));  // whatever a server may still be about to store
  expect_exactly_once(w, when);
}

class PowerLossInAMigration : public ::testing::TestWithParam<Variant> {};

INSTANTIATE_TEST_SUITE_P(
    Servers, PowerLossInAMigration,
    ::testing::Values(Variant{"everything", {}, false, false, 1}, Variant{"no_uidplus", {"UIDPLUS"}, false, false, 5},
                      Variant{"no_multiappend", {"MULTIAPPEND"}, false, false, 7},
                      Variant{"nothing", {"UIDPLUS", "LITERAL+", "MULTIAPPEND", "NAMESPACE"}, true, false, 7},
                      Variant{"freezes", {"MULTIAPPEND"}, false, true, 1}),
    [](const auto& p) { return std::string(p.param.name); });

TEST_P(PowerLossInAMigration, BeforeAnyStepLosesAndDoublesNothing) {
  // CRASH_SWEEP=all: with several seeds a step.
  const std::uint64_t seeds = std::getenv("CRASH_SWEEP") != nullptr ? 8 : 1;
  std::uint64_t steps = 0, cuts = 0;
  for (std::uint64_t n = 1;; n += GetParam().every) {
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      World w;
      prepare(w, GetParam());
      PowerLoss disk(w.folder.path());
      w.on_death = [&] { disk.cut(); };
      if (!w.run("run", n).died) {
        std::cout << GetParam().name << ": " << cuts << " power cuts before " << steps << " steps, 0 lost, 0 twice\n";
        EXPECT_GT(steps, 60u);
        return;
      }
      disk.lose_power(1000 * n + seed);
      const std::string when = "power lost before step " + std::to_string(n) + ", seed " + std::to_string(seed);
      if (n % 7 == 0 && w.run("run", n / 2 + 1).died) disk.lose_power(n);  // and again
      expect_resumes(w, when);
      if (HasFatalFailure()) return;
      ++cuts;
    }
    steps = n;
  }
}

// Closer: before any operation on the disk, so between a write and its sync as well, until the store is closed.
TEST_P(PowerLossInAMigration, BeforeAnyOperationOnTheDiskLosesAndDoublesNothing) {
  std::uint64_t operations = 0;
  for (std::uint64_t n = 1;; n += GetParam().every) {
    World w;
    prepare(w, GetParam());
    PowerLoss disk(w.folder.path());
    disk.cut_before(n);
    w.dies = [&] { return disk.off(); };
    w.run();
    if (!disk.off()) {
      std::cout << GetParam().name << ": power cut before " << operations
                << " operations on the disk, 0 lost, 0 twice\n";
      EXPECT_GT(operations, 100u / GetParam().every);
      return;
    }
    disk.lose_power(n);
    expect_resumes(w, "power lost before operation " + std::to_string(n));
    if (HasFatalFailure()) return;
    ++operations;
  }
}

// P6: the disk said yes to its last fsyncs and did nothing. The state is an older one, or none; the target is ahead.
TEST_P(PowerLossInAMigration, WithADiskThatLiedAboutItsLastSyncsCostsTimeAndNothingElse) {
  int cuts = 0, ahead = 0;
  for (std::uint64_t lies = 1;; lies += GetParam().large ? 37 : 11) {
    bool died = true;
    for (std::uint64_t n = lies + 9; died; n += GetParam().large ? 59 : 23) {
      World w;
      prepare(w, GetParam());
      PowerLoss disk(w.folder.path());
      std::uint64_t step = 0;
      w.dies = [&] {
        if (++step == lies) disk.lie();
        return step == n;
      };
      w.on_death = [&] { disk.cut(); };
      died = w.run().died;
      if (!died) {
        if (n != lies + 9) break;
        std::cout << GetParam().name << ": " << cuts << " cuts of a disk that lied, the target ahead in " << ahead
                  << ", 0 lost, 0 twice\n";
        EXPECT_GT(ahead, 2);
        return;
      }
      disk.lose_power(n, n % 2 == 0 ? Order::prefix : Order::any);
      w.dies = {};
      w.on_death = {};
      const auto there = w.target.bodies(World::kUser, "INBOX").size();
      if (there > static_cast<std::size_t>(w.query("SELECT count(*) FROM message WHERE state BETWEEN 1 AND 4")))
        ++ahead;
      // What is on its way to a mailbox of which nothing is known any more cannot be waited for: let it end first.
      w.clock.pass(std::chrono::seconds(60));
      expect_resumes(w, "lies since step " + std::to_string(lies) + ", power lost before " + std::to_string(n));
      if (HasFatalFailure()) return;
      ++cuts;
    }
  }
}

std::string content(const std::string& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(all).str();
}

// Each message that the ledger calls quarantined is there to be looked at; returns how many.
std::size_t expect_quarantine_is_on_disk(const World& w, const std::string& when) {
  if (!std::filesystem::exists(w.settings.state + "/state.db")) return 0;
  state::Store store(w.settings.state, state::Store::Mode::create);
  std::size_t seen = 0;
  auto rows =
      store.db().rows("SELECT id, uid FROM message WHERE state=?", static_cast<int>(state::MessageState::quarantined));
  while (rows.next()) {
    const std::string path = store.quarantine_directory() + "/" + std::to_string(rows.integer(0));
    std::string want;
    for (const auto& m : w.source.users.at(World::kUser).at("INBOX").messages)
      if (m.uid == rows.integer(1)) want = m.octets;
    EXPECT_TRUE(content(path + ".eml") == want) << when << ": " << path << ".eml";
    EXPECT_TRUE(content(path + ".json").ends_with("}\n")) << when << ": " << path << ".json";
    ++seen;
  }
  return seen;
}

// Cuts before each `every`-th operation on the disk; `body` makes the refused messages small or large.
void sweep_quarantine(const std::string& body, std::uint64_t every) {
  std::uint64_t cuts = 0, with = 0, without = 0;
  for (std::uint64_t n = 1;; n += every) {
    World w;
    w.settings.load.settle = std::chrono::seconds(10);
    w.source.put(World::kUser, "INBOX", mail("well"));
    w.source.put(World::kUser, "INBOX", mail("virus", body + "1\r\n"));
    w.source.put(World::kUser, "INBOX", mail("virus", body + "2\r\n"));
    w.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
      if (m.octets.find("Subject: virus") != std::string::npos) return "NO [CANNOT] Virus found";
      return std::nullopt;
    };
    PowerLoss disk(w.folder.path());
    disk.cut_before(n);
    w.dies = [&] { return disk.off(); };
    w.run();
    if (!disk.off()) break;
    disk.lose_power(n);
    const std::string when = "power lost before operation " + std::to_string(n);
    ++(expect_quarantine_is_on_disk(w, when) > 0 ? with : without);
    ASSERT_FALSE(::testing::Test::HasFailure());
    w.dies = {};
    const auto resumed = w.run();
    ASSERT_EQ(resumed.error, "") << when;
    ASSERT_EQ(resumed.exit, 3) << when;
    ASSERT_EQ(expect_quarantine_is_on_disk(w, when), 2u) << when;
    ASSERT_EQ(w.target.bodies(World::kUser, "INBOX"), std::vector<std::string>{mail("well")}) << when;
    w.expect_in_order();
    ASSERT_FALSE(::testing::Test::HasFailure()) << when;
    ++cuts;
  }
  std::cout << cuts << " power cuts: " << with << " times something was in quarantine, and all of it on the disk\n";
  EXPECT_GT(with, 5u);
  EXPECT_GT(without, 10u);
}

TEST(PowerLossInQuarantine, ARefusedMessageIsOnTheDiskBeforeTheLedgerSaysSo) { sweep_quarantine("v", 2); }

TEST(PowerLossInQuarantine, ALargeRefusedMessageIsOnTheDiskBeforeTheLedgerSaysSo) {
  sweep_quarantine(std::string(1100 * 1024, 'v'), 8);
}

TEST(PowerLossInNewPasswords, AHalfWrittenLineIsDroppedAndThoseBeforeItStay) {
  std::set<std::string> left, seen;
  World w;
  w.source.put(World::kUser, "INBOX", mail("1"));
  ASSERT_EQ(w.run().exit, 0);
  const std::string path = w.settings.state + "/new-passwords.csv";
  const std::string good = "\"anna@example.org\",\"kept\"\n";
  const std::string line = "\"bert@example.org\",\"" + std::string(1200, 'p') + "\"\n";
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    PowerLoss disk(w.folder.path());
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_EQ(::write(fd, good.data(), good.size()), static_cast<ssize_t>(good.size()));
    ASSERT_EQ(::fsync(fd), 0);
    const int folder = ::open(w.settings.state.c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(::fsync(folder), 0);
    ::close(folder);
    ASSERT_EQ(::write(fd, line.data(), line.size()), static_cast<ssize_t>(line.size()));
    ::close(fd);
    disk.lose_power(seed);
    left.insert(content(path));
    const auto again = w.run();
    ASSERT_EQ(again.error, "") << seed;
    ASSERT_EQ(again.exit, 0) << seed;
    seen.insert(content(path));
  }
  EXPECT_GT(left.size(), 4u);
  EXPECT_EQ(seen, (std::set<std::string>{good, good + line}));
}

}  // namespace
}  // namespace test
