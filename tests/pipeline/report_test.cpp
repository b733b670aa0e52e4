// The verdict, from what is on record; what a report counts and lists; that nothing in it can do harm.
#include "pipeline/report/report.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/text.hpp"
#include "pipeline/report/csv.hpp"
#include "pipeline/report/files.hpp"
#include "pipeline/report/notes.hpp"
#include "tests/support/world.hpp"

namespace pipeline {
namespace {

namespace json = boost::json;
using state::ObjectState;

class Report : public ::testing::Test {
 protected:
  test::TempFolder folder;
  state::Store store{folder.path() + "/state", state::Store::Mode::create};

  Report() {
    state::ConfiguredPostOffice north;
    north.name = "North";
    north.domains = {"north.example", "nord.example"};
    north.accounts = {{"jane@north.example", "jane", "jane", "Jane", "", {}}};
    state::save_configuration(store.db(), {north});
  }
  json::object made(const std::vector<state::TargetObject>& objects = {}, const VerifyResult& verified = {}) {
    state::save_objects(store.db(), objects);
    return make_report(
        store.db(), verified, run, [](const std::string&) { return true; }, false);
  }
  // Messages with UIDs 1 to n of a mailbox of that name, listed.
  state::MailboxId mailbox(const std::string& name, std::uint32_t n) {
    auto& db = store.db();
    const auto account = state::accounts(db).front().id;
    auto boxes = state::mailboxes(db, account);
    std::vector<state::FoundMailbox> all;
    for (const auto& b : boxes) all.push_back({b.wire, b.name, "/", "", "", true});
    all.push_back({name, name, "/", "", "", true});
    state::save_mailboxes(db, account, all);
    const auto box = state::mailboxes(db, account).back();
    state::set_targets(db, {{box.id, name, name}});
    state::InventoryPiece piece;
    piece.begin = true;
    for (std::uint32_t uid = 1; uid <= n; ++uid)
      piece.found.push_back({base::Uid(uid), 100, base::DateTime{1'000'000'000, 120}, ""});
    piece.end = state::InventoryEnd{base::Uid(n + 1), n, {}};
    state::add_inventory(db, box.id, base::UidValidity(1), piece);
    return box.id;
  }
  std::vector<state::MessageRow> listed(state::MailboxId box, int n) {
    return state::listed(store.db(), box, base::UidValidity(1), base::Uid(0), n);
  }

  state::RunRow run{state::RunId(1), "run", 1'700'000'000, 1'700'000'060, 0, 0, 0, false};
};

TEST_F(Report, ADomainOrAliasOfWhichNobodyKnowsWhetherItWasMadeIsNotDone) {
  const state::TargetObject domain{"domain", "north.example", {}, ObjectState::ours, "d", {}};
  const state::TargetObject alias{"alias", "nord.example", "north.example", ObjectState::ours, {}, {}};
  EXPECT_EQ(verdict_of(made({domain, alias})).exit, base::Exit::done);
  for (auto unknown : {domain, alias}) {
    unknown.state = ObjectState::intent;
    auto report = made({domain, alias, unknown});
    const auto verdict = verdict_of(report);
    EXPECT_EQ(verdict.exit, base::Exit::incomplete) << unknown.name;
    EXPECT_NE(verdict.sentence.find("1 domain or alias not made"), std::string::npos) << verdict.sentence;
    EXPECT_NE(json::serialize(report.at("domains")).find("\"state\":\"unknown\""), std::string::npos);
  }
}

TEST_F(Report, ReasonsThatDifferInNumbersOnlyAreCountedTogether) {
  const auto box = mailbox("INBOX", 4);
  const auto rows = listed(box, 4);
  state::set_quarantined(store.db(), rows[0].id, "server said NO: message 17 is too large");
  state::set_quarantined(store.db(), rows[1].id, "server said NO: message 4711 is too large");
  state::set_gone(store.db(), rows[2].id, "deleted at the source before it was copied");
  const auto report = made();
  std::map<std::string, std::uint64_t> counted;
  for (const auto& r : report.at("reasons").as_array())
    counted[std::string(r.at("kind").as_string())] += r.at("messages").to_number<std::uint64_t>();
  EXPECT_EQ(counted, (std::map<std::string, std::uint64_t>{{"quarantine", 2}, {"gone", 1}, {"pending", 1}}));
  EXPECT_EQ(report.at("reasons").as_array().size(), 3u);
  EXPECT_EQ(report.at("accounts").as_array()[0].at("reasons").as_array().size(), 3u);
}

TEST_F(Report, OfVeryManyMessagesTheFirstAreListedAllAreCountedAndTheCsvHasEachOfThem) {
  const std::uint32_t many = kListedOfAccount + 100;
  const auto box = mailbox("INBOX", many + 7);
  for (const auto& row : listed(box, static_cast<int>(many)))
    state::set_quarantined(store.db(), row.id, "server said NO");
  const auto report = made();
  EXPECT_EQ(report.at("messages").as_array().size(), kListedOfAccount);
  EXPECT_EQ(report.at("totals").at("messages_not_on_target").to_number<std::uint64_t>(), many);
  EXPECT_NE(report_text(report).find("... and 100 more: messages.csv has all"), std::string::npos);
  EXPECT_NE(report_html(report).find("(600)</summary>"), std::string::npos);
  std::ostringstream all, part;
  messages_csv(report, &store.db(), all);
  messages_csv(report, nullptr, part);
  const auto lines = [](const std::string& s) {
    return static_cast<std::size_t>(std::count(s.begin(), s.end(), '\n'));
  };
  EXPECT_EQ(lines(all.str()), 1 + many + 7) << "the refused ones and those that are pending";
  EXPECT_EQ(lines(part.str()), 1 + kListedOfAccount);
}

TEST_F(Report, ADifferenceThatNothingExplainsIsListedHoweverManyOthersThereAre) {
  VerifyResult verified;
  for (std::size_t i = 0; i < kListed + 5; ++i)
    verified.differences.push_back({"jane@north.example", "INBOX", {}, {}, "flags", "changed", true, false});
  verified.differences.push_back({"jane@north.example", "INBOX", {}, {}, "another body", "swapped", false, false});
  const auto report = made({}, verified);
  EXPECT_EQ(report.at("differences").as_array().size(), kListed);
  EXPECT_EQ(report.at("differences").as_array()[0].at("detail").as_string(), "swapped");
  EXPECT_EQ(report.at("totals").at("differences").to_number<std::uint64_t>(), kListed + 6);
  EXPECT_EQ(verdict_of(report).exit, base::Exit::difference);
  std::ostringstream all;
  differences_csv(report, &verified, all);
  const auto csv = all.str();
  EXPECT_EQ(static_cast<std::size_t>(std::count(csv.begin(), csv.end(), '\n')), kListed + 7);
}

TEST_F(Report, TheCurveAndTheStagesComeFromTheSamples) {
  auto& db = store.db();
  run.id = state::begin_run(db, "run", std::nullopt, run.started);
  state::add_sample(db, run.id, {run.started + 1, "extract", 0, 0, 0});
  state::add_sample(db, run.id, {run.started + 10, "load", 0, 0, 0});
  state::add_sample(db, run.id, {run.started + 20, "load", 500, 0, 4096});
  state::add_sample(db, run.id, {run.started + 40, "verify", 700, 0, 8192});
  state::add_sample(db, run.id, {run.started + 60, "verify", 700, 700, 8192});
  const auto report = made();
  const auto& timing = report.at("timing").as_object();
  const auto& stages = timing.at("stages").as_array();
  ASSERT_EQ(stages.size(), 3u);
  EXPECT_EQ(stages[1].at("stage").as_string(), "load");
  EXPECT_EQ(stages[1].at("seconds").to_number<int>(), 30) << "until the next stage begins";
  EXPECT_EQ(stages[1].at("appended").to_number<int>(), 700);
  EXPECT_EQ(stages[2].at("verified").to_number<int>(), 700);
  EXPECT_EQ(json::serialize(timing.at("samples").as_array()[2]), "[20,500,0,4096]");
  const auto page = report_html(report);
  EXPECT_NE(page.find("at most 50 a second</title>"), std::string::npos);
}

TEST_F(Report, ItsFingerprintShowsAnyChange) {
  auto report = made();
  const auto file = seal(&report);
  EXPECT_TRUE(sealed(file));
  EXPECT_EQ(json::parse(file).at("fingerprint"), report.at("fingerprint"));
  auto changed = file;
  changed[changed.find("\"inventory\":0") + 12] = '1';
  EXPECT_FALSE(sealed(changed));
  EXPECT_FALSE(sealed("{}"));
  EXPECT_FALSE(sealed("{\"fingerprint\":\""));
}

// Whatever servers, mail and files say: nothing of it is markup, turns the text around, or ends it.
using namespace std::string_view_literals;
constexpr auto kAttack =
    "<script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover=\"x' y='&lt;\xE2\x80\xAEgnp.exe\xE2\x81\xA6 "
    "\x00 \xFF\xC0\xAF \xC2\x85 \x1B[2J\x7F"sv;

TEST_F(Report, ALinkInItsFolderLeadsNowhere) {
  const std::string out = folder.path() + "/out", theirs = folder.path() + "/theirs";
  std::filesystem::create_directories(out + "/notes");
  std::ofstream(theirs) << "precious";
  const auto r = made();
  const std::string note = "notes/" + note_file_name("jane@north.example") + ".txt";
  for (const auto& name : {std::string("run-1.txt"), std::string("run-1.txt.part"), note})
    std::filesystem::create_symlink(theirs, out + "/" + name);
  EXPECT_TRUE(write_report(out, {r, "", &store.db(), nullptr}, {"text", "notes"}).empty());
  std::string is;
  std::getline(std::ifstream(theirs), is);
  EXPECT_EQ(is, "precious");
  for (const auto& name : {std::string("run-1.txt"), note}) EXPECT_FALSE(std::filesystem::is_symlink(out + "/" + name));
}

TEST_F(Report, NothingThatServersSayIsMarkup) {
  auto& db = store.db();
  const std::string attack(kAttack.data(), kAttack.size());
  const auto box = mailbox("INBOX/" + attack, 2);
  state::set_quarantined(db, listed(box, 1)[0].id, "server said NO " + attack);
  state::set_target_error(db, box, attack);
  state::set_account_error(db, state::accounts(db).front().id, attack);
  state::add_surplus(db, box, base::Uid(9), {}, false, attack);
  for (const char* key : {"source server", "source greeting", "target capabilities", "target version"})
    state::set_meta(db, key, attack);
  run.id = state::begin_run(db, attack, std::nullopt, 1);
  state::add_event(db, run.id, 1, {}, {}, attack, attack);
  VerifyResult verified;
  verified.differences.push_back({attack, attack, {}, {}, attack, attack, false, false});
  verified.problems.push_back(attack);
  state::save_objects(db, {{"domain", "north.example", {}, ObjectState::refused, "d", attack}});
  run.command = attack;
  const auto report = made({}, verified);
  std::vector<std::string> pages{report_html(report)};
  each_note(report, [&](const UserNote& n) {
    pages.push_back(n.html);
    EXPECT_EQ(n.text.find("NO"), std::string::npos) << "a user is not shown the servers' words";
    return true;
  });
  ASSERT_EQ(pages.size(), 2u);
  for (const auto& page : pages) {
    EXPECT_EQ(page.find("<script>alert"), std::string::npos);
    EXPECT_EQ(page.find("<img"), std::string::npos);
    EXPECT_EQ(page.find("\" onmouseover=\""), std::string::npos);
    EXPECT_NE(page.find("&lt;script&gt;alert(1)&lt;/script&gt;"), std::string::npos);
    EXPECT_EQ(page.find("\xE2\x80\xAE"), std::string::npos) << "a right-to-left override";
    EXPECT_EQ(page.find("\xE2\x81\xA6"), std::string::npos) << "an isolate";
    EXPECT_NE(page.find("\\u{202E}gnp.exe"), std::string::npos);
    EXPECT_EQ(page.find('\0'), std::string::npos);
    EXPECT_EQ(page.find('\x1B'), std::string::npos);
    EXPECT_TRUE(base::valid_utf8(page));
  }
}

TEST(ReportCsv, CellsFollowRfc4180AndAreNoFormulas) {
  EXPECT_EQ(csv_cell("plain text"), "plain text");
  EXPECT_EQ(csv_cell("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_cell("say \"hi\""), "\"say \"\"hi\"\"\"");
  EXPECT_EQ(csv_cell("two\r\nlines"), "\"two\r\nlines\"");
  for (const std::string start :
       {"=", "+", "-", "@", "\t", "\r", "\n", "\xEF\xBC\x9D", "\xEF\xBC\x8B", "\xEF\xBC\x8D", "\xEF\xBC\xA0"}) {
    const auto cell = csv_cell(start + "HYPERLINK(1)");
    EXPECT_EQ(cell, "\"'" + start + "HYPERLINK(1)\"") << start;
  }
  EXPECT_EQ(csv_cell(""), "");
}

TEST(ReportNotes, AFileNameIsHarmlessWhateverTheAddress) {
  EXPECT_EQ(note_file_name("jane.doe+x@north.example"), "jane.doe+x@north.example");
  EXPECT_EQ(note_file_name("../../etc/passwd"), "=2E.=2F..=2Fetc=2Fpasswd");
  EXPECT_EQ(note_file_name("a (b) <c>"), "a=20=28b=29=20=3Cc=3E");
  EXPECT_NE(note_file_name(std::string(300, 'x') + "1"), note_file_name(std::string(300, 'x') + "2"));
  EXPECT_LT(note_file_name(std::string(300, '/')).size(), 220u);
}

}  // namespace
}  // namespace pipeline
