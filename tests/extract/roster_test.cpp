#include "extract/config/roster.hpp"

#include <sys/stat.h>

#include <chrono>

#include "base/text.hpp"
#include "extract/config/csv.hpp"
#include "extract/config/fourd.hpp"
#include "tests/extract/config_test_support.hpp"

namespace extract {
namespace {

using test::account;
using test::fixture;
using test::holds;

class RosterFile : public testing::Test {
 protected:
  base::Result<Roster> read(std::string_view text, std::string_view domains = {}) {
    const auto file = folder.write("r.csv", text);
    chmod(file.c_str(), 0600);
    return read_roster(file, domains.empty() ? std::string() : folder.write("d.csv", domains));
  }
  std::string error(std::string_view text) {
    const auto r = read(text);
    return r ? "no error" : r.error().text;
  }
  SourceConfiguration configuration(std::string_view text, std::string_view domains = {}) {
    SourceConfiguration c;
    apply_roster(c, base::or_throw(read(text, domains)));
    return c;
  }
  test::TempFolder folder;
};

TEST(Csv, QuotesLineEndsAndSeparatorsAreReadAsRfc4180Says) {
  const auto r = parse_csv("a;\"b\"\"c;d\";\"e\r\nf\"\r\n\r\ng;h\"i;\rlast;;", "f");
  ASSERT_TRUE(r) << r.error().text;
  ASSERT_EQ(r->size(), 3u);
  EXPECT_EQ((*r)[0].fields, (std::vector<std::string>{"a", "b\"c;d", "e\r\nf"}));
  EXPECT_EQ((*r)[1].fields, (std::vector<std::string>{"g", "h\"i", ""}));
  EXPECT_EQ((*r)[1].line, 4u);
  EXPECT_EQ((*r)[2].fields, (std::vector<std::string>{"last", "", ""}));
  EXPECT_EQ((*r)[2].line, 5u);
}

TEST(Csv, TheSeparatorIsToldFromTheFirstLineOutsideQuotes) {
  EXPECT_EQ(parse_csv("\"a;b\",c\n1;2,3", "f").value()[0].fields.size(), 2u);
  EXPECT_EQ(parse_csv("\"a;b\",c\n1;2,3", "f").value()[1].fields, (std::vector<std::string>{"1;2", "3"}));
  EXPECT_EQ(parse_csv("a,b;c", "f").value()[0].fields.size(), 2u);
}

TEST_F(RosterFile, WithoutAHeaderIsWhatKimtReads) {
  const auto r =
      base::or_throw(read("\xEF\xBB\xBFjane@New.Example;p\xC3\xA4\"ss\\w %{6};Jane Doe\nbob@new.example; x \n"));
  ASSERT_EQ(r.rows.size(), 2u);
  EXPECT_EQ(r.rows[0].address, "jane@new.example");
  EXPECT_EQ(r.rows[0].password.reveal(), "p\xC3\xA4\"ss\\w %{6}");
  EXPECT_EQ(r.rows[0].full_name, "Jane Doe");
  EXPECT_EQ(r.rows[1].password.reveal(), " x ") << "passwords are taken octet for octet";
  EXPECT_TRUE(r.notes.empty());
}

TEST_F(RosterFile, WithAHeaderItsColumnsAreInAnyOrder) {
  const auto r =
      base::or_throw(read("Enabled,target_login, ADDRESS ,post_office,target_password,password,source_login,full_name\n"
                          "no,t,a@x.example,PO,tp,\"p,w\",s,\"A, B\"\n,,b@x.example,,,,,\n"));
  ASSERT_EQ(r.rows.size(), 2u);
  const auto& a = r.rows[0];
  EXPECT_EQ(a.enabled, std::optional(false));
  EXPECT_EQ(a.password.reveal(), "p,w");
  EXPECT_EQ(a.target_password.reveal(), "tp");
  EXPECT_EQ(a.source_login + a.target_login + a.post_office + a.full_name, "stPOA, B");
  EXPECT_EQ(a.where, folder.path() + "/r.csv:2");
  EXPECT_EQ(r.rows[1].enabled, std::nullopt);
}

TEST_F(RosterFile, BadInputIsAnErrorThatNamesTheLineAndNoPassword) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "r.csv:1: there is nothing in it"},
      {"address;password\n", "r.csv:1: there is no account in it"},
      {"hunter2;x\n", "r.csv:1: it begins neither with a header"},
      {"address;passwrod\na@x;hunter2\n", "r.csv:1: column 2 of the header, \"passwrod\", is none of address"},
      {"address;address\n", "r.csv:1: the column address is there twice"},
      {"a@x.example;p\nhunter2;a@x.example\n", "r.csv:2: the address is not of the form"},
      {"a@x.example;p\n\nb@x.example;hunter2;x;Name\n", "r.csv:3: 4 fields where there are 3 columns"},
      {"a@x.example;p\nb@x.example;\"hunter2\n\n", "r.csv:2: a quoted field that begins here never ends"},
      {"a@x.example;p\nb@x.example;\"hunter2\"x\n", "r.csv:2: text after the closing quote"},
      {"a@x.example;p\n\"b@x.example\";\"a\nb\";c\nA@X.example;hunter2\n",
       "r.csv:4: the address A@x.example is in line 1 already"},
      {"a@x.example;p\nb@x.example;h\xE4nter2\n", "r.csv:2: not UTF-8"},
      {"address;enabled\na@x.example;maybe\n", "r.csv:2: enabled is to be yes or no"},
      {"address;source_login\na@x.example;\"a\nb\"\n", "r.csv:2: a log-in name holds control characters"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_TRUE(holds(error(text), expected)) << text << " -> " << error(text);
    EXPECT_FALSE(holds(error(text), "hunter2")) << error(text);
  }
  EXPECT_TRUE(holds(error(std::string("a@x.example;p\nb@x.example;a\0b", 29)), "r.csv:2: a NUL in the text"));
  EXPECT_TRUE(holds(read_roster("/nowhere/r.csv").error().text, "/nowhere/r.csv: No such file"));
}

