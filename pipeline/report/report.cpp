#include "pipeline/report/report.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sys/utsname.h>

#include <algorithm>
#include <boost/version.hpp>
#include <ctime>
#include <fstream>
#include <map>
#include <set>

#include "base/text.hpp"
#include "imap/protocol/date_time.hpp"
#include "pipeline/report/fields.hpp"

namespace pipeline {

namespace json = boost::json;
using state::Books;
using state::Db;

namespace {

json::string text(const std::string& s) { return json::string(base::printable(s)); }

std::string utc(std::int64_t t) {
  std::tm tm{};
  const std::time_t v = t;
  gmtime_r(&v, &tm);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec);
}

json::object books_json(const Books& b) {
  return {{"inventory", b.inventory}, {"bound", b.bound},       {"verified", b.verified},
          {"gone", b.gone},           {"excluded", b.excluded}, {"quarantined", b.quarantined},
          {"pending", b.pending},     {"octets", b.octets},     {"closed", b.closed()}};
}

const char* level_name(VerifyLevel l) {
  switch (l) {
    case VerifyLevel::none:
      return "none";
    case VerifyLevel::quick:
      return "quick";
    case VerifyLevel::sample:
      return "sample";
    case VerifyLevel::full:
      return "full";
  }
  return "";
}

// What a kind of note says about a message, and what is to be done.
struct Kind {
  const char* kind;
  const char* meaning;
  const char* to_do;
};
constexpr Kind kMissing[] = {
    {"quarantine", "refused by the target, or not to be found there",
     "Read the server's words beside the message in STATE/quarantine, mend the cause, then \"4d2kms retry\"."},
    {"pending", "not moved yet", "Mend what stopped its account, then run the same command again."},
    {"absent", "moved, and not on the target any more",
     "Ask who removed it. If nobody did, keep the source and look at the target's log."},
    {"excluded", "left out by a policy, or moved elsewhere on the target by its user",
     "Nothing, if that policy is meant."},
    {"gone", "deleted at the source before it was copied", "Nothing: its user deleted it."},
    {"superseded", "listed anew after the source renumbered its mailbox",
     "Nothing: the same message is counted under its new number."},
};
constexpr Kind kRemarks[] = {
    {"date", "on the target with another date", "Nothing; it may stand elsewhere in a list sorted by date."},
    {"flags", "on the target without some flags or keywords", "Nothing; tell the users that keywords are gone."},
    {"repair", "sent in a minimally repaired form, because the target refused the original", "Nothing."},
    {"rewritten", "stored by the target with other characters for raw 8-bit ones in the header", "Nothing."},
};

const Kind* kind_of(const std::string& kind, bool on_target) {
  const auto find = [&](const auto& all) -> const Kind* {
    for (const auto& k : all)
      if (kind == k.kind) return &k;
    return nullptr;
  };
  return on_target ? find(kRemarks) : find(kMissing);
}

// What a note means for the books: why the message is not on the target, a remark on one that is there, or neither
// (an older note on one that was refused later).
enum class Bearing : std::uint8_t { missing, remark, history };
Bearing bearing_of(const state::NotedMessage& n) {
  using state::MessageState;
  switch (n.state) {
    case MessageState::bound:
    case MessageState::verified:
      return n.kind == "absent" ? Bearing::missing : Bearing::remark;
    case MessageState::quarantined:
      return n.kind == "quarantine" ? Bearing::missing : Bearing::history;
    case MessageState::excluded:
      return n.kind == "excluded" ? Bearing::missing : Bearing::history;
    case MessageState::gone:
      return n.kind == "gone" ? Bearing::missing : Bearing::history;
    default:
      return Bearing::history;
  }
}

// Reasons that differ in numbers only (UIDs, sizes, times) are one.
std::string without_numbers(const std::string& detail) {
  std::string out;
  for (const char c : detail.substr(0, 300)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit) out += c;
    else if (out.empty() || out.back() != '#') out += '#';
  }
  return out;
}

