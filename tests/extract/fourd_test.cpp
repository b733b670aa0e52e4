#include "extract/config/fourd.hpp"

#include <chrono>

#include "base/text.hpp"
#include "extract/config/tree_view.hpp"
#include "extract/config/xml_tree.hpp"
#include "tests/extract/config_test_support.hpp"

namespace extract {
namespace {

using test::account;
using test::fixture;
using test::holds;

std::string error_of(const std::string& path) {
  const auto r = read_4d(path, default_mapping());
  return r ? "no error" : r.error().text;
}
std::string post_office(const std::string& name, const std::string& domains, const std::string& users) {
  std::string d;
  for (const auto& domain : base::split(domains, ',')) d += "<D>" + domain + "</D>\n";
  return "<PO>\n<Name>" + name + "</Name>\n<LocalMailDomains>\n" + d + "</LocalMailDomains><Users>" + users +
         "</Users></PO>";
}
std::string user(const std::string& login, const std::string& more = "<Password>x</Password>") {
  return "<User><AccountID>" + login + "</AccountID>" + more + "</User>\n";
}

// A configuration of Post Office files p0.xml, p1.xml ...
SourceConfiguration configuration_of(const std::vector<std::string>& post_offices,
                                     const Mapping& mapping = default_mapping()) {
  const test::TempFolder folder;
  std::string files;
  for (std::size_t i = 0; i < post_offices.size(); ++i) {
    const auto name = "p" + std::to_string(i) + ".xml";
    folder.write(name, post_offices[i]);
    files += "<PostOffice><File>" + name + "</File></PostOffice>\n";
  }
  folder.write("WSMailboxServer.prefs.xml", "<S><PostOffices>" + files + "</PostOffices></S>");
  return base::or_throw(read_4d(folder.path(), mapping));
}

class BothFormats : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Fourd, BothFormats, testing::Values("plist", "xml"));

TEST_P(BothFormats, TheSameServerIsReadFromBoth) {
  const auto c = base::or_throw(read_4d(fixture(GetParam()), default_mapping()));
  ASSERT_EQ(c.post_offices.size(), 3u);
  EXPECT_EQ(c.post_offices[0].name, "North");
  EXPECT_EQ(c.post_offices[2].name, "Science Lab");
  EXPECT_EQ(c.post_offices[0].domains, (std::vector<std::string>{"north.example", "nord.example"}))
      << "R1: document order";
  EXPECT_EQ(c.post_offices[2].domains, (std::vector<std::string>{"lab.example", "research.example"}));
  for (const auto& po : c.post_offices) EXPECT_TRUE(po.problems.empty()) << po.problems[0];
  EXPECT_EQ(c.imap_port, 143);
  EXPECT_TRUE(c.imap_enabled);
  EXPECT_EQ(test::migratable(c), 12u);
  for (const auto& known : test::kTwelve) {
    const auto* a = account(c, known.address);
    ASSERT_TRUE(a) << known.address;
    EXPECT_EQ(a->password.reveal(), known.password);
    EXPECT_EQ(a->skip_reason, "");
  }
  EXPECT_EQ(account(c, "bjorn@north.example")->full_name, "Bj\xC3\xB6rn \"Bo\" Ek");
  EXPECT_EQ(account(c, "bjorn@north.example")->login, "bjorn");
  EXPECT_EQ(account(c, "bjorn@north.example")->post_office, "North");
}

TEST_P(BothFormats, AccountsThatCannotBeMigratedSayWhy) {
  const auto c = base::or_throw(read_4d(fixture(GetParam()), default_mapping()));
  EXPECT_EQ(account(c, "nopass@north.example")->skip_reason, "no password");
  EXPECT_EQ(account(c, "locked@south.example")->skip_reason, "log-in disabled");
  EXPECT_EQ(account(c, "poponly@lab.example")->skip_reason, "IMAP disabled");
}

TEST_P(BothFormats, WhatIsSeenButNotMigratedIsListed) {
  const auto c = base::or_throw(read_4d(fixture(GetParam()), default_mapping()));
  const auto items = [&](std::string_view address) {
    std::vector<std::string> out;
    for (const auto& n : account(c, address)->not_migrated) out.push_back(n.kind + ": " + n.detail);
    return base::join(out, " | ");
  };
  EXPECT_EQ(items("anna@north.example"), "alias: a.nordstroem | alias: info | quota: 104857600");
  EXPECT_EQ(items("carla@north.example"), "forward: carla@elsewhere.example");
  EXPECT_EQ(items("elena@south.example"), "auto-reply: Enabled=true, Text=On holiday until 1 May.");
  EXPECT_EQ(items("gina@south.example"), "") << "the auto-reply is switched off";
  EXPECT_EQ(items("lars@lab.example"), "alias: lab-head") << "quota 0 is none";
  ASSERT_EQ(c.post_offices[2].not_migrated.size(), 2u);
  EXPECT_EQ(c.post_offices[2].not_migrated[0].kind, "list");
  EXPECT_EQ(c.post_offices[2].not_migrated[0].detail, "Name=seminar, Members=[2]");
}

TEST_P(BothFormats, NodesThatNoRuleUsedAreNamedWithFileAndLine) {
  const auto c = base::or_throw(read_4d(fixture(GetParam()), default_mapping()));
  const auto all = base::join(c.unused, "\n");
  EXPECT_TRUE(holds(all, "WSMailboxServer.prefs.xml:") && holds(all, " ServerName") &&
              holds(all, " IMAP/MaximumConnections"))
      << all;
  EXPECT_TRUE(holds(all, "North.xml:") && holds(all, " Administrator")) << all;
  EXPECT_FALSE(holds(all, "Password") || holds(all, "AccountID") || holds(all, "MailingLists")) << all;
}

TEST_P(BothFormats, InspectShowsNoPassword) {
  const auto text = base::or_throw(inspect_4d(fixture(GetParam()), default_mapping()));
  for (const auto& known : test::kTwelve) {
    EXPECT_TRUE(holds(text, known.address)) << text;
    EXPECT_FALSE(holds(text, known.password)) << known.password << "\n" << text;
  }
  EXPECT_TRUE(holds(text, "Science Lab  lab.example, research.example         5           4  ok")) << text;
  EXPECT_TRUE(holds(text, "skipped: no password")) << text;
  EXPECT_TRUE(holds(text, "Seen, but not migrated:\n  Post Office \"North\": list: Name=staff")) << text;
  EXPECT_TRUE(holds(text, "are assumed")) << text;
}

TEST(Fourd, TheMainFileItselfMayBeGiven) {
  EXPECT_TRUE(read_4d(fixture("xml/WSMailboxServer.prefs.xml"), default_mapping()));
}

// R9
TEST(Fourd, AMissingPostOfficeFileFailsTheWholeReadAndIsNamed) {
  const auto r = read_4d(fixture("broken/missing-file"), default_mapping());
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().exit, base::Exit::failed);
  EXPECT_EQ(r.error().scope, base::Scope::run);
  EXPECT_TRUE(holds(r.error().text, "missing-file/PostOffices/West.xml: No such file")) << r.error().text;
  EXPECT_TRUE(holds(r.error().text, "named at ") && holds(r.error().text, "WSMailboxServer.prefs.xml:14"))
      << r.error().text;
  EXPECT_TRUE(holds(r.error().text, "Nothing was migrated")) << r.error().text;
}

