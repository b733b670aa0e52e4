#include "load/repair.hpp"

#include <gtest/gtest.h>

#include "load/mailbox_map.hpp"

namespace load {
namespace {

TEST(Repair, EachRuleDoesOneThingAndNothingElse) {
  EXPECT_EQ(repaired(Rule::drop_mbox_line, "From x Mon\r\nSubject: a\r\n\r\nb"), "Subject: a\r\n\r\nb");
  EXPECT_EQ(repaired(Rule::drop_mbox_line, "From: x\r\n\r\nb"), std::nullopt);
  EXPECT_EQ(repaired(Rule::crlf, "a\nb\rc\r\nd\r\r\n"), "a\r\nb\r\nc\r\nd\r\n\r\n");
  EXPECT_EQ(repaired(Rule::crlf, "a\r\nb\r\n"), std::nullopt);
  EXPECT_EQ(repaired(Rule::replace_nul, std::string("a\0b\0\0", 5)),
            "a\x80"
            "b");
  EXPECT_EQ(repaired(Rule::replace_nul, "ab"), std::nullopt);
}

imap::StatusLine answer(imap::Status s, const char* code, const char* text) { return {s, {code, ""}, text}; }

TEST(Refusal, IsToldApartByCodeAndText) {
  using imap::Status;
  EXPECT_EQ(classify(answer(Status::no, "OVERQUOTA", "")), Refusal::over_quota);
  EXPECT_EQ(classify(answer(Status::no, "", "Over quota")), Refusal::over_quota) << "Cyrus says it without a code";
  EXPECT_EQ(classify(answer(Status::no, "TRYCREATE", "")), Refusal::no_mailbox);
  EXPECT_EQ(classify(answer(Status::no, "NOPERM", "")), Refusal::not_permitted);
  EXPECT_EQ(classify(answer(Status::no, "UNAVAILABLE", "")), Refusal::busy);
  EXPECT_EQ(classify(answer(Status::bad, "", "Invalid system flag")), Refusal::flags_or_date);
  EXPECT_EQ(classify(answer(Status::no, "CANNOT", "Keyword length too long")), Refusal::flags_or_date);
  EXPECT_EQ(classify(answer(Status::no, "", "Message contains NUL characters")), Refusal::message);
  EXPECT_EQ(classify(answer(Status::no, "", "cannot update mailbox")), Refusal::message) << "\"update\" is no date";
}

TEST(HeaderField, IsUnfoldedAndStopsAtTheEmptyLine) {
  EXPECT_EQ(header_field("Subject: a\r\nDate: Fri,\r\n 17 Jul 2020\r\nX: y\r\n\r\nDate: no", "Date"),
            "Fri, 17 Jul 2020");
  EXPECT_EQ(header_field("Subject: a\r\n\r\nDate: no", "date"), "");
}

state::MailboxRow box(std::int64_t id, std::string name, std::string delimiter = "/", std::string attributes = "") {
  state::MailboxRow m;
  m.id = state::MailboxId(id);
  m.name = m.wire = std::move(name);
  m.delimiter = std::move(delimiter);
  m.attributes = std::move(attributes);
  m.present = true;
  return m;
}

std::map<std::string, std::string> names(const std::vector<MappedMailbox>& mapped) {
  std::map<std::string, std::string> out;
  for (const auto& m : mapped) out[m.from] = m.name;
  return out;
}

TEST(MailboxMap, DelimitersAndPrefixesAreTranslated) {
  TargetView dots;
  dots.delimiter = ".";
  dots.prefix = "INBOX.";
  auto n = names(map_mailboxes({box(1, "INBOX"), box(2, "Archive/2019"), box(3, "v1.2/x")}, "", dots, {}));
  EXPECT_EQ(n["INBOX"], "INBOX");
  EXPECT_EQ(n["Archive/2019"], "INBOX.Archive.2019");
  EXPECT_EQ(n["v1.2/x"], "INBOX.v1=2E2.x") << "a delimiter inside a name is escaped";
  n = names(map_mailboxes({box(1, "INBOX", "."), box(2, "INBOX.Sent", "."), box(3, "INBOX.a/b", ".")}, "INBOX.",
                          TargetView{}, {}));
  EXPECT_EQ(n["INBOX.Sent"], "Sent");
  EXPECT_EQ(n["INBOX.a/b"], "a=2Fb");
}

TEST(MailboxMap, IsOneToOneWhateverTheNames) {
  TargetView t;
  const auto mapped = map_mailboxes({box(1, "a/b", "."), box(2, "a=2Fb", "."), box(3, "Sent", "."), box(4, "sent", "."),
                                     box(5, "SENT", "."), box(6, "inbox", "."), box(7, "INBOX", ".")},
                                    "", t, {});
  std::set<std::string> seen;
  for (const auto& m : mapped) EXPECT_TRUE(seen.insert(m.name).second) << m.name << " twice";
  EXPECT_EQ(names(mapped)["a/b"], "a=2Fb");
  EXPECT_EQ(names(mapped)["a=2Fb"], "a=3D2Fb") << "what already looks escaped is escaped";
}

TEST(MailboxMap, SpecialUseGoesToTheTargetsOwnAndNamesAreNotGuessed) {
  TargetView t;
  t.mailboxes = {{"INBOX", "INBOX", {}, true, true}, {"Sent Items", "Sent Items", {"\\sent"}, true, true}};
  auto n = names(map_mailboxes({box(1, "Gesendet", "/", "\\hasnochildren \\sent"), box(2, "Sent")}, "", t, {}));
  EXPECT_EQ(n["Gesendet"], "Sent Items");
  EXPECT_EQ(n["Sent"], "Sent");
}

TEST(MailboxMap, KerioTakesUsualNamesForItsOwnMailboxesAndOneOnlyForEach) {
  NameRules kerio;
  kerio.kerio = true;
  auto n = names(map_mailboxes({box(1, "INBOX"), box(2, "Sent"), box(3, "Sent Messages"), box(4, "Trash"),
                                box(5, "spam"), box(6, "Projects/Sent")},
                               "", fresh_kerio_account(), kerio));
  EXPECT_EQ(n["Sent"], "Sent Items");
  EXPECT_EQ(n["Sent Messages"], "Sent Messages");
  EXPECT_EQ(n["Trash"], "Deleted Items");
  EXPECT_EQ(n["spam"], "Junk E-mail");
  EXPECT_EQ(n["Projects/Sent"], "Projects/Sent");
  n = names(map_mailboxes({box(1, "Sent"), box(2, "Sent Items"), box(3, "Gesendet", "/", "\\sent")}, "",
                          fresh_kerio_account(), kerio));
  EXPECT_EQ(n["Gesendet"], "Sent Items") << "what the source says comes first";
  EXPECT_EQ(n["Sent Items"], "Sent Items (2)");
  EXPECT_EQ(n["Sent"], "Sent");
}

TEST(MailboxMap, KerioNamesAreUniqueAcrossKindsAndWithoutInvisibleBlanks) {
  NameRules kerio;
  kerio.kerio = true;
  const auto mapped = map_mailboxes(
      {box(1, "contacts"), box(2, "Contacts/Old"), box(3, "contacts (mail)"), box(4, "#x"), box(5, "a /b"),
       box(6, "a=20/b"), box(7, "x\xC2\xA0"), box(8, "x"), box(9, "a. "), box(10, "Mail"), box(11, "mail")},
      "", fresh_kerio_account(), kerio);
  auto n = names(mapped);
  EXPECT_EQ(n["contacts"], "contacts (mail)");
  EXPECT_EQ(n["Contacts/Old"], "Contacts (mail)/Old");
  EXPECT_EQ(n["contacts (mail)"], "contacts (mail) (2)");
  EXPECT_EQ(n["#x"], "=23x");
  EXPECT_EQ(n["a /b"], "a=20/b");
  EXPECT_EQ(n["a=20/b"], "a=3D20/b");
  EXPECT_EQ(n["x\xC2\xA0"], "x=C2=A0");
  std::set<std::string> seen;
  for (const auto& m : mapped) EXPECT_TRUE(seen.insert(m.name).second) << m.name << " twice";
  kerio.windows = true;
  n = names(map_mailboxes({box(1, "a:b?"), box(2, "end.")}, "", fresh_kerio_account(), kerio));
  EXPECT_EQ(n["a:b?"], "a=3Ab=3F");
  EXPECT_EQ(n["end."], "end=2E");
}

TEST(Ladder, ADateIsKeptAsAnInstantBeforeItIsGivenUp) {
  const auto no = answer(imap::Status::no, "", "Malformed date parameter");
  EXPECT_EQ(ladder(no, "a", false, true), (std::vector<Rule>{Rule::utc_date, Rule::replace_date, Rule::drop_date}));
}

TEST(MailboxMap, AnEarlierDecisionStands) {
  auto moved = box(1, "Gesendet", "/", "\\sent");
  moved.target_wire = moved.target_name = "Gesendet";
  moved.target_validity = base::UidValidity(3);
  TargetView t;
  t.mailboxes = {{"Sent Items", "Sent Items", {"\\sent"}, true, true}};
  EXPECT_EQ(names(map_mailboxes({moved}, "", t, {}))["Gesendet"], "Gesendet");
}

}  // namespace
}  // namespace load
