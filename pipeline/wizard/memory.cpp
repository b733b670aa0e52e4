#include "pipeline/wizard/memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <fstream>
#include <set>

#include "base/text.hpp"
#include "extract/config/fourd.hpp"
#include "extract/config/roster.hpp"

namespace pipeline::wizard {

namespace json = boost::json;
using base::Remedy;
using base::Scope;

namespace {

constexpr std::size_t kLongestSummary = 64 * 1024;
constexpr std::size_t kMostTroubles = 200;

// Of a report only what its page shows: a large server's has tens of megabytes.
json::object results_of(json::object report) {
  json::object out;
  for (const char* key : {"run", "verification", "books", "post_offices", "verdict"}) out[key] = std::move(report[key]);
  json::array trouble;
  std::uint64_t troubles = 0;
  for (const auto& a : report.at("accounts").as_array()) {
    const auto& o = a.as_object();
    const auto* why = o.if_contains("skipped");
    if (why == nullptr) why = o.if_contains("error");
    if (why == nullptr) continue;
    if (++troubles <= kMostTroubles) trouble.push_back({{"account", o.at("account")}, {"why", *why}});
  }
  out["trouble"] = std::move(trouble);
  out["trouble_count"] = troubles;
  return out;
}

// How each account stands in the ledger.
std::vector<AccountLine> lines_of(state::Db& db) {
  std::vector<AccountLine> out;
  const auto books = state::books_by_mailbox(db);
  for (const auto& a : state::accounts(db)) {
    AccountLine line{a.address, "waiting", a.skip.empty() ? a.error : a.skip, 0, 0};
    state::Books sum;
    for (const auto& m : state::mailboxes(db, a.id))
      if (const auto b = books.find(m.id.value); b != books.end()) sum += b->second;
    line.done = sum.inventory - sum.pending;
    line.messages = sum.inventory;
    line.state = !a.skip.empty()                     ? "skipped"
                 : !a.error.empty()                  ? "failed"
                 : a.inventoried && sum.pending == 0 ? "done"
                                                     : "waiting";
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace

Configuration read_configuration(const Settings& s) {
  Configuration out;
  const auto mapping = s.source_mapping.empty() ? base::Result<extract::Mapping>(extract::default_mapping())
                                                : extract::read_mapping(s.source_mapping);
  const std::string path = s.source_path.empty() ? extract::kDefault4dPath : s.source_path;
  try {
    std::optional<extract::Roster> roster;
    if (!s.roster.empty()) roster = base::or_throw(extract::read_roster(s.roster, s.domains));
    extract::SourceConfiguration c;
    if (!s.source_path.empty() || !roster) c = base::or_throw(extract::read_4d(path, base::or_throw(mapping)));
    if (roster) extract::apply_roster(c, *roster);
    out.post_offices = c.post_offices.size();
    for (const auto& p : c.post_offices) out.accounts += p.accounts.size();
    out.summary = extract::describe(c);
    if (out.summary.size() > kLongestSummary)
      out.summary = out.summary.substr(0, out.summary.rfind('\n', kLongestSummary)) + "\n...\n";
    out.imap_port = c.imap_port;
    out.good = out.accounts > 0;
    if (!out.good) out.error = "There are no accounts in it.";
  } catch (const base::Failed& f) {
    out.error = f.error.text;
    // Of a schema that is not known: its structure, from which a mapping can be written.
    if (mapping && s.roster.empty())
      if (auto tree = extract::inspect_4d(path, *mapping)) out.tree = std::move(*tree);
  }
  return out;
}

Remembered remembered(state::Db& db) {
  Remembered out;
  if (const auto p = state::plan(db, std::nullopt)) {
    out.plan = json::parse(p->content).as_object();
    out.plan_number = p->id.value;
    out.digest = digest_of(out.plan);
  }
  const state::RunRow* reported = nullptr;
  const auto runs = state::runs(db);
  for (const auto& r : runs) {
    if (r.command == "plan" || r.command == "extract") continue;
    if (r.reported) reported = &r;
    if (r.command != "verify") out.interrupted = r.ended == 0 || (r.exit != 0 && r.exit != 3 && r.exit != 4);
  }
  if (reported != nullptr) out.results = results_of(json::parse(state::report(db, reported->id)).as_object());
  out.lines = lines_of(db);
  return out;
}

std::string decisions(const Options& options) {
  static const std::set<std::string> kOthers = {"verify", "jobs",    "max-rate", "quiet-hours",
                                                "settle", "timeout", "verbose",  "log-file"};
  std::vector<std::string> out;
  for (const auto& [name, value] : options)
    if (!kOthers.contains(name)) out.push_back(name + "=" + value);
  std::sort(out.begin(), out.end());
  return base::join(out, "\n");
}

bool still_decides(const std::string& was, const std::string& now) {
  std::vector<std::string> before = base::split(was, '\n'), after = base::split(now, '\n');
  std::erase_if(after, [&](const auto& line) {
    return line.starts_with("exclude=") && std::find(before.begin(), before.end(), line) == before.end();
  });
  if (after.empty()) after.emplace_back();
  return before == after;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  const bool written =
      fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
  if (fd >= 0) ::close(fd);
  if (!written || ::rename(fresh.c_str(), path.c_str()) != 0)
    throw base::Failed(
        {Scope::run, Remedy::ask_admin, fmt::format("Could not write {}. Make room, then try again.", path)});
}

}  // namespace pipeline::wizard