// R9
TEST(Fourd, ADamagedPostOfficeFileFailsTheWholeReadAndIsNamedWithItsLine) {
  const auto text = error_of(fixture("broken/damaged-xml"));
  EXPECT_TRUE(
      holds(text, "damaged-xml/PostOffices/West.xml:10: the file ends inside the element that began in line 10"))
      << text;
  EXPECT_FALSE(holds(text, "West-Side-1"));
}

TEST(Fourd, AnEntityBombInAPostOfficeFileIsInert) {
  EXPECT_TRUE(holds(error_of(fixture("broken/entity-bomb")), "West.xml:2: the document type declares entities"));
}

TEST(Fourd, NoPostOfficeAtAllIsAnErrorThatNamesThePath) {
  const auto text = error_of(fixture("broken/no-post-office"));
  EXPECT_TRUE(holds(text, "there is no Post Office at \"PostOffices/[]/File\"") && holds(text, "4d2kms inspect"))
      << text;
}

TEST(Fourd, NoConfigurationIsAnErrorThatNamesTheFolderAndTheOption) {
  const test::TempFolder folder;
  EXPECT_TRUE(
      holds(error_of(folder.path()), "there is no \"WSMailboxServer.prefs.xml\" in the folder " + folder.path()));
  const auto text = error_of(folder.path() + "/none");
  EXPECT_TRUE(holds(text, "/none does not exist") && holds(text, "--source-path") && holds(text, "--roster")) << text;
}

