#include "pipeline/plan.hpp"

#include <gtest/gtest.h>

#include "pipeline/settings.hpp"

namespace pipeline {
namespace {

Plan sample() {
  Plan p;
  p.policies = "x";
  PlannedAccount a;
  a.address = "jane@example.org";
  a.target_login = "jane";
  PlannedMailbox m;
  m.map.from = "Sent";
  m.map.name = m.map.wire = "Sent Items";
  m.source_validity = base::UidValidity(5);
  m.source_uid_next = base::Uid(9);
  m.source_messages = 8;
  a.mailboxes.push_back(m);
  p.accounts.push_back(a);
  return p;
}

TEST(Plan, FingerprintStandsForDecisionsAndInventoryNotForProgress) {
  const Plan p = sample();
  Plan q = sample();
  q.accounts[0].mailboxes[0].to_move = 3;
  q.accounts[0].mailboxes[0].create = true;
  EXPECT_EQ(fingerprint(p), fingerprint(q));
  q = sample();
  q.accounts[0].mailboxes[0].source_uid_next = base::Uid(10);
  EXPECT_NE(fingerprint(p), fingerprint(q));
  q = sample();
  q.accounts[0].skip = "no password";
  EXPECT_NE(fingerprint(p), fingerprint(q));
}

TEST(Plan, WhatVanishedOnTheTargetIsAChangeAndWhatWasMadeIsNone) {
  Plan p = sample(), q = sample();
  for (auto* x : {&p, &q}) {
    x->accounts[0].target_domain = "example.org";
    x->accounts[0].fate = Fate::create;
  }
  q.accounts[0].fate = Fate::ours;
  q.accounts[0].target_id = "id";
  EXPECT_EQ(fingerprint(p), fingerprint(q));
  EXPECT_TRUE(vanished(to_json(p), to_json(q)).empty()) << "load got on";
  EXPECT_EQ(vanished(to_json(q), to_json(p)).size(), 1u) << "somebody deleted it";
}

TEST(Plan, ChangesAreNamed) {
  const Plan p = sample();
  Plan q = sample();
  EXPECT_TRUE(changes(to_json(p), to_json(q)).empty());
  q.accounts[0].mailboxes[0].map.name = "Gesendet";
  q.accounts[0].skip = "gone";
  PlannedAccount bob;
  bob.address = "bob@example.org";
  q.accounts.push_back(bob);
  const auto c = changes(to_json(p), to_json(q));
  EXPECT_GE(c.size(), 4u);
  std::string all;
  for (const auto& x : c) all += x + "\n";
  EXPECT_NE(all.find("jane@example.org: decision was \"move\", is \"skip\""), std::string::npos) << all;
  EXPECT_NE(all.find("mailbox \"Sent\": to was Sent Items, is Gesendet"), std::string::npos) << all;
  EXPECT_NE(all.find("bob@example.org: is new"), std::string::npos) << all;
}

TEST(LoginTemplate, UserDomainAndPostOfficeAreFilledIn) {
  EXPECT_EQ(expand_login("%u", "jane", "a.example", "North"), "jane");
  EXPECT_EQ(expand_login("%u@%d", "jane", "a.example", "North"), "jane@a.example");
  EXPECT_EQ(expand_login("%u@%d", "jane@b.example", "a.example", "North"), "jane@b.example");
  EXPECT_EQ(expand_login("%o/%u%%", "jane", "a.example", "North"), "North/jane%");
}

}  // namespace
}  // namespace pipeline