TEST_F(RosterFile, AFileThatOthersCanReadGetsANote) {
  const auto file = folder.write("open.csv", "a@x.example;p\n");
  chmod(file.c_str(), 0640);
  const auto r = base::or_throw(read_roster(file));
  ASSERT_EQ(r.notes.size(), 1u);
  EXPECT_TRUE(holds(r.notes[0], "chmod 600"));
}

TEST_F(RosterFile, AloneItMakesPostOfficesOfColumnsAndDomains) {
  const auto c = configuration(
      "address;password;post_office\na@two.example;p;Office\nb@one.example;p;\nc@one.example;p;office\nd@two.example;p;"
      "\n");
  ASSERT_EQ(c.post_offices.size(), 2u);
  EXPECT_EQ(c.post_offices[0].name, "Office");
  EXPECT_EQ(c.post_offices[0].domains, (std::vector<std::string>{"two.example", "one.example"}))
      << "order of appearance";
  EXPECT_EQ(c.post_offices[1].name, "one.example");
  EXPECT_EQ(c.post_offices[0].accounts.size(), 3u) << "d goes where its domain is";
  EXPECT_FALSE(c.post_offices[1].problems.empty()) << "one.example is in both (R15)";
}

TEST_F(RosterFile, DomainsAreGivenByTheirOwnFileInItsOrder) {
  const auto c = configuration("address;password;post_office\na@two.example;p;Office\nb@six.example;p;Office\n",
                               "post_office;domain\nOffice;One.example\nOffice;two.example\nEmpty;e.example\n");
  ASSERT_EQ(c.post_offices.size(), 2u);
  EXPECT_EQ(c.post_offices[0].domains, (std::vector<std::string>{"one.example", "two.example"}));
  EXPECT_EQ(account(c, "a@two.example")->skip_reason, "");
  EXPECT_TRUE(
      holds(account(c, "b@six.example")->skip_reason, "its domain \"six.example\" is none of Post Office \"Office\""));
  const auto bad = read("a@x.example;p\n", "post_office;domain\nOffice\n");
  ASSERT_FALSE(bad);
  EXPECT_TRUE(holds(bad.error().text, "d.csv:2: a line is to be: post_office;domain")) << bad.error().text;
}

TEST_F(RosterFile, TwoRowsForOneLocalPartOfAPostOfficeSkipBoth) {
  const auto c = configuration("address;password;post_office\na@x.example;p;O\nA@y.example;p;O\n");
  EXPECT_TRUE(
      holds(account(c, "a@x.example")->skip_reason, "the same log-in as the account at " + folder.path() + "/r.csv:3"));
  EXPECT_TRUE(holds(account(c, "A@y.example")->skip_reason, "r.csv:2"));
}

TEST_F(RosterFile, DisabledRowsAndRowsWithoutPasswordSayWhy) {
  const auto c = configuration(
      "address;password;enabled\na@x.example;p;no\nb@x.example;;yes\nc@x.example;\"p\nq\";\nd@x.example;p;FALSE\ne@x."
      "example;p;1\n");
  EXPECT_EQ(account(c, "a@x.example")->skip_reason, "log-in disabled");
  EXPECT_EQ(account(c, "b@x.example")->skip_reason, "no password");
  EXPECT_EQ(account(c, "c@x.example")->skip_reason, "password unreadable");
  EXPECT_EQ(account(c, "d@x.example")->skip_reason, "log-in disabled");
  EXPECT_EQ(account(c, "e@x.example")->skip_reason, "");
}