// R15
TEST(Fourd, AnSmtpDomainInTwoPostOfficesFailsBothAndNamesBothPlaces) {
  const auto c = base::or_throw(read_4d(fixture("broken/duplicate-domain"), default_mapping()));
  ASSERT_EQ(c.post_offices.size(), 2u);
  for (const auto& po : c.post_offices) {
    ASSERT_EQ(po.problems.size(), 1u);
    EXPECT_TRUE(holds(po.problems[0], "\"shared.example\" is in two Post Offices: in \"East\" at ") &&
                holds(po.problems[0], "East.xml:6") && holds(po.problems[0], "in \"West\" at ") &&
                holds(po.problems[0], "West.xml:6"))
        << po.problems[0];
  }
}

// R15
TEST(Fourd, DuplicatePostOfficesAndADomainTwiceInOneFailAndTheOthersDoNot) {
  const auto c = configuration_of({post_office("A", "a.example", ""), post_office("a", "b.example", ""),
                                   post_office("C", "c.example,C.Example", ""), post_office("D", "d.example", "")});
  ASSERT_EQ(c.post_offices[0].problems.size(), 1u);
  EXPECT_EQ(c.post_offices[0].problems, c.post_offices[1].problems);
  EXPECT_TRUE(holds(c.post_offices[0].problems[0], "p0.xml:1 and at ") &&
              holds(c.post_offices[0].problems[0], "p1.xml:1"));
  ASSERT_EQ(c.post_offices[2].problems.size(), 1u);
  EXPECT_TRUE(holds(c.post_offices[2].problems[0], "p2.xml:4 and at ") &&
              holds(c.post_offices[2].problems[0], "p2.xml:5"))
      << c.post_offices[2].problems[0];
  EXPECT_TRUE(c.post_offices[3].problems.empty());
}

TEST(Fourd, APostOfficeWithoutNameOrDomainOrWithAnImpossibleDomainFails) {
  const auto c = configuration_of(
      {"<PO><Users/></PO>", post_office("B", "", user("x")), post_office("C", "c@d,good.example", "")});
  ASSERT_EQ(c.post_offices[0].problems.size(), 2u);
  EXPECT_TRUE(holds(c.post_offices[0].problems[0], "has no name"));
  EXPECT_TRUE(holds(c.post_offices[0].problems[1], "has no SMTP domain"));
  EXPECT_EQ(c.post_offices[1].problems.size(), 1u)
      << "an empty first domain is not passed over: it would name the target";
  EXPECT_TRUE(holds(c.post_offices[2].problems[0], "\"c@d\" at ")) << c.post_offices[2].problems[0];
}

TEST(Fourd, TheSameLoginTwiceInOnePostOfficeSkipsBoth) {
  const auto c =
      configuration_of({post_office("A", "a.example,b.example", user("jane") + user("Jane@B.example") + user("joe"))});
  const auto& accounts = c.post_offices[0].accounts;
  EXPECT_TRUE(holds(accounts[0].skip_reason, "the same log-in as the account at ")) << accounts[0].skip_reason;
  EXPECT_TRUE(holds(accounts[1].skip_reason, "the same log-in as the account at ")) << accounts[1].skip_reason;
  EXPECT_EQ(accounts[2].skip_reason, "");
}

TEST(Fourd, ALoginThatIsAnAddressKeepsItAndAForeignDomainIsSkipped) {
  const auto c =
      configuration_of({post_office("A", "a.example,b.example", user("Jane@B.Example") + user("x@other.example"))});
  EXPECT_EQ(c.post_offices[0].accounts[0].address, "Jane@b.example");
  EXPECT_EQ(c.post_offices[0].accounts[0].skip_reason, "");
  EXPECT_TRUE(holds(c.post_offices[0].accounts[1].skip_reason, "its domain \"other.example\" is none of"));
}

TEST(Fourd, ABareLoginInTwoPostOfficesIsAmbiguousNotAnError) {
  const auto c =
      configuration_of({post_office("A", "a.example", user("jane") + user("joe")),
                        post_office("B", "b.example", user("Jane")), post_office("C", "c.example", user("jane"))});
  EXPECT_EQ(c.ambiguous_logins, (std::vector<std::string>{"Jane"}));
  EXPECT_EQ(test::migratable(c), 4u);
}

TEST(Fourd, ValuesThatAreNeitherYesNorNoOrGivenTwiceAreNotGuessed) {
  const auto c =
      configuration_of({post_office("A", "a.example",
                                    user("a", "<Password>x</Password><LoginEnabled>perhaps</LoginEnabled>") +
                                        user("b", "<Password>x</Password><Password>y</Password>") +
                                        user("", "<Password>x</Password>") + user("d</AccountID><AccountID>e"))});
  const auto& accounts = c.post_offices[0].accounts;
  EXPECT_TRUE(holds(accounts[0].skip_reason, "LoginEnabled (")) << accounts[0].skip_reason;
  EXPECT_EQ(accounts[1].skip_reason, "password unreadable");
  EXPECT_TRUE(accounts[1].password.empty());
  EXPECT_TRUE(holds(accounts[2].skip_reason, "no log-in name")) << accounts[2].skip_reason;
  EXPECT_TRUE(holds(accounts[3].skip_reason, "its log-in name is given 2 times")) << accounts[3].skip_reason;
  EXPECT_EQ(accounts[3].login, "");
}

