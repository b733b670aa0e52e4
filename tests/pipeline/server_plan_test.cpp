// R1-R5, R14, R15 and the rows of docs/manual.md's table of policies that concern domains and accounts.
#include "pipeline/server_plan.hpp"

#include <gtest/gtest.h>

namespace pipeline {
namespace {

using load::kerio::TargetDomain;
using load::kerio::TargetUser;
using state::ObjectState;
using state::PostOfficeRow;

PostOfficeRow office(std::string name, std::vector<std::string> domains, std::string problem = "") {
  return {state::PostOfficeId(1), std::move(name), std::move(problem), std::move(domains)};
}
TargetDomain domain(std::string name, std::vector<std::string> aliases = {}, std::string description = "") {
  TargetDomain d;
  d.id = "d:" + name;
  d.name = std::move(name);
  d.aliases = std::move(aliases);
  d.description = std::move(description);
  return d;
}
TargetDomain primary(std::string name = "kerio.example") {
  auto d = domain(std::move(name));
  d.primary = true;
  return d;
}
PlannedDomain only(const std::vector<PostOfficeRow>& p, const std::vector<TargetDomain>& t,
                   const std::vector<state::TargetObject>& known = {}, ServerPolicies policies = {}) {
  return decide_domains(p, t, known, policies).front();
}
const ServerPolicies kAdopt{true, true, false};

TEST(R1, OneDomainAPostOfficeNamedAfterItsFirst) {
  const auto d = only({office("North", {"North.Example", "nord.example"})}, {primary()});
  EXPECT_EQ(d.fate, Fate::create);
  EXPECT_EQ(d.name, "north.example");
}

TEST(R2, TheOthersBecomeAliases) {
  const auto d = only({office("North", {"north.example", "nord.example", "n.example"})}, {primary()});
  ASSERT_EQ(d.aliases.size(), 2u);
  EXPECT_EQ(d.aliases[0].name, "nord.example");
  EXPECT_EQ(d.aliases[1].name, "n.example");
}

TEST(R3, ADomainThatIsThereAndNotOursIsSkippedOrAdoptedUnmodified) {
  const std::vector<TargetDomain> t = {primary(), domain("north.example")};
  auto d = only({office("North", {"north.example", "nord.example"})}, t);
  EXPECT_EQ(d.fate, Fate::skip);
  EXPECT_NE(d.why.find("--existing-domain adopt"), std::string::npos);
  d = only({office("North", {"north.example", "nord.example"})}, t, {}, kAdopt);
  EXPECT_EQ(d.fate, Fate::adopt);
  ASSERT_EQ(d.aliases.size(), 1u);
  EXPECT_NE(d.aliases[0].dropped, "") << "a domain of theirs gets no alias";
}

TEST(R4, AnAliasClashFailsThatPostOfficeAndTheOthersGoOn) {
  const std::vector<TargetDomain> t = {primary(), domain("other.example", {"north.example", "nord.example"})};
  auto all = decide_domains({office("North", {"north.example"}), office("South", {"south.example", "nord.example"}),
                             office("East", {"east.example"})},
                            t, {}, {});
  EXPECT_EQ(all[0].fate, Fate::fail) << "the domain is an alias there";
  EXPECT_EQ(all[1].fate, Fate::fail) << "its alias is an alias there";
  EXPECT_EQ(all[2].fate, Fate::create);
  all = decide_domains(
      {office("North", {"north.example"}), office("South", {"south.example", "nord.example", "s.example"}),
       office("West", {"west.example", "other.example"})},
      t, {}, kAdopt);
  EXPECT_EQ(all[0].fate, Fate::fail) << "a name that is taken cannot be adopted";
  EXPECT_EQ(all[1].fate, Fate::create);
  EXPECT_NE(all[1].aliases[0].dropped, "") << "only the clashing one is dropped";
  EXPECT_EQ(all[1].aliases[1].dropped, "");
  EXPECT_NE(all[2].aliases[0].dropped.find("is a domain"), std::string::npos);
}

TEST(R14, ThePrimaryDomainIsNoMigratedOne) {
  for (const auto& policies : {ServerPolicies{}, kAdopt}) {
    EXPECT_EQ(only({office("N", {"kerio.example"})}, {primary()}, {}, policies).fate, Fate::fail);
    const auto d = only({office("N", {"north.example", "kerio.example"})}, {primary()}, {}, policies);
    EXPECT_EQ(d.fate, Fate::fail);
    EXPECT_NE(d.why.find("primary"), std::string::npos);
  }
}

TEST(R15, DuplicatesOfTheSourceFailHereToo) {
  const auto d = only({office("North", {"north.example"}, "SMTP domain twice")}, {primary()}, {}, kAdopt);
  EXPECT_EQ(d.fate, Fate::fail);
  EXPECT_EQ(d.why, "SMTP domain twice");
}

TEST(ServerPlan, OursByTheStoresIdElseByItsMark) {
  const auto marked = load::kerio::with_mark("North", "north.example");
  const std::vector<PostOfficeRow> p = {office("North", {"north.example", "nord.example"})};
  EXPECT_EQ(only(p, {primary(), domain("north.example", {}, marked)}).fate, Fate::ours);
  EXPECT_EQ(only(p, {primary(), domain("north.example", {}, load::kerio::with_mark("", "south.example"))}).fate,
            Fate::skip)
      << "a mark counts on its own object only";
  const std::vector<state::TargetObject> known = {
      {"domain", "north.example", {}, ObjectState::ours, "d:north.example", {}}};
  const auto d = only(p, {primary(), domain("north.example", {"nord.example"}, "edited")}, known);
  EXPECT_EQ(d.fate, Fate::ours) << "the description was edited, the id is on record";
  EXPECT_TRUE(d.aliases[0].there);
  auto another = domain("north.example", {}, marked);
  another.id = "d:made-anew";
  EXPECT_EQ(only(p, {primary(), another}, known).fate, Fate::skip) << "another object under the old name";
}

TEST(ServerPlan, NamesThatTheTargetCannotTakeFail) {
  EXPECT_EQ(only({office("N", {"nörd.example"})}, {primary()}).fate, Fate::fail);
  EXPECT_EQ(only({office("N", {"a_b.example"})}, {primary()}).fate, Fate::fail);
}

// ---- accounts ----

class Account : public ::testing::Test {
 protected:
  TargetPicture picture;
  PlannedDomain north = only({office("North", {"north.example"})}, {primary()});
  std::vector<state::TargetObject> known;
  ServerPolicies policies;
  std::string password = "Winter-2003";

