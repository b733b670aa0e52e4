#include "state/store.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "base/result.hpp"
#include "state/ledger.hpp"

namespace {
std::uint32_t pretended_type = 0;  // 0: what it really is
}

// In front of the C library's.
extern "C" int statfs(const char* path, struct statfs* out) noexcept {
  const int rc = static_cast<int>(::syscall(SYS_statfs, path, out));
  if (rc == 0 && pretended_type != 0) out->f_type = pretended_type;
  return rc;
}

namespace state {
namespace {

class StateFolder : public ::testing::Test {
 protected:
  StateFolder() {
    std::string pattern = std::filesystem::temp_directory_path().string() + "/4d2kms-state-XXXXXX";
    root_ = mkdtemp(pattern.data());
    path_ = root_ + "/state";
  }
  ~StateFolder() override { std::filesystem::remove_all(root_); }
  base::Error failure(Store::Mode mode = Store::Mode::create) {
    try {
      Store store(path_, mode);
    } catch (const base::Failed& f) {
      return f.error;
    }
    return {};
  }
  std::string root_, path_;
};

TEST_F(StateFolder, OnANetworkFileSystemIsRefusedBeforeAnythingIsWritten) {  // F8
  for (const std::uint32_t type : {0x6969u, 0x517Bu, 0xFF534D42u, 0xFE534D42u, 0x01021997u, 0x00C36400u, 0x5346414Fu}) {
    pretended_type = type;
    const auto e = failure();
    pretended_type = 0;
    EXPECT_EQ(e.exit, base::Exit::state_unusable) << std::hex << type;
    EXPECT_NE(e.text.find("network file system"), std::string::npos) << e.text;
    EXPECT_TRUE(std::filesystem::is_empty(path_));
  }
  pretended_type = 0xEF53;
  EXPECT_TRUE(failure().text.empty());
  pretended_type = 0;
}

TEST_F(StateFolder, IsMadePrivateAndOpensAgain) {
  {
    Store store(path_, Store::Mode::create);
    set_meta(store.db(), "a", "b");
  }
  struct stat st {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((path_ + "/state.db").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  Store store(path_, Store::Mode::existing);
  EXPECT_EQ(meta(store.db(), "a"), "b");
  EXPECT_EQ(store.db().text("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(store.db().integer("PRAGMA synchronous"), 2)
      << "FULL: a commit promises that the message is not sent twice";
  EXPECT_EQ(store.db().text("PRAGMA locking_mode"), "exclusive");
}

TEST_F(StateFolder, AnOlderSchemaIsBackedUpAndBroughtUpToDate) {
  {
    Store store(path_, Store::Mode::create);
    set_meta(store.db(), "kept", "yes");
    store.db().exec(
        "INSERT INTO post_office VALUES(1, 'main', 1, NULL); INSERT INTO account VALUES(1, 1, 'a@x', '', '', '', NULL, "
        "NULL, NULL); INSERT INTO mailbox(id, account, wire, name, delimiter, attributes, subscribed, present) "
        "VALUES(1, 1, 'INBOX', 'INBOX', '/', '', 1, 1); INSERT INTO flagset VALUES(1, ''); INSERT INTO "
        "message(mailbox, "
        "uid_validity, uid, size, flags, state, e0) VALUES(1, 1, 1, 1, 1, 0, x'00'); DROP TABLE sample; DROP TABLE "
        "target_object; ALTER TABLE mailbox DROP COLUMN asked_name; PRAGMA "
        "user_version=1");
  }
  {
    Store store(path_, Store::Mode::existing);
    EXPECT_EQ(store.db().integer("PRAGMA user_version"), 4);
    EXPECT_EQ(store.db().integer("SELECT count(*) FROM message WHERE e0 IS NULL"), 1) << "another digest than today's";
    EXPECT_EQ(meta(store.db(), "kept"), "yes");
    save_objects(store.db(), {{"domain", "north.example", {}, ObjectState::intent, {}, {}}});
    save_objects(store.db(), {{"domain", "north.example", {}, ObjectState::ours, "id", {}}});
    save_objects(store.db(), {{"domain", "north.example", {}, ObjectState::ours, {}, {}}});
    ASSERT_EQ(target_objects(store.db()).size(), 1u);
    EXPECT_EQ(target_objects(store.db())[0].target_id, "id") << "an id that is known is not forgotten";
  }
  sqlite3* backup = nullptr;
  ASSERT_EQ(sqlite3_open((path_ + "/state.db.bak").c_str(), &backup), SQLITE_OK);
  sqlite3_stmt* s = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(backup, "PRAGMA user_version", -1, &s, nullptr), SQLITE_OK);
  ASSERT_EQ(sqlite3_step(s), SQLITE_ROW);
  EXPECT_EQ(sqlite3_column_int(s, 0), 1);
  sqlite3_finalize(s);
  sqlite3_close(backup);
}

TEST_F(StateFolder, SecondProcessIsTurnedAwayWithTheHoldersNumber) {
  Store store(path_, Store::Mode::create);
  const auto e = failure();
  EXPECT_EQ(e.exit, base::Exit::locked);
  EXPECT_NE(e.text.find(std::to_string(getpid())), std::string::npos) << e.text;
}

TEST_F(StateFolder, WhoHoldsItForAMomentIsWaitedFor) {
  auto asks = std::make_unique<Store>(path_, Store::Mode::create);
  std::thread ends([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    asks.reset();
  });
  EXPECT_NO_THROW(Store(path_, Store::Mode::existing));
  ends.join();
}

TEST_F(StateFolder, ForeignFilesAreRefusedAndLeftAsTheyAre) {
  std::filesystem::create_directory(path_);
  for (const std::string& content :
       {std::string("not a database, but long enough to look like a file of something else entirely"),
        std::string(4096, 'x')}) {
    { std::ofstream(path_ + "/state.db", std::ios::trunc) << content; }
    const auto e = failure();
    EXPECT_EQ(e.exit, base::Exit::state_unusable);
    std::ifstream in(path_ + "/state.db");
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), content);
  }
  std::filesystem::remove(path_ + "/state.db");
  sqlite3* other = nullptr;
  sqlite3_open((path_ + "/state.db").c_str(), &other);
  sqlite3_exec(other, "CREATE TABLE places(x); PRAGMA application_id=7", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  EXPECT_NE(failure().text.find("another program"), std::string::npos);
}

TEST_F(StateFolder, NewerSchemaIsRefused) {
  {
    Store store(path_, Store::Mode::create);
    store.db().exec("PRAGMA user_version=99");
  }
  const auto e = failure();
  EXPECT_EQ(e.exit, base::Exit::state_unusable);
  EXPECT_NE(e.text.find("newer"), std::string::npos) << e.text;
}

TEST_F(StateFolder, DamagedFileIsRefused) {  // F5
  {
    Store store(path_, Store::Mode::create);
    for (int i = 0; i < 500; ++i) set_meta(store.db(), "key" + std::to_string(i), std::string(100, 'v'));
  }
  std::fstream f(path_ + "/state.db", std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(8192);
  f << std::string(20000, '\xA5');
  f.close();
  EXPECT_EQ(failure().exit, base::Exit::state_unusable);
}

TEST_F(StateFolder, LookingAtAStateDoesNotMakeOne) {
  EXPECT_EQ(failure(Store::Mode::existing).exit, base::Exit::state_unusable);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(StateFolder, AfterOneFailureNothingGetsThroughAnyMore) {  // F4
  Store store(path_, Store::Mode::create);
  std::string first;
  try {
    store.db().exec("INSERT INTO meta VALUES(NULL, 'a')");
  } catch (const base::Failed& f) {
    first = f.error.text;
  }
  EXPECT_NE(first, "");
  try {
    set_meta(store.db(), "a", "b");
    FAIL() << "written after a failure";
  } catch (const base::Failed& f) {
    EXPECT_EQ(f.error.text, first);
    EXPECT_EQ(f.error.exit, base::Exit::state_unusable);
  }
}

TEST_F(StateFolder, AFailureOfWhatIsNotSyncedIsAFailureToo) {
  Store store(path_, Store::Mode::create);
  try {
    const WithoutSync now(store.db());
    store.db().exec("INSERT INTO meta VALUES(NULL, 'a')");
    FAIL() << "written";
  } catch (const base::Failed& f) {
    EXPECT_EQ(f.error.exit, base::Exit::state_unusable);
  }
  EXPECT_THROW(set_meta(store.db(), "a", "b"), base::Failed);
}

TEST_F(StateFolder, WhatIsCommittedAfterwardsIsSyncedAgain) {
  Store store(path_, Store::Mode::create);
  { const WithoutSync now(store.db()); }
  EXPECT_EQ(store.db().integer("PRAGMA synchronous"), 2);
}

TEST_F(StateFolder, UnfinishedTransactionLeavesNothingBehind) {
  Store store(path_, Store::Mode::create);
  try {
    Transaction t(store.db());
    set_meta(store.db(), "a", "b");
    throw std::runtime_error("in between");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(meta(store.db(), "a"), "");
}

class Ledger : public StateFolder {
 protected:
  Ledger() : store_(path_, Store::Mode::create), db_(store_.db()) {
    save_configuration(db_, {{"north",
                              "",
                              {"north.example", "nord.example"},
                              {{"jane@north.example", "jane", "jane", "Jane", "", {{"alias", "j@north.example"}}}},
                              {}}});
    account_ = accounts(db_).front().id;
    save_mailboxes(db_, account_, {{"INBOX", "INBOX", "/", "", "", true}});
    box_ = mailboxes(db_, account_).front().id;
    add_inventory(db_, box_, base::UidValidity(5), {true, {}, {}});
    add_inventory(db_, box_, base::UidValidity(5),
                  {false,
                   {{base::Uid(1), 100, base::DateTime{1000, 60}, "\\Seen"},
                    {base::Uid(2), 200, {}, ""},
                    {base::Uid(3), 300, base::DateTime{3000, 0}, ""}},
                   {}});
    add_inventory(db_, box_, base::UidValidity(5), {false, {}, InventoryEnd{base::Uid(4), 3, base::ModSeq(9)}});
  }
  std::vector<MessageRow> rows() { return listed(db_, box_, base::UidValidity(5), base::Uid(0), 100); }
  Books books() { return books_by_mailbox(db_)[box_.value]; }
  Store store_;
  Db& db_;
  AccountId account_;
  MailboxId box_;
};

TEST_F(Ledger, InventoryKeepsSizeDateZoneAndFlags) {
  const auto r = rows();
  ASSERT_EQ(r.size(), 3u);
  EXPECT_EQ(r[0].size, 100u);
  EXPECT_EQ(r[0].date->unix_seconds, 1000);
  EXPECT_EQ(r[0].date->zone_minutes, 60);
  EXPECT_EQ(r[0].flags, "\\Seen");
  EXPECT_FALSE(r[1].date.has_value());
  EXPECT_EQ(not_migrated(db_).front().detail, "j@north.example");
}

TEST_F(Ledger, BooksCloseInEveryState) {
  const auto r = rows();
  base::Digest e1{};
  commit_window(db_, {},
                {{r[0].id, base::UidValidity(7), base::Uid(10), 100, e1, {}, {}, r[0].date, "", {}},
                 {r[1].id, base::UidValidity(7), base::Uid(10), 200, e1, {}, {}, {}, "", {}}});
  EXPECT_EQ(books().pending, 3u);
  commit_window(db_, {{r[0].id, base::Uid(10), false, {}}, {r[1].id, base::Uid(), false, {}}}, {});
  EXPECT_EQ(books().bound, 1u);
  EXPECT_EQ(in_doubt(db_, box_).front().state, MessageState::acked);
  set_quarantined(db_, r[1].id, "why");
  set_gone(db_, r[2].id, "deleted");
  const auto b = books();
  EXPECT_EQ(b.inventory, 3u);
  EXPECT_EQ(b.quarantined, 1u);
  EXPECT_EQ(b.gone, 1u);
  EXPECT_EQ(b.pending, 0u);
  EXPECT_TRUE(b.closed());
  EXPECT_TRUE(broken_invariants(db_).empty());
}

TEST_F(Ledger, OneTargetUidNeverServesTwoRows) {  // I3
  const auto r = rows();
  base::Digest e1{};
  commit_window(db_, {},
                {{r[0].id, base::UidValidity(7), base::Uid(1), 1, e1, {}, {}, {}, "", {}},
                 {r[1].id, base::UidValidity(7), base::Uid(1), 1, e1, {}, {}, {}, "", {}}});
  commit_window(db_, {{r[0].id, base::Uid(5), false, {}}}, {});
  EXPECT_THROW(commit_window(db_, {{r[1].id, base::Uid(5), false, {}}}, {}), base::Failed);
}

TEST_F(Ledger, IntentKeepsTheFirstU0OfAllAttempts) {
  const auto r = rows();
  const auto intent = [&](std::uint32_t u0) {
    commit_window(db_, {}, {{r[0].id, base::UidValidity(7), base::Uid(u0), 1, base::Digest{}, {}, {}, {}, "", {}}});
  };
  intent(10);
  back_to_listed(db_, {r[0].id});
  intent(50);
  EXPECT_EQ(db_.integer("SELECT first_u0 FROM intent"), 10);
  EXPECT_EQ(in_doubt(db_, box_).front().attempts, 2);
}

TEST_F(Ledger, NewUidValidityMakesNothingGone) {
  const auto r = rows();
  commit_window(db_, {}, {{r[0].id, base::UidValidity(7), base::Uid(1), 1, base::Digest{}, {}, {}, {}, "", {}}});
  commit_window(db_, {{r[0].id, base::Uid(5), false, {}}}, {});
  add_inventory(db_, box_, base::UidValidity(6), {true, {}, {}});
  add_inventory(db_, box_, base::UidValidity(6), {false, {{base::Uid(1), 100, {}, ""}}, {}});
  const auto b = books();
  EXPECT_EQ(b.gone, 0u);
  EXPECT_EQ(b.bound, 1u) << "what was copied stays copied";
  EXPECT_EQ(b.excluded, 2u) << "what was never sent is listed anew";
  EXPECT_EQ(b.pending, 1u);
  EXPECT_EQ(stale(db_, box_, base::UidValidity(6)).size(), 1u);
  EXPECT_TRUE(broken_invariants(db_).empty());
}

TEST_F(Ledger, GoneComesBackWhenTheUidIsThereAgain) {
  const auto r = rows();
  set_gone(db_, r[0].id, "deleted");
  add_inventory(db_, box_, base::UidValidity(5), {false, {{base::Uid(1), 100, {}, ""}}, {}});
  EXPECT_EQ(books().gone, 0u);
  EXPECT_EQ(books().pending, 3u);
}

TEST_F(Ledger, FlagsThatChangeAtTheSourceAreRememberedBesideThoseBrought) {
  const auto r = rows();
  commit_window(db_, {}, {{r[0].id, base::UidValidity(7), base::Uid(1), 1, base::Digest{}, {}, {}, {}, "", {}}});
  commit_window(db_, {{r[0].id, base::Uid(5), false, {}}}, {});
  add_inventory(db_, box_, base::UidValidity(5), {false, {{base::Uid(1), 100, {}, "\\Answered \\Seen"}}, {}});
  auto c = flag_changes(db_, box_);
  ASSERT_EQ(c.size(), 1u);
  EXPECT_EQ(c[0].before, "\\Seen");
  EXPECT_EQ(c[0].now, "\\Answered \\Seen");
  flags_brought(db_, c);
  EXPECT_TRUE(flag_changes(db_, box_).empty());
}

// The file of new passwords holds good as long as this stands on record.
TEST_F(StateFolder, ThatAnAccountGotANewPasswordIsKeptUntilItIsRefused) {
  Store store(path_, Store::Mode::create);
  const auto after = [&](ObjectState s, const std::string& detail) {
    save_objects(store.db(), {{"account", "anna@north.example", "north.example", s, {}, detail}});
    return target_objects(store.db()).front().detail;
  };
  EXPECT_EQ(after(ObjectState::intent, {}), "");
  EXPECT_EQ(after(ObjectState::intent, kNewPassword), kNewPassword);
  EXPECT_EQ(after(ObjectState::intent, {}), kNewPassword) << "tried again, with the new one";
  EXPECT_EQ(after(ObjectState::ours, {}), kNewPassword);
  EXPECT_EQ(after(ObjectState::refused, "no"), "no");
  EXPECT_EQ(after(ObjectState::intent, {}), "") << "tried again, with the roster's";
}

TEST(CanonicalFlags, AreSortedOnceAndWithoutRecent) {
  EXPECT_EQ(canonical_flags({"b", "\\Seen", "\\Recent", "b", "a"}), "\\Seen a b");
  EXPECT_EQ(canonical_flags({"\\DELETED", "\\seen", "\\Seen", "Deleted"}), "Deleted \\Deleted \\Seen");
  EXPECT_TRUE(has_flag("\\DELETED a", "\\Deleted"));
  EXPECT_FALSE(has_flag("Deleted a", "\\Deleted"));
  EXPECT_TRUE(flag_names("").empty());
}

}  // namespace
}  // namespace state