TEST(Fourd, PasswordsAreUnreadableRatherThanGuessed) {
  auto mapping = default_mapping();
  mapping.password.decoder = Decoder::base64;
  const auto state = [&](const std::string& encoded) {
    const auto c =
        configuration_of({post_office("A", "a.example", user("a", "<Password>" + encoded + "</Password>"))}, mapping);
    const auto& a = c.post_offices[0].accounts[0];
    return a.skip_reason.empty() ? "=" + std::string(a.password.reveal()) : a.skip_reason;
  };
  EXPECT_EQ(state(base::base64_encode("p\xC3\xA4\"ss\\w %{6}")), "=p\xC3\xA4\"ss\\w %{6}");
  EXPECT_EQ(state("aHVu\n dGVy"), "=hunter") << "data of a property list is folded";
  EXPECT_EQ(state(""), "no password");
  for (const auto* bad : {"hunter2", "aHV=dGVy", "aHVudGVyMh==", "====", "aGk-", "/w==", "AA==", "YQpi", "YQ1i"})
    EXPECT_EQ(state(bad), "password unreadable") << bad;

  const auto plain =
      configuration_of({post_office("A", "a.example",
                                    user("a", "<Password>\n  x\n</Password>") + user("b", "<Password> x </Password>") +
                                        user("c", "<Password><Encrypted>x</Encrypted></Password>"))});
  EXPECT_EQ(plain.post_offices[0].accounts[0].skip_reason, "password unreadable");
  EXPECT_EQ(plain.post_offices[0].accounts[1].password.reveal(), " x ");
  EXPECT_EQ(plain.post_offices[0].accounts[2].skip_reason, "password unreadable");
}

TEST(Fourd, PostOfficeFilesOutsideTheFolderAreRefused) {
  const test::TempFolder folder;
  folder.write("secret.xml", post_office("S", "s.example", ""));
  folder.write("in/sub/p.xml", post_office("P", "p.example", user("x")));
  const auto with = [&](const std::string& name) {
    folder.write("in/WSMailboxServer.prefs.xml",
                 "<S><PostOffices>\n<P><File>" + name + "</File></P></PostOffices></S>");
    return error_of(folder.path() + "/in");
  };
  for (const auto& name : {std::string("../secret.xml"), std::string("sub/../../secret.xml"),
                           std::string("/etc/passwd"), folder.path() + "/secret.xml", std::string("..")})
    EXPECT_TRUE(holds(with(name), "prefs.xml:2: the Post Office file \"" + name + "\" lies outside")) << with(name);
  EXPECT_TRUE(holds(with(""), "has no name")) << with("");
  EXPECT_EQ(with("sub/../sub/./p.xml"), "no error");
  EXPECT_EQ(with(folder.path() + "/in/sub/p.xml"), "no error");
}

TEST(Fourd, PostOfficesInlineAttributesAndBase64ByAMappingOfTheSite) {
  const auto mapping = base::or_throw(read_mapping(fixture("unknown-schema/mapping.json")));
  const auto c = base::or_throw(read_4d(fixture("unknown-schema"), mapping));
  ASSERT_EQ(c.post_offices.size(), 2u);
  EXPECT_EQ(c.post_offices[0].domains, (std::vector<std::string>{"east.example", "ost.example"}));
  EXPECT_EQ(account(c, "ed@east.example")->password.reveal(), "hunter2");
  EXPECT_EQ(account(c, "eva@east.example")->skip_reason, "IMAP disabled");
  EXPECT_EQ(account(c, "wes@west.example")->full_name, "Wes");
  EXPECT_EQ(c.imap_port, 143);
  EXPECT_TRUE(holds(base::join(c.unused, "\n"), "offices/office/person/@word (3 times)")) << base::join(c.unused, "\n");
}