// Counts by reason; of very many reasons the rarest that came late are counted together.
class Reasons {
 public:
  explicit Reasons(std::size_t most) : most_(most) {}
  void add(const std::string& kind, bool on_target, const std::string& detail, std::uint64_t messages,
           std::size_t account) {
    // Remarks are many and various, and none of them asks for anything.
    auto at = groups_.find({on_target, kind, on_target ? std::string() : without_numbers(detail)});
    if (at == groups_.end() && groups_.size() >= most_)
      at = groups_.try_emplace({on_target, kind, "others"}, Group{"various other reasons", 0, {}}).first;
    else if (at == groups_.end())
      at =
          groups_
              .try_emplace({on_target, kind, on_target ? std::string() : without_numbers(detail)}, Group{detail, 0, {}})
              .first;
    at->second.messages += messages;
    at->second.accounts.insert(account);
  }
  json::array to_json() const {
    std::vector<std::pair<const Key*, const Group*>> sorted;
    for (const auto& [key, group] : groups_) sorted.emplace_back(&key, &group);
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
      return std::tuple(std::get<0>(*a.first), b.second->messages) <
             std::tuple(std::get<0>(*b.first), a.second->messages);
    });
    json::array out;
    for (const auto& [key, group] : sorted) {
      const auto& [on_target, kind, ignored] = *key;
      const Kind* k = kind_of(kind, on_target);
      out.push_back({{"kind", text(kind)},
                     {"on_target", on_target},
                     {"meaning", k == nullptr ? "" : k->meaning},
                     {"detail", text(group->detail)},
                     {"messages", group->messages},
                     {"accounts", group->accounts.size()},
                     {"to_do", k == nullptr ? "" : k->to_do}});
    }
    return out;
  }

 private:
  using Key = std::tuple<bool, std::string, std::string>;
  struct Group {
    std::string detail;  // the first one
    std::uint64_t messages = 0;
    std::set<std::size_t> accounts;
  };
  std::size_t most_;
  std::map<Key, Group> groups_;
};

struct Mailbox {
  std::size_t account = 0;  // index in the report
  std::string address, name;
};

// The messages that a report names, and what it counts.
struct Messages {
  explicit Messages(std::size_t accounts) : listed_of(accounts), of_account(accounts, Reasons(20)) {}
  Reasons all{200};
  std::vector<state::NotedMessage> missing, remarks;
  std::vector<std::array<std::size_t, 2>> listed_of;  // by account: missing, remarks
  std::vector<Reasons> of_account;
  std::map<std::size_t, std::uint64_t> excluded;  // by account, with a reason
  std::uint64_t missing_total = 0, remarks_total = 0, absent = 0;

  void add(const state::NotedMessage& n, const Mailbox& box) {
    const auto bearing = bearing_of(n);
    if (bearing == Bearing::missing) {
      all.add(n.kind, false, n.detail, 1, box.account);
      of_account[box.account].add(n.kind, false, n.detail, 1, box.account);
    } else if (bearing == Bearing::remark) {
      all.add(n.kind, true, n.detail, 1, box.account);
    }
    absent += n.kind == "absent";
    if (n.kind == "excluded" && bearing == Bearing::missing) ++excluded[box.account];
    const bool is_missing = bearing == Bearing::missing;
    ++(is_missing ? missing_total : remarks_total);
    auto& list = is_missing ? missing : remarks;
    auto& of = listed_of[box.account][is_missing ? 0 : 1];
    if (list.size() >= kListed || of >= kListedOfAccount) return;
    ++of;
    list.push_back(n);
  }
};

// When each stage began, how long it took, what was done in it; and a curve of a few hundred points.
json::object timing(Db& db, const state::RunRow& run) {
  constexpr std::size_t kPoints = 400;
  const auto samples = state::samples(db, run.id);
  json::array stages, points;
  for (std::size_t i = 0; i < samples.size();) {
    std::size_t last = i;
    while (last + 1 < samples.size() && samples[last + 1].stage == samples[i].stage) ++last;
    // A stage lasts until the next one's first sample.
    const auto& from = samples[i];
    const auto& to = samples[std::min(last + 1, samples.size() - 1)];
    stages.push_back({{"stage", text(from.stage)},
                      {"started", utc(from.at)},
                      {"seconds", to.at - from.at},
                      {"appended", to.appended - from.appended},
                      {"verified", to.verified - from.verified},
                      {"octets", to.octets - from.octets}});
    i = last + 1;
  }
  const std::size_t step = std::max<std::size_t>(1, samples.size() / kPoints);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (i % step != 0 && i + 1 != samples.size()) continue;
    const auto& s = samples[i];
    points.push_back({s.at - run.started, s.appended, s.verified, s.octets});
  }
  json::array runs;
  const auto all = state::runs(db);
  for (std::size_t i = all.size() > 200 ? all.size() - 200 : 0; i < all.size(); ++i) {
    const auto& r = all[i];
    const bool this_one = r.id == run.id;  // it has not been recorded yet
    runs.push_back({{"number", r.id.value},
                    {"command", r.command},
                    {"started", utc(r.started)},
                    {"seconds", this_one       ? run.ended - run.started
                                : r.ended == 0 ? 0
                                               : r.ended - r.started},
                    {"ended", this_one || r.ended != 0},
                    {"appended", this_one ? run.appended : r.appended},
                    {"octets", this_one ? run.octets : r.octets}});
  }
  return {{"stages", std::move(stages)}, {"samples", std::move(points)}, {"runs", std::move(runs)}};
}

