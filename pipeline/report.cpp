#include "pipeline/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "base/text.hpp"

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

std::uint64_t number(const json::object& o, const char* key) {
  const auto* v = o.if_contains(key);
  return v == nullptr     ? 0
         : v->is_uint64() ? v->as_uint64()
         : v->is_int64()  ? static_cast<std::uint64_t>(v->as_int64())
                          : 0;
}

std::string word(const json::object& o, const char* key) {
  const auto* v = o.if_contains(key);
  return v == nullptr || !v->is_string() ? std::string() : std::string(v->as_string());
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

std::vector<std::string> books_row(std::string name, const json::object& b) {
  std::vector<std::string> row{std::move(name)};
  for (const char* key : {"inventory", "bound", "verified", "gone", "excluded", "quarantined", "pending"})
    row.push_back(base::human_count(number(b, key)));
  row.push_back(base::human_octets(number(b, "octets")));
  row.emplace_back(b.at("closed").as_bool() ? "yes" : "NO");
  return row;
}

}  // namespace

json::object make_report(Db& db, const VerifyResult& verified, const state::RunRow& run,
                         const std::function<bool(const std::string&)>& selected, bool interrupted) {
  json::object out;
  const auto by_mailbox = state::books_by_mailbox(db);
  Books total;
  std::map<std::string, Books> by_office;
  json::array accounts;
  std::map<std::int64_t, std::pair<std::string, std::string>> names;  // mailbox -> account, name
  std::uint64_t skipped = 0, failed = 0, mailbox_errors = 0;
  for (const auto& a : state::accounts(db)) {
    if (!selected(a.address)) continue;
    json::object o;
    Books books;
    json::array boxes;
    for (const auto& m : state::mailboxes(db, a.id)) {
      names[m.id.value] = {a.address, m.name};
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
  json::array messages;
  std::uint64_t absent_on_record = 0;
  for (const auto& n : state::noted_messages(db)) {
    const auto it = names.find(n.mailbox.value);
    if (it == names.end()) continue;
    absent_on_record += n.kind == "absent";
    messages.push_back({{"account", text(it->second.first)},
                        {"mailbox", text(it->second.second)},
                        {"uid", n.uid.value},
                        {"target_uid", n.target_uid.value},
                        {"octets", n.size},
                        {"state", state::name_of(n.state)},
                        {"kind", text(n.kind)},
                        {"detail", text(n.detail)}});
  }
  json::array surplus;
  std::uint64_t left_twice = 0;
  for (const auto& s : state::surplus(db)) {
    const auto it = names.find(s.mailbox.value);
    left_twice += it != names.end() && !s.removed;
    if (it != names.end())
      surplus.push_back({{"account", text(it->second.first)},
                         {"mailbox", text(it->second.second)},
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
  for (const auto& d : verified.differences) {
    unexplained += !d.explained;
    absent += d.absence && d.kind != "absent";  // those are on record, with what earlier verifications found
    twice_now += d.kind == "duplicate";
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
  for (const auto& e : state::events(db, run.id)) events.emplace_back(text(e));
  const auto broken = state::broken_invariants(db);
  for (const auto& b : broken) problems.emplace_back(text("The ledger is not in order: " + b));

  out["schema"] = "4d2kms report 1";
  out["run"] = {{"number", run.id.value},      {"command", run.command},
                {"started", utc(run.started)}, {"seconds", run.ended > run.started ? run.ended - run.started : 0},
                {"appended", run.appended},    {"octets", run.octets}};
  out["verification"] = {{"level", level_name(verified.level)},
                         {"messages", verified.messages},
                         {"bodies_read", verified.bodies},
                         {"byte_identical", verified.byte_identical},
                         {"strangers_on_target", verified.strangers},
                         {"unexplained", unexplained}};
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
    sentence =
        run.command == "verify"
            ? fmt::format("Complete: {}, compared on both servers; nothing is missing{}.", on_target, second_copies)
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

std::string report_text(const json::object& r) {
  const auto& run = r.at("run").as_object();
  const auto& v = r.at("verification").as_object();
  std::string out = verdict_of(r).sentence + "\n\n";
  out += fmt::format("Run {} ({}), started {}, took {}; {} sent, {}.\n", number(run, "number"), word(run, "command"),
                     word(run, "started"),
                     number(run, "seconds") == 0 ? "less than a second"
                                                 : base::human_duration(std::chrono::seconds(number(run, "seconds"))),
                     base::plural(number(run, "appended"), "message"), base::human_octets(number(run, "octets")));
  out += fmt::format(
      "Verification: {}; {} looked at, {} read back, {} byte for byte the same{}.\n\n", word(v, "level"),
      base::plural(number(v, "messages"), "message"), base::plural(number(v, "bodies_read"), "body", "bodies"),
      base::human_count(number(v, "byte_identical")),
      number(v, "strangers_on_target") > 0 ? fmt::format("; {} on the target that are not of this source",
                                                         base::human_count(number(v, "strangers_on_target")))
                                           : "");
  out += "Books (inventory = bound + gone + excluded + quarantined + pending):\n\n";
  const std::vector<std::string> head = {"",         "INVENTORY",   "BOUND",   "VERIFIED", "GONE",
                                         "EXCLUDED", "QUARANTINED", "PENDING", "SIZE",     "CLOSED"};
  std::vector<std::vector<std::string>> rows{head};
  for (const auto& p : r.at("post_offices").as_array()) {
    const auto& o = p.as_object();
    rows.push_back(books_row("Post Office " + word(o, "post_office"), o));
  }
  for (const auto& a : r.at("accounts").as_array())
    rows.push_back(books_row(word(a.as_object(), "account"), a.as_object().at("books").as_object()));
  rows.push_back(books_row("total", r.at("books").as_object()));
  out += base::table(rows, {1, 2, 3, 4, 5, 6, 7, 8});
  out += "\nPer mailbox:\n\n";
  rows = {head};
  rows[0][0] = "MAILBOX";
  for (const auto& a : r.at("accounts").as_array())
    for (const auto& m : a.as_object().at("mailboxes").as_array()) {
      const auto& o = m.as_object();
      if (number(o, "inventory") == 0) continue;
      const std::string from = word(o, "mailbox"), to = word(o, "target");
      rows.push_back(books_row(
          fmt::format("{}  {}{}", word(a.as_object(), "account"), from, to.empty() || to == from ? "" : " -> " + to),
          o));
    }
  out += base::table(rows, {1, 2, 3, 4, 5, 6, 7, 8});

  const auto section = [&](const std::string& title, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    out += fmt::format("\n{}:\n", title);
    for (const auto& l : lines) out += "  " + l + "\n";
  };
  if (const auto* addresses = r.if_contains("addresses"); addresses != nullptr && !addresses->as_array().empty()) {
    out += "\nAddresses, before and after:\n\n";
    rows = {{"BEFORE", "AFTER", "ACCOUNT", "STATUS"}};
    for (const auto& a : addresses->as_array()) {
      const auto& o = a.as_object();
      rows.push_back({word(o, "before"), word(o, "after"), word(o, "account"), word(o, "status")});
    }
    out += base::table(rows, {});
  }
  std::vector<std::string> lines;
  if (const auto* domains = r.if_contains("domains"); domains != nullptr)
    for (const auto& d : domains->as_array()) {
      const auto& o = d.as_object();
      if (word(o, "state") != "ours")
        lines.push_back(fmt::format("{} {} ({}): {}{}", word(o, "kind"), word(o, "name"), word(o, "post_office"),
                                    word(o, "state"), word(o, "detail").empty() ? "" : ": " + word(o, "detail")));
    }
  section("Domains and aliases that were not made by us", lines);
  lines.clear();
  for (const auto& p : r.at("post_offices").as_array())
    if (const auto w = word(p.as_object(), "problem"); !w.empty())
      lines.push_back(fmt::format("Post Office {}: {}", word(p.as_object(), "post_office"), w));
  for (const auto& a : r.at("accounts").as_array()) {
    const auto& o = a.as_object();
    if (const auto w = word(o, "skipped"); !w.empty())
      lines.push_back(fmt::format("{}: skipped: {}", word(o, "account"), w));
    if (const auto w = word(o, "error"); !w.empty()) lines.push_back(fmt::format("{}: {}", word(o, "account"), w));
    for (const auto& m : o.at("mailboxes").as_array()) {
      const auto& b = m.as_object();
      if (const auto w = word(b, "error"); !w.empty())
        lines.push_back(fmt::format("{}, \"{}\": {}", word(o, "account"), word(b, "mailbox"), w));
    }
  }
  section("Accounts and mailboxes not or not wholly migrated", lines);
  lines.clear();
  for (const auto& d : r.at("differences").as_array()) {
    const auto& o = d.as_object();
    if (o.at("explained").as_bool()) continue;
    lines.push_back(fmt::format("{}, \"{}\", source UID {}, target UID {}: {}: {}", word(o, "account"),
                                word(o, "mailbox"), number(o, "source_uid"), number(o, "target_uid"), word(o, "kind"),
                                word(o, "detail")));
  }
  section("Differences that nothing explains", lines);
  lines.clear();
  for (const auto& d : r.at("differences").as_array()) {
    const auto& o = d.as_object();
    if (!o.at("explained").as_bool()) continue;
    lines.push_back(fmt::format("{}, \"{}\", source UID {}, target UID {}: {}: {}", word(o, "account"),
                                word(o, "mailbox"), number(o, "source_uid"), number(o, "target_uid"), word(o, "kind"),
                                word(o, "detail")));
  }
  section("Differences on record", lines);
  lines.clear();
  for (const auto& m : r.at("messages").as_array()) {
    const auto& o = m.as_object();
    lines.push_back(fmt::format("{}, \"{}\", UID {} ({}): {}: {}", word(o, "account"), word(o, "mailbox"),
                                number(o, "uid"), base::human_octets(number(o, "octets")), word(o, "kind"),
                                word(o, "detail")));
  }
  section("Messages that are not on the target as they were at the source", lines);
  lines.clear();
  for (const auto& s : r.at("surplus").as_array())
    lines.push_back(fmt::format("{}, \"{}\": {}", word(s.as_object(), "account"), word(s.as_object(), "mailbox"),
                                word(s.as_object(), "detail")));
  section("Surplus copies", lines);
  lines.clear();
  for (const auto& p : r.at("problems").as_array()) lines.emplace_back(p.as_string());
  section("Problems", lines);
  lines.clear();
  for (const auto& n : r.at("not_migrated").as_array()) {
    const auto& o = n.as_object();
    lines.push_back(fmt::format(
        "{}: {}: {}", word(o, "account").empty() ? "Post Office " + word(o, "post_office") : word(o, "account"),
        word(o, "kind"), word(o, "detail")));
  }
  for (const auto& a : r.at("accounts").as_array())
    for (const auto& m : a.as_object().at("mailboxes").as_array())
      if (const auto w = word(m.as_object(), "not_migrated"); !w.empty() && !w.starts_with("holds no messages"))
        lines.push_back(
            fmt::format("{}, mailbox \"{}\": {}", word(a.as_object(), "account"), word(m.as_object(), "mailbox"), w));
  section("Seen at the source and not migrated", lines);
  lines.clear();
  for (const auto& e : r.at("events").as_array()) {
    const std::string l(e.as_string());
    if (!l.starts_with("mailbox created")) lines.push_back(l);
  }
  section("What happened on the way", lines);
  return out;
}

}  // namespace pipeline