TEST(Fourd, PostOfficesOfAFolderAreReadByName) {
  const test::TempFolder folder;
  folder.write("WSMailboxServer.prefs.xml", "<S/>");
  folder.write("po/b.xml", post_office("B", "b.example", ""));
  folder.write("po/a.xml", post_office("A", "a.example", ""));
  folder.write("po/._a.xml", "what a Mac leaves on foreign disks");
  folder.write("po/readme.txt", "no");
  const auto mapping = base::or_throw(parse_mapping(R"({"post_offices": {"scan": "po/*.xml"}})", "m"));
  const auto c = base::or_throw(read_4d(folder.path(), mapping));
  ASSERT_EQ(c.post_offices.size(), 2u);
  EXPECT_EQ(c.post_offices[0].name, "A");
  EXPECT_EQ(c.post_offices[1].name, "B");
}

TEST(Inspect, AnUnknownSchemaIsShownAsATreeWithoutAnyValueThatMayBeASecret) {
  const auto text = base::or_throw(inspect_4d(fixture("unknown-schema"), default_mapping()));
  for (const auto* secret : {"Swordfish-77", "aHVudGVyMg", "4711", "0815", "open.sesame", "T3Blb", "123456789", "bm90I",
                             "tr0ub4dor", "Easton", "east.example"})
    EXPECT_FALSE(holds(text, secret)) << secret << "\n" << text;
  EXPECT_TRUE(holds(text, "person @id=<text> @word=<domain> @pwd=***")) << text;
  EXPECT_TRUE(holds(text, "service @kind=<text> @port=143 @on=yes")) << text;
  EXPECT_TRUE(holds(text, "pin = ***")) << text;
  EXPECT_TRUE(holds(text, "archive = backup/old.prefs")) << text;
  EXPECT_TRUE(holds(text, "setting @name=*** = ***")) << text;
  EXPECT_TRUE(holds(text, "Configuration files in the folder:\n  WSMailboxServer.prefs.xml")) << text;
}

TEST(Inspect, APostOfficeFileThatDoesNotFitIsShownAsATree) {
  const test::TempFolder folder;
  folder.write("WSMailboxServer.prefs.xml", "<S><PostOffices><P><File>p.xml</File></P></PostOffices></S>");
  folder.write("p.xml", "<office><people><one word='hunter2'>jane</one></people></office>");
  const auto text = base::or_throw(inspect_4d(folder.path(), default_mapping()));
  EXPECT_TRUE(holds(text, "one @word=<text> = <text>")) << text;
  EXPECT_FALSE(holds(text, "hunter2") || holds(text, "jane")) << text;
}

TEST(Inspect, SecretNamesHideAllThatIsBelowThem) {
  const auto tree = parse_xml(
      "<plist><dict><key>Passwords</key><dict><key>jane</key><true/></dict>"
      "<key>IMAPPort</key><integer>1143</integer><key>Support</key><integer>1234</integer>"
      "<key>p\xC3\xA4\"ss</key><true/></dict></plist>",
      "f");
  const auto text = masked_tree(tree.value().root);
  EXPECT_TRUE(holds(text, "jane = ***")) << text;
  EXPECT_TRUE(holds(text, "IMAPPort = 1143")) << text;
  EXPECT_TRUE(holds(text, "Support = <number>")) << text;
  EXPECT_TRUE(holds(text, "<name> = true")) << text;
}

TEST(Inspect, LongListsAreCut) {
  std::string xml = "<a>";
  for (int i = 0; i < 5000; ++i) xml += "<b>x</b>";
  const auto text = masked_tree(parse_xml(xml + "</a>", "f").value().root);
  EXPECT_TRUE(holds(text, "... 4997 more")) << text.substr(0, 500);
}

TEST(Inspect, NothingOfAPostOfficeThatFailsIsCountedAsToMigrate) {
  const auto text = base::or_throw(inspect_4d(fixture("broken/duplicate-domain"), default_mapping()));
  EXPECT_TRUE(holds(text, "East         east.example, shared.example         1           0  fails")) << text;
  EXPECT_TRUE(holds(text, "Problems:\n  SMTP domain \"shared.example\" is in two Post Offices")) << text;
}

// S22
TEST(Inspect, ControlCharactersAreEscaped) {
  const auto c = configuration_of({post_office("A\xC2\x9B", "a.example", user("x\xC2\x9B"))});
  EXPECT_FALSE(holds(describe(c), "\xC2\x9B"));
}

TEST(Fourd, TwentyThousandAccountsAreReadInReasonableTime) {
  std::string users;
  for (int i = 0; i < 20'000; ++i) users += user("u" + std::to_string(i));
  const auto start = std::chrono::steady_clock::now();
  const auto c = configuration_of({post_office("A", "a.example", users)});
  EXPECT_EQ(test::migratable(c), 20'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

}  // namespace
}  // namespace extract
