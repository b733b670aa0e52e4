// The power goes while the store is written. First the model of the disk itself, then SQLite on it as the store sets it
// up; with less than synchronous=FULL the same test must find a loss, else it could not find one at all.
#include "tests/support/power_loss.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <random>
#include <set>
#include <sstream>

#include "base/result.hpp"
#include "state/ledger.hpp"
#include "state/store.hpp"

namespace test {
namespace {

namespace fs = std::filesystem;

class PowerLossTest : public ::testing::Test {
 protected:
  PowerLossTest() {
    const fs::path root = fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
    std::string pattern = (root / "4d2kms-power-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~PowerLossTest() override { fs::remove_all(root_); }
  std::string path(const std::string& name) const { return root_ + "/" + name; }
  std::string read(const std::string& name) const {
    std::ostringstream all;
    all << std::ifstream(path(name), std::ios::binary).rdbuf();
    return std::move(all).str();
  }
  void sync_folder(const std::string& name) const {
    const int fd = ::open(path(name).c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(::fsync(fd), 0);
    ::close(fd);
  }
  std::string root_;
};

TEST_F(PowerLossTest, WhatWasSyncedStaysAndWhatWasNotMayGo) {
  std::set<std::string> second;  // what was left of a second file whose name was not synced
  std::set<std::string> first;
  const std::string synced(1024, 's'), later(1024, 'l');
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    fs::remove_all(path("a"));
    fs::remove_all(path("b"));
    PowerLoss disk(root_);
    const int a = ::open(path("a").c_str(), O_WRONLY | O_CREAT, 0600);
    ASSERT_EQ(::write(a, synced.data(), synced.size()), 1024);
    ASSERT_EQ(::fsync(a), 0);
    sync_folder("");
    ASSERT_EQ(::pwrite(a, later.data(), later.size(), 1024), 1024);
    ::close(a);
    const int b = ::open(path("b").c_str(), O_WRONLY | O_CREAT, 0600);
    ASSERT_EQ(::write(b, "b", 1), 1);
    ASSERT_EQ(::fsync(b), 0);
    ::close(b);
    disk.lose_power(seed);
    ASSERT_TRUE(read("a").starts_with(synced)) << seed;
    first.insert(read("a").substr(1024));
    second.insert(fs::exists(path("b")) ? read("b") : "none");
  }
  const std::string half(512, 'l'), none(512, '\0');
  EXPECT_TRUE(first.contains("")) << "dropped";
  EXPECT_TRUE(first.contains(later)) << "kept";
  EXPECT_TRUE(first.contains(half)) << "torn, without its second sector";
  EXPECT_TRUE(first.contains(none + half)) << "torn, without its first sector";
  EXPECT_TRUE(first.contains(none + none)) << "only the size arrived";
  EXPECT_EQ(second, (std::set<std::string>{"b", "none"}));
}

TEST_F(PowerLossTest, NamesRemovalsAndFoldersLastOnlyOnceTheirFolderIsSynced) {
  std::set<bool> removed, inside;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    fs::remove_all(path("folder"));
    std::ofstream(path("old")) << "old";
    std::ofstream(path("older")) << "older";
    PowerLoss disk(root_);
    ::unlink(path("older").c_str());
    sync_folder("");
    ::unlink(path("old").c_str());
    ASSERT_EQ(::mkdir(path("folder").c_str(), 0700), 0);
    const int fd = ::open(path("folder/x").c_str(), O_WRONLY | O_CREAT, 0600);
    ASSERT_EQ(::write(fd, "x", 1), 1);
    ASSERT_EQ(::fsync(fd), 0);
    ::close(fd);
    sync_folder("folder");  // holds x, but who holds the folder?
    disk.lose_power(seed);
    ASSERT_FALSE(fs::exists(path("older")));
    removed.insert(!fs::exists(path("old")));
    if (fs::exists(path("folder"))) {
      ASSERT_EQ(read("folder/x"), "x") << seed;
    }
    inside.insert(fs::exists(path("folder/x")));
  }
  EXPECT_EQ(removed.size(), 2u);
  EXPECT_EQ(inside.size(), 2u);
}

TEST_F(PowerLossTest, AfterTheCutNothingReachesTheDisk) {
  PowerLoss disk(root_);
  disk.cut_before(4);
  const int fd = ::open(path("a").c_str(), O_WRONLY | O_CREAT, 0600);  // 1
  ASSERT_EQ(::write(fd, "1", 1), 1);                                   // 2
  ASSERT_EQ(::fsync(fd), 0);                                           // 3
  ASSERT_FALSE(disk.off());
  sync_folder("");  // 4: too late
  ASSERT_TRUE(disk.off());
  ASSERT_EQ(::write(fd, "2", 1), 1);
  ASSERT_EQ(::fsync(fd), 0);
  ::close(fd);
  disk.lose_power(3, PowerLoss::Order::prefix);
  EXPECT_FALSE(disk.off());
  EXPECT_TRUE(!fs::exists(path("a")) || read("a") == "1" || read("a").empty());
}

struct Losses {
  int cuts = 0, lost = 0, torn = 0, damaged = 0;
};

// Transactions of several rows each, and the power gone at a random moment, again and again on the same file. A
// transaction counts as promised when its commit() returned before the cut; one without a sync only when one with a
// sync came after it.
Losses transactions_and_cuts(const std::string& root, const std::string& pragma, std::uint64_t seeds,
                             unsigned percent_without_sync = 0) {
  constexpr int kRows = 12;
  Losses seen;
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    const std::string folder = root + "/" + std::to_string(seed);
    fs::create_directory(folder);
    std::mt19937_64 random(seed);
    PowerLoss disk(folder);
    std::int64_t promised = 0, begun = 0;
    for (int round = 0; round < 5; ++round) {
      // The store's own opening, making of the schema and closing are cut as well.
      disk.cut_before(1 + random() % (round == 0 ? 60 : 250));
      try {
        state::Store store(folder + "/state", state::Store::Mode::create);
        auto& db = store.db();
        if (!pragma.empty()) db.exec(pragma.c_str());
        // Many checkpoints, and transactions that spill into the WAL before their commit.
        if (seed % 2 == 0) db.exec("PRAGMA wal_autocheckpoint=8");
        if (seed % 3 == 0) db.exec("PRAGMA cache_size=4");
        const std::uint64_t closes_after = 5 + random() % 60;
        for (std::uint64_t i = 0; i < closes_after && !disk.off(); ++i) {
          ++begun;
          std::optional<state::WithoutSync> without_sync;
          if (random() % 100 < percent_without_sync) without_sync.emplace(db);
          state::Transaction t(db);
          for (int row = 0; row < kRows; ++row)
            state::set_meta(db, "row" + std::to_string(row),
                            std::to_string(begun) + " " + std::string(random() % 1500, 'x'));
          if (random() % 8 == 0) continue;  // rolled back
          t.commit();
          if (!disk.off() && !without_sync) promised = begun;
        }
      } catch (const base::Failed&) {
        if (!disk.off()) throw;
      }
      disk.cut();
      disk.lose_power(random());
      ++seen.cuts;
      try {
        state::Store store(folder + "/state", state::Store::Mode::create);
        auto& db = store.db();
        if (db.text("PRAGMA integrity_check") != "ok") ++seen.damaged;
        std::set<std::int64_t> numbers;
        for (int row = 0; row < kRows; ++row) {
          const auto value = state::meta(db, "row" + std::to_string(row));
          numbers.insert(value.empty() ? 0 : std::stoll(value.substr(0, value.find(' '))));
        }
        if (numbers.size() != 1) ++seen.torn;
        if (*numbers.begin() < promised) ++seen.lost;
        promised = begun = *numbers.rbegin();
      } catch (const base::Failed&) {
        ++seen.damaged;
        break;
      }
    }
    fs::remove_all(folder);
  }
  return seen;
}

TEST_F(PowerLossTest, TheStoreKeepsEveryCommitThatReturned) {
  const auto seen = transactions_and_cuts(root_, "", 120);
  std::cout << seen.cuts << " power cuts: " << seen.damaged << " files damaged, " << seen.lost << " commits lost, "
            << seen.torn << " torn\n";
  EXPECT_EQ(seen.damaged, 0);
  EXPECT_EQ(seen.lost, 0);
  EXPECT_EQ(seen.torn, 0);
}

TEST_F(PowerLossTest, WhatIsNotSyncedIsKeptWithTheNextThatIs) {
  const auto seen = transactions_and_cuts(root_, "", 120, 60);
  EXPECT_EQ(seen.damaged, 0);
  EXPECT_EQ(seen.lost, 0);
  EXPECT_EQ(seen.torn, 0);
}

TEST_F(PowerLossTest, WithLessThanFullCommitsAreLostSoThisTestCanFail) {
  const auto normal = transactions_and_cuts(root_, "PRAGMA synchronous=NORMAL", 30);
  EXPECT_GT(normal.lost, 0);
  EXPECT_EQ(normal.damaged, 0) << "WAL with NORMAL loses commits and damages nothing";
  const auto none = transactions_and_cuts(root_, "PRAGMA synchronous=OFF", 30);
  EXPECT_GT(none.lost + none.damaged, 0);
  std::cout << "NORMAL: " << normal.lost << " commits lost in " << normal.cuts << " cuts; OFF: " << none.lost
            << " lost, " << none.torn << " torn, " << none.damaged << " damaged in " << none.cuts << "\n";
}

// The backup is written, then the schema changed: at no moment is there neither.
TEST_F(PowerLossTest, AnOlderSchemaIsBroughtUpToDateWhateverIsCut) {
  std::uint64_t n = 1;
  for (bool cut = true; cut; ++n) {
    const std::string folder = path(std::to_string(n)), state = folder + "/state";
    fs::create_directory(folder);
    {
      state::Store store(state, state::Store::Mode::create);
      state::set_meta(store.db(), "kept", "yes");
      store.db().exec(
          "DROP TABLE sample; DROP TABLE target_object; ALTER TABLE mailbox DROP COLUMN asked_name; PRAGMA "
          "user_version=1");
    }
    PowerLoss disk(folder);
    disk.cut_before(n);
    { state::Store store(state, state::Store::Mode::existing); }
    cut = disk.off();
    disk.cut();
    disk.lose_power(n);
    state::Store store(state, state::Store::Mode::existing);
    ASSERT_EQ(state::meta(store.db(), "kept"), "yes") << "power cut before operation " << n;
    ASSERT_EQ(store.db().text("PRAGMA integrity_check"), "ok") << n;
    ASSERT_EQ(store.db().integer("SELECT count(*) FROM target_object"), 0) << n;
  }
  EXPECT_GT(n, 30u);
}

}  // namespace
}  // namespace test