TEST_F(RosterFile, CompletesA4dConfiguration) {
  auto c = base::or_throw(read_4d(fixture("plist"), default_mapping()));
  apply_roster(c, base::or_throw(read("address;password;full_name;enabled;source_login;target_login;target_password\n"
                                      "nopass@nord.example;found;New Name;;src;tgt;newpass\n"
                                      "anna@north.example;;;no;;;\n"
                                      "poponly@lab.example;;;yes;;;\n"
                                      "new@research.example;p;New One;;;;\n"
                                      "far@away.example;p;;;;;\n")));
  const auto* found = account(c, "nopass@north.example");
  EXPECT_EQ(found->skip_reason, "") << "nord.example is an alias of north.example: the same account";
  EXPECT_EQ(found->password.reveal(), "found");
  EXPECT_EQ(found->full_name, "New Name");
  EXPECT_EQ(found->source_login + " " + found->target_login, "src tgt");
  EXPECT_EQ(found->target_password.reveal(), "newpass");
  EXPECT_EQ(account(c, "anna@north.example")->skip_reason, "log-in disabled");
  EXPECT_EQ(account(c, "anna@north.example")->password.reveal(), "Winter-2003") << "an empty field says nothing";
  EXPECT_EQ(account(c, "poponly@lab.example")->skip_reason, "");
  EXPECT_EQ(account(c, "new@research.example")->post_office, "Science Lab");
  EXPECT_EQ(account(c, "new@research.example")->skip_reason, "");
  ASSERT_EQ(c.post_offices.size(), 4u);
  EXPECT_EQ(c.post_offices[3].name, "away.example");
  EXPECT_EQ(c.post_offices[0].accounts.size(), 5u) << "nothing was doubled";
  EXPECT_TRUE(holds(c.description, "completed by roster") && holds(c.description, "(5 accounts, 2 new)"))
      << c.description;
}

TEST_F(RosterFile, TwoRowsForOne4dAccountAndRowsOfForeignDomainsAreSkipped) {
  auto c = base::or_throw(read_4d(fixture("xml"), default_mapping()));
  apply_roster(c, base::or_throw(read("address;password;post_office\nanna@north.example;p;\nanna@nord.example;q;\n"
                                      "ines@lab.example;p;North\nbjorn@lab.example;p;North\n")));
  EXPECT_TRUE(holds(account(c, "anna@north.example")->skip_reason,
                    "the roster has it twice, at " + folder.path() + "/r.csv:2"));
  EXPECT_EQ(c.post_offices[2].accounts[0].skip_reason, "") << "the account in its own Post Office is untouched";
  EXPECT_TRUE(
      holds(c.post_offices[0].accounts[5].skip_reason, "its domain \"lab.example\" is none of Post Office \"North\""));
}

TEST_F(RosterFile, AnAccountIsNotTouchedByARowOfAForeignDomainWithTheSameLocalPart) {
  auto c = base::or_throw(read_4d(fixture("xml"), default_mapping()));
  apply_roster(c, base::or_throw(read("address;password;post_office\nbjorn@lab.example;p;North\n")));
  EXPECT_EQ(account(c, "bjorn@north.example")->password.reveal(), "p\xC3\xA4\"ss\\w %{6}");
  EXPECT_EQ(account(c, "bjorn@north.example")->skip_reason, "");
}

TEST_F(RosterFile, DomainsOfA4dPostOfficeThatAreLeftOutAreNoted) {
  auto c = base::or_throw(read_4d(fixture("xml"), default_mapping()));
  apply_roster(c, base::or_throw(read("anna@north.example;p\n", "North;north.example\n")));
  EXPECT_EQ(c.post_offices[0].domains, (std::vector<std::string>{"north.example"}));
  EXPECT_TRUE(holds(base::join(c.notes, "\n"), "\"nord.example\" of Post Office \"North\" is left out"))
      << base::join(c.notes, "\n");
}

TEST_F(RosterFile, TheStoredRosterIsTheTwelveAccountsOfTheStoredConfigurations) {
  SourceConfiguration c;
  apply_roster(c, base::or_throw(read_roster(fixture("roster.csv"), fixture("domains.csv"))));
  EXPECT_EQ(test::migratable(c), 12u);
  for (const auto& known : test::kTwelve) EXPECT_EQ(account(c, known.address)->password.reveal(), known.password);
  const auto fourd = base::or_throw(read_4d(fixture("plist"), default_mapping()));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(c.post_offices[i].name, fourd.post_offices[i].name);
    EXPECT_EQ(c.post_offices[i].domains, fourd.post_offices[i].domains);
  }
  const auto text = describe(c);
  for (const auto& known : test::kTwelve) EXPECT_FALSE(holds(text, known.password));
}

TEST_F(RosterFile, TwentyThousandRowsTakeLinearTime) {
  std::string text = "address;password;post_office\n";
  for (int i = 0; i < 20'000; ++i)
    text += "u" + std::to_string(i) + "@d" + std::to_string(i) + ".example;\"p\"\"w" + std::to_string(i) + "\";One\n";
  const auto start = std::chrono::steady_clock::now();
  const auto c = configuration(text);
  EXPECT_EQ(test::migratable(c), 20'000u);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

}  // namespace
}  // namespace extract