  PlannedAccount decide(std::string address = "Anna@north.example") {
    PlannedAccount a;
    a.address = address;
    a.target_login = address;
    a.full_name = "Anna Berg";
    decide_account(a, north, picture, known, policies, base::Secret(password));
    return a;
  }
  TargetUser user(std::string login, std::string description = "") {
    return {"u:" + login, login, std::move(description), true, {}};
  }
};

TEST_F(Account, R5IsCreatedUnderItsLocalPart) {
  const auto a = decide();
  EXPECT_EQ(a.fate, Fate::create);
  EXPECT_EQ(a.login, "anna");
  EXPECT_EQ(a.target_domain, "north.example");
}

TEST_F(Account, GoesWithItsPostOffice) {
  north.fate = Fate::fail;
  north.why = "clash";
  EXPECT_NE(decide().skip.find("clash"), std::string::npos);
}

TEST_F(Account, OneThatIsThereIsOursAdoptedOrSkipped) {
  picture.users["north.example"] = {user("anna")};
  EXPECT_NE(decide().skip.find("--existing-account adopt"), std::string::npos);
  policies.adopt_accounts = true;
  EXPECT_EQ(decide().fate, Fate::adopt);
  policies.adopt_accounts = false;
  picture.users["north.example"] = {user("anna", load::kerio::with_mark("", "anna@north.example"))};
  EXPECT_EQ(decide().fate, Fate::ours);
  picture.users["north.example"] = {user("anna", "edited")};
  known = {{"account", "anna@north.example", "north.example", ObjectState::ours, "u:anna", {}}};
  EXPECT_EQ(decide().fate, Fate::ours);
  known[0].state = ObjectState::adopted;
  EXPECT_EQ(decide().fate, Fate::adopt) << "an earlier decision stands";
}

TEST_F(Account, WhatWeMadeForSomebodyElseIsNeverThisOnes) {
  picture.users["north.example"] = {user("anna", load::kerio::with_mark("", "bjorn@north.example"))};
  known = {{"account", "anna@north.example", "north.example", ObjectState::ours, "u:anna", {}}};
  EXPECT_NE(decide().skip, "") << "the roster was changed: bjorn's account is under her name now";
}

TEST_F(Account, AnAddressThatIsTakenIsNamed) {
  picture.collisions["north.example"] = {{"anna", "EntityAlias", "staff"}};
  EXPECT_NE(decide().skip.find("the alias \"staff\""), std::string::npos) << decide().skip;
}

TEST_F(Account, PasswordPolicyIsAppliedWhereItCanBeRead) {
  auto d = domain("north.example");
  d.policy = {true, 8};
  picture.domains = {d};
  EXPECT_EQ(decide().skip, "");
  password = "short";
  EXPECT_NE(decide().skip.find("policy"), std::string::npos);
  policies.generate_passwords = true;
  const auto a = decide();
  EXPECT_EQ(a.skip, "");
  ASSERT_EQ(a.remarks.size(), 1u);
}

TEST_F(Account, HazardsAndDisabledAccountsAreTold) {
  auto u = user("anna", load::kerio::with_mark("", "anna@north.example"));
  u.enabled = false;
  u.hazards = {"at most 10 items"};
  picture.users["north.example"] = {u};
  EXPECT_EQ(decide().remarks.size(), 2u);
}

TEST_F(Account, ReservedNamesAreSkipped) { EXPECT_NE(decide("anyone@north.example").skip, ""); }

TEST(ServerRemarks, LicenceGuardAndDisk) {
  load::kerio::Server s;
  s.version = "Kerio Connect 10";
  EXPECT_EQ(server_remarks(s, 5, 1000, false).size(), 1u);
  s.licence_left = 3;
  s.refusals_to_block = 10;
  s.disk_free = 5000;
  s.watchdog_stops_below = 4500;
  const auto r = server_remarks(s, 5, 1000, true);
  ASSERT_EQ(r.size(), 5u);
  EXPECT_NE(r[1].find("master"), std::string::npos);
  EXPECT_NE(r[2].find("the last 2"), std::string::npos) << r[2];
  EXPECT_NE(disk_problem(s, 1000), "");
  EXPECT_EQ(disk_problem(s, 400), "");
}

}  // namespace
}  // namespace pipeline