json::object environment(Db& db) {
  std::string system;
  std::ifstream release("/etc/os-release");
  for (std::string line; std::getline(release, line);)
    if (line.starts_with("PRETTY_NAME=")) system = line.substr(12);
  std::erase(system, '"');
  utsname u{};
  if (uname(&u) == 0)
    system += fmt::format("{}{} {} ({})", system.empty() ? "" : ", ", u.sysname, u.release, u.machine);
  const auto server = [&](const std::string& side) {
    return json::object{{"address", text(state::meta(db, side + " server"))},
                        {"version", text(state::meta(db, side + " version"))},
                        {"greeting", text(state::meta(db, side + " greeting"))},
                        {"capabilities", text(state::meta(db, side + " capabilities"))}};
  };
  return {{"program", "4d2kms " FOURD2KMS_VERSION},
          {"libraries", fmt::format("SQLite {}, {}, Boost {}.{}.{}", db.text("SELECT sqlite_version()"),
                                    OpenSSL_version(OPENSSL_VERSION), BOOST_VERSION / 100000,
                                    BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100)},
          {"system", text(system)},
          {"source", server("source")},
          {"target", server("target")}};
}

}  // namespace

json::object make_report(Db& db, const VerifyResult& verified, const state::RunRow& run,
                         const std::function<bool(const std::string&)>& selected, bool interrupted) {
  json::object out;
  const auto by_mailbox = state::books_by_mailbox(db);
  Books total;
  std::map<std::string, Books> by_office;
  json::array accounts;
  std::map<std::int64_t, Mailbox> names;
  std::vector<Books> of_account;
  std::uint64_t skipped = 0, failed = 0, mailbox_errors = 0;
  for (const auto& a : state::accounts(db)) {
    if (!selected(a.address)) continue;
    json::object o;
    Books books;
    json::array boxes;
    for (const auto& m : state::mailboxes(db, a.id)) {
      names[m.id.value] = {accounts.size(), a.address, m.name};
      const auto it = by_mailbox.find(m.id.value);
      const Books b = it == by_mailbox.end() ? Books{} : it->second;
      books += b;
      json::object box = books_json(b);
      box["mailbox"] = text(m.name);
      box["target"] = text(m.target_name);
      if (!m.excluded.empty()) box["not_migrated"] = text(m.excluded);
      if (!m.error.empty() && m.present) {
        box["error"] = text(m.error);
        if (a.skip.empty()) ++mailbox_errors;
      }
      boxes.push_back(std::move(box));
    }
    total += books;
    by_office[a.post_office] += books;
    o["account"] = text(a.address);
    o["post_office"] = text(a.post_office);
    o["target_login"] = text(a.target_login);
    if (!a.skip.empty()) {
      o["skipped"] = text(a.skip);
      ++skipped;
    } else if (!a.error.empty()) {
      o["error"] = text(a.error);
      ++failed;
    }
    o["books"] = books_json(books);
    o["mailboxes"] = std::move(boxes);
    accounts.push_back(std::move(o));
    of_account.push_back(books);
  }
  json::array offices;
  for (const auto& p : state::post_offices(db)) {
    json::object o = books_json(by_office[p.name]);
    o["post_office"] = text(p.name);
    json::array domains;
    for (const auto& d : p.domains) domains.emplace_back(text(d));
    o["domains"] = std::move(domains);
    if (!p.problem.empty()) o["problem"] = text(p.problem);
    offices.push_back(std::move(o));
  }
  // What we made on a target that we administer, and the addresses before and after.
  json::array domains, addresses;
  std::uint64_t objects_refused = 0;
  const auto objects = state::target_objects(db);
  std::map<std::pair<std::string, std::string>, const state::TargetObject*> by_name;
  for (const auto& o : objects) by_name[{o.kind, o.name}] = &o;
  const auto object = [&](const std::string& kind, const std::string& name) {
    const auto it = by_name.find({kind, base::lower(name)});
    return it == by_name.end() ? nullptr : it->second;
  };
  std::map<std::string, const VerifyResult::Address*> checked_addresses;
  for (const auto& a : verified.addresses) checked_addresses[a.address] = &a;
  const auto all_accounts = objects.empty() ? std::vector<state::AccountRow>{} : state::accounts(db);
  static constexpr const char* kStates[] = {"unknown", "ours", "adopted", "refused"};
  for (const auto& p : objects.empty() ? std::vector<state::PostOfficeRow>{} : state::post_offices(db)) {
    if (p.domains.empty()) continue;
    for (std::size_t i = 0; i < p.domains.size(); ++i) {
      const auto* o = object(i == 0 ? "domain" : "alias", p.domains[i]);
      if (o == nullptr) continue;
      json::object d;
      d["name"] = text(p.domains[i]);
      d["kind"] = o->kind;
      d["post_office"] = text(p.name);
      d["target_domain"] = text(p.domains.front());
      d["state"] = kStates[static_cast<int>(o->state)];
      if (!o->detail.empty()) d["detail"] = text(o->detail);
      objects_refused += o->state == state::ObjectState::refused || o->state == state::ObjectState::intent;
      domains.push_back(std::move(d));
    }
    const std::string domain = base::lower(p.domains.front());
    for (const auto& a : all_accounts) {
      if (a.post_office != p.name || !selected(a.address)) continue;
      const std::string login = base::lower(extract::local_part_of(a.target_login));
      const auto* account = object("account", login + "@" + domain);
      const bool there = account != nullptr &&
                         (account->state == state::ObjectState::ours || account->state == state::ObjectState::adopted);
      for (std::size_t i = 0; i < p.domains.size(); ++i) {
        const std::string before = base::lower(extract::local_part_of(a.address)) + "@" + base::lower(p.domains[i]);
        const std::string after = login + "@" + base::lower(p.domains[i]);
        const auto* alias = i == 0 ? nullptr : object("alias", p.domains[i]);
        std::string status;
        if (!there)
          status = !a.skip.empty()                                                       ? "not migrated"
                   : account == nullptr || account->state != state::ObjectState::refused ? "not made yet"
                                                                                         : "refused";
        else if (i > 0 && (alias == nullptr ||
                           (alias->state != state::ObjectState::ours && alias->state != state::ObjectState::adopted)))
          status = "not there";
        else status = account->state == state::ObjectState::ours ? "made" : "was there";
        if (const auto checked = checked_addresses.find(after); checked != checked_addresses.end())
          status = checked->second->right
                       ? "delivered, as checked"
                       : "NOT DELIVERED to " +
                             (checked->second->delivered_to.empty() ? std::string("anybody") : login + "@" + domain);
        addresses.push_back({{"before", text(before)},
                             {"after", text(there ? after : std::string())},
                             {"account", text(there ? login + "@" + domain : std::string())},
                             {"status", text(status)}});
      }
    }
  }
  Messages noted(accounts.size());
  state::each_noted_message(db, [&](const state::NotedMessage& n) {
    if (const auto it = names.find(n.mailbox.value); it != names.end()) noted.add(n, it->second);
  });
  const std::uint64_t absent_on_record = noted.absent;
  for (std::size_t i = 0; i < accounts.size(); ++i) {
    const auto& b = of_account[i];
    auto& o = accounts[i].as_object();
    const auto reason = [&](const char* kind, std::uint64_t messages, const std::string& detail) {
      if (messages == 0) return;
      noted.all.add(kind, false, detail, messages, i);
      noted.of_account[i].add(kind, false, detail, messages, i);
    };
    reason("pending", b.pending, word(o, "skipped") + word(o, "error"));
    if (const auto superseded = b.excluded - std::min(b.excluded, noted.excluded[i]))
      reason("superseded", superseded, "the source gave its mailbox a new UIDVALIDITY");
    if (auto reasons = noted.of_account[i].to_json(); !reasons.empty()) o["reasons"] = std::move(reasons);
  }
  json::array messages;
  auto& listed = noted.missing;
  listed.insert(listed.end(), noted.remarks.begin(), noted.remarks.end());
  std::stable_sort(listed.begin(), listed.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.mailbox, a.uid) < std::tuple(b.mailbox, b.uid);
  });
  for (const auto& n : listed) {
    const auto& box = names.at(n.mailbox.value);
    messages.push_back({{"account", text(box.address)},
                        {"mailbox", text(box.name)},
                        {"uid", n.uid.value},
                        {"target_uid", n.target_uid.value},
                        {"octets", n.size},
                        {"date", n.date ? json::value(imap::format_date_time(*n.date)) : json::value()},
                        {"state", state::name_of(n.state)},
                        {"kind", text(n.kind)},
                        {"detail", text(n.detail)}});
  }
  json::array surplus;
  std::uint64_t left_twice = 0, surplus_total = 0;
  for (const auto& s : state::surplus(db)) {
    const auto it = names.find(s.mailbox.value);
    left_twice += it != names.end() && !s.removed;
    if (it != names.end() && surplus_total++ < kListed)
      surplus.push_back({{"account", text(it->second.address)},
                         {"mailbox", text(it->second.name)},
                         {"target_uid", s.uid.value},
                         {"removed", s.removed},
                         {"detail", text(s.detail)}});
  }
  json::array left;
  for (const auto& n : state::not_migrated(db))
    if (n.address.empty() || selected(n.address))
      left.push_back({{"post_office", text(n.post_office)},
                      {"account", text(n.address)},
                      {"kind", text(n.kind)},
                      {"detail", text(n.detail)}});
  json::array differences;
  std::uint64_t unexplained = 0, absent = absent_on_record, twice_now = 0;
  for (const bool explained : {false, true})  // what nothing explains is never the one that is not listed
    for (const auto& d : verified.differences) {
      if (d.explained != explained) continue;
      unexplained += !d.explained;
      absent += d.absence && d.kind != "absent";  // those are on record, with what earlier verifications found
      twice_now += d.kind == "duplicate";
      if (differences.size() >= kListed) continue;
      differences.push_back({{"account", text(d.account)},
                             {"mailbox", text(d.mailbox)},
                             {"source_uid", d.source_uid.value},
                             {"target_uid", d.target_uid.value},
                             {"kind", text(d.kind)},
                             {"detail", text(d.detail)},
                             {"explained", d.explained}});
    }
  json::array problems, events;
  for (const auto& p : verified.problems) problems.emplace_back(text(p));
  const auto all_events = state::events(db, run.id);
  for (const auto& e : all_events)
    if (events.size() < kListed) events.emplace_back(text(e));
  const auto broken = state::broken_invariants(db);
  for (const auto& b : broken) problems.emplace_back(text("The ledger is not in order: " + b));

  out["schema"] = "4d2kms report 2";
  out["fingerprint"] = std::string(64, '0');  // see seal()
  out["run"] = {{"number", run.id.value},      {"command", run.command},
                {"started", utc(run.started)}, {"seconds", run.ended > run.started ? run.ended - run.started : 0},
                {"appended", run.appended},    {"octets", run.octets}};
  out["verification"] = {{"level", level_name(verified.level)},
                         {"messages", verified.messages},
                         {"bodies_read", verified.bodies},
                         {"byte_identical", verified.byte_identical},
                         {"strangers_on_target", verified.strangers},
                         {"unexplained", unexplained},
                         {"against", text(verified.against)}};
  out["totals"] = {{"messages_not_on_target", noted.missing_total},
                   {"remarks", noted.remarks_total},
                   {"surplus", surplus_total},
                   {"differences", verified.differences.size()},
                   {"events", all_events.size()}};
  out["reasons"] = noted.all.to_json();
  out["books"] = books_json(total);
  out["post_offices"] = std::move(offices);
  out["accounts"] = std::move(accounts);
  out["domains"] = std::move(domains);
  out["addresses"] = std::move(addresses);
  out["messages"] = std::move(messages);
  out["surplus"] = std::move(surplus);
  out["differences"] = std::move(differences);
  out["problems"] = std::move(problems);
  out["not_migrated"] = std::move(left);
  out["events"] = std::move(events);
  out["timing"] = timing(db, run);
  if (!verified.evidence.empty()) out["evidence"] = evidence_json(verified.evidence);
  out["environment"] = environment(db);

  // The verdict: the worst that applies.
  using base::Exit;
  Exit exit = Exit::done;
  std::string sentence;
  const std::string on_target =
      fmt::format("{} of {} on the target", base::human_count(total.bound - std::min(total.bound, absent_on_record)),
                  base::plural(total.inventory, "message"));
  left_twice = std::max(left_twice, twice_now);
  const bool incomplete = total.pending > 0 || total.quarantined > 0 || skipped > 0 || failed > 0 ||
                          mailbox_errors > 0 || absent > 0 || objects_refused > 0 || !verified.problems.empty();
  if (unexplained > 0 || !broken.empty() || !total.closed()) {
    exit = Exit::difference;
    sentence =
        fmt::format("NOT IN ORDER: {}, but verification found {} that nothing explains; see \"Differences\" below.",
                    on_target, base::plural(unexplained + broken.size(), "difference"));
  } else if (interrupted) {
    exit = Exit::interrupted;
    sentence =
        fmt::format("Interrupted: {}, {} still to be moved. Nothing is lost; run the same command again to go on.",
                    on_target, base::plural(total.pending, "message"));
  } else if (incomplete) {
    exit = Exit::incomplete;
    std::vector<std::string> parts;
    if (total.quarantined > 0)
      parts.push_back(fmt::format("{} quarantined", base::plural(total.quarantined, "message")));
    if (total.pending > 0) parts.push_back(fmt::format("{} pending", base::plural(total.pending, "message")));
    if (skipped > 0) parts.push_back(fmt::format("{} skipped", base::plural(skipped, "account")));
    if (failed > 0) parts.push_back(fmt::format("{} with an error", base::plural(failed, "account")));
    if (mailbox_errors > 0)
      parts.push_back(fmt::format("{} with an error", base::plural(mailbox_errors, "mailbox", "mailboxes")));
    if (objects_refused > 0)
      parts.push_back(
          fmt::format("{} not made", base::plural(objects_refused, "domain or alias", "domains or aliases")));
    if (absent > 0) parts.push_back(fmt::format("{} not on the target now", base::plural(absent, "item")));
    if (!verified.problems.empty())
      parts.push_back(fmt::format("{} not verified", base::plural(verified.problems.size(), "place")));
    sentence = fmt::format("Done, but not everything was migrated: {}; {}. Each is listed below.", on_target,
                           base::join(parts, ", "));
  } else {
    std::string verified_text;
    if (total.bound > 0)
      verified_text = total.verified == total.bound
                          ? ", every one re-read and equal"
                          : fmt::format(", {} of them re-read and equal", base::human_count(total.verified));
    const std::string second_copies =
        left_twice > 0 ? fmt::format(", {} left there and listed",
                                     base::plural(left_twice, "possible second copy", "possible second copies"))
                       : std::string(" and nothing is there twice");
    // Only a verification of everything may speak of what is there now.
    sentence = run.command == "verify"
                   ? fmt::format("Complete: {}, compared {}; nothing is missing{}.", on_target,
                                 verified.against.empty() ? "on both servers" : "there with the " + verified.against,
                                 second_copies)
                   : fmt::format(
                         "Complete: {}{} when it was moved; nothing is left to do{}. \"4d2kms verify\" compares what "
                         "is there now.",
                         on_target, verified_text, second_copies);
  }
  out["verdict"] = {{"exit", static_cast<int>(exit)}, {"sentence", sentence}};
  return out;
}

Verdict verdict_of(const json::object& report) {
  const auto& v = report.at("verdict").as_object();
  return {static_cast<base::Exit>(v.at("exit").to_number<int>()), std::string(v.at("sentence").as_string())};
}

namespace {
constexpr std::string_view kFingerprint = "\"fingerprint\":\"";
}

std::string seal(json::object* report) {
  (*report)["fingerprint"] = std::string(64, '0');
  std::string file = json::serialize(*report) + "\n";
  base::Sha256 sum;
  sum.add(file);
  const std::string print = sum.hex();
  (*report)["fingerprint"] = print;
  // In no text can it stand so: there a quotation mark has a backslash.
  return file.replace(file.find(kFingerprint) + kFingerprint.size(), print.size(), print);
}

bool sealed(std::string file) {
  const auto at = file.find(kFingerprint);
  if (at == std::string::npos || file.size() < at + kFingerprint.size() + 64) return false;
  const std::string says = file.substr(at + kFingerprint.size(), 64);
  file.replace(at + kFingerprint.size(), 64, std::string(64, '0'));
  base::Sha256 sum;
  sum.add(file);
  return sum.hex() == says;
}

}  // namespace pipeline
