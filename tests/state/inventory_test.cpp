// What an inventory in pieces does to rows that are there, however large the mailbox is.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>

#include "state/ledger.hpp"
#include "state/store.hpp"

namespace state {
namespace {

using base::Uid;
using base::UidValidity;

class Inventory : public ::testing::Test {
 protected:
  Inventory() {
    std::string pattern = std::filesystem::temp_directory_path().string() + "/4d2kms-inventory-XXXXXX";
    root_ = mkdtemp(pattern.data());
    store_ = std::make_unique<Store>(root_ + "/state", Store::Mode::create);
    ConfiguredPostOffice office;
    office.name = "North";
    office.accounts.push_back({"jane@north.example", "jane", "jane", "", "", {}});
    save_configuration(db(), {office});
    save_mailboxes(db(), accounts(db()).front().id, {{"INBOX", "INBOX", "/", "", "", true}});
    box_ = mailboxes(db(), accounts(db()).front().id).front().id;
  }
  ~Inventory() override {
    store_.reset();
    std::filesystem::remove_all(root_);
  }
  Db& db() { return store_->db(); }
  void list(std::uint32_t validity, std::uint32_t from, std::uint32_t to) {
    std::vector<FoundMessage> found;
    for (auto uid = to; uid >= from; --uid) found.push_back({Uid(uid), 100, {}, "\\Seen"});  // servers owe no order
    add_inventory(db(), box_, UidValidity(validity), {false, found, {}});
  }
  std::string root_;
  std::unique_ptr<Store> store_;
  MailboxId box_;
};

TEST_F(Inventory, ATargetThatMayHaveBeenSentToKeepsItsName) {
  set_targets(db(), {{box_, "Old", "Old"}});
  set_targets(db(), {{box_, "New", "New"}});
  EXPECT_EQ(mailboxes(db(), accounts(db()).front().id).front().target_name, "New");
  set_target_settled(db(), box_, {UidValidity(), Uid(1), Uid(1)});  // made, and its UIDVALIDITY not known yet
  set_targets(db(), {{box_, "Other", "Other"}});
  set_target_name(db(), {box_, "Other", "Other"}, "New");
  EXPECT_EQ(mailboxes(db(), accounts(db()).front().id).front().target_name, "New");
  EXPECT_TRUE(mailboxes(db(), accounts(db()).front().id).front().met());
}

TEST_F(Inventory, UidValidityThatComesBackTakesBackWhatItsLossHadEnded) {
  add_inventory(db(), box_, UidValidity(1), {true, {}, {}});
  list(1, 1, 10);
  set_gone(db(), listed(db(), box_, UidValidity(1), Uid(9), 1).front().id, "gone");
  add_inventory(db(), box_, UidValidity(2), {true, {}, {}});
  list(2, 1, 10);
  EXPECT_EQ(pending(db(), box_), 10u);
  EXPECT_EQ(db().integer("SELECT count(*) FROM note WHERE kind='superseded'"), 10);
  add_inventory(db(), box_, UidValidity(1), {true, {}, {}});  // a replica, a restore
  list(1, 1, 4);
  EXPECT_EQ(listed(db(), box_, UidValidity(1), Uid(), 100).size(), 4u);
  EXPECT_EQ(db().integer("SELECT count(*) FROM note n JOIN message m ON m.id=n.message WHERE m.state=0"), 0)
      << "what is to be moved has no reason why it is not";
  list(1, 5, 10);
  EXPECT_EQ(listed(db(), box_, UidValidity(1), Uid(), 100).size(), 10u);
  EXPECT_EQ(db().integer("SELECT count(*) FROM note n JOIN message m ON m.id=n.message WHERE m.state=0"), 0);
  EXPECT_EQ(db().integer("SELECT count(*) FROM note WHERE kind='superseded'"), 10) << "those of the other UIDVALIDITY";
  EXPECT_TRUE(broken_invariants(db()).empty());
}

// A piece costs the same wherever in a mailbox it is: steps of SQLite's machine, not time, which depends on the day.
TEST_F(Inventory, APieceOfALargeMailboxCostsNoMoreThanTheFirst) {
  add_inventory(db(), box_, UidValidity(1), {true, {}, {}});
  list(1, 1, 500);
  const auto before = db().steps();
  list(1, 501, 1000);
  const auto early = db().steps() - before;
  for (std::uint32_t from = 1001; from < 20'000; from += 500) list(1, from, from + 499);
  const auto later = db().steps();
  list(1, 30'001, 30'500);
  EXPECT_LT(db().steps() - later, early + early / 2);
}

// Further runs ask these of every mailbox, each time.
TEST_F(Inventory, WhatIsLeftToDoIsFoundWithoutGoingThroughWhatIsDone) {
  add_inventory(db(), box_, UidValidity(1), {true, {}, {}});
  list(1, 1, 5000);
  std::vector<Intent> intents;
  std::vector<Outcome> outcomes;
  for (const auto& m : listed(db(), box_, UidValidity(1), Uid(), 5000)) {
    Intent i;
    i.id = m.id;
    i.u0 = Uid(1);
    i.e1 = Digest{};
    intents.push_back(i);
    outcomes.push_back({m.id, m.uid, true, {}});
  }
  commit_window(db(), {}, intents);
  commit_window(db(), outcomes, {});
  list(1, 5001, 5001);
  const auto cost = [this](const std::function<std::size_t()>& query, std::size_t found) {
    const auto before = db().steps();
    EXPECT_EQ(query(), found);
    return db().steps() - before;
  };
  EXPECT_LT(cost([&] { return listed(db(), box_, UidValidity(1), Uid(), 64).size(); }, 1), 200);
  EXPECT_LT(cost([&] { return unverified(db(), box_, Uid(), 64).size(); }, 0), 200);
  EXPECT_LT(cost([&] { return flag_changes(db(), box_).size(); }, 0), 200);
  EXPECT_LT(cost([&] { return in_doubt(db(), box_).size(); }, 0), 200);
  EXPECT_LT(cost([&] { return pending(db(), box_); }, 1), 200);
}

}  // namespace
}  // namespace state
