// The report for terminals and for grep.
#include "base/text.hpp"

#include <fmt/format.h>

#include "pipeline/report/fields.hpp"
#include "pipeline/report/report.hpp"

namespace pipeline {

namespace json = boost::json;

namespace {

std::vector<std::string> books_row(std::string name, const json::object& b) {
  std::vector<std::string> row{std::move(name)};
  for (const char* key : {"inventory", "bound", "verified", "gone", "excluded", "quarantined", "pending"})
    row.push_back(base::human_count(number(b, key)));
  row.push_back(base::human_octets(number(b, "octets")));
  row.emplace_back(b.at("closed").as_bool() ? "yes" : "NO");
  return row;
}

}  // namespace

std::string message_line(const json::object& m) {
  return fmt::format("{}, \"{}\", UID {} ({}): {}: {}", word(m, "account"), word(m, "mailbox"), number(m, "uid"),
                     base::human_octets(number(m, "octets")), word(m, "kind"), word(m, "detail"));
}

std::string difference_line(const json::object& d) {
  std::string uids;
  if (number(d, "source_uid") + number(d, "target_uid") > 0)
    uids = fmt::format(", source UID {}, target UID {}", number(d, "source_uid"), number(d, "target_uid"));
  return fmt::format("{}, \"{}\"{}: {}: {}", word(d, "account"), word(d, "mailbox"), uids, word(d, "kind"),
                     word(d, "detail"));
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
  for (const auto& p : list(r, "post_offices")) {
    const auto& o = p.as_object();
    rows.push_back(books_row("Post Office " + word(o, "post_office"), o));
  }
  for (const auto& a : list(r, "accounts"))
    rows.push_back(books_row(word(a.as_object(), "account"), a.as_object().at("books").as_object()));
  rows.push_back(books_row("total", r.at("books").as_object()));
  out += base::table(rows, {1, 2, 3, 4, 5, 6, 7, 8});
  out += "\nPer mailbox:\n\n";
  rows = {head};
  rows[0][0] = "MAILBOX";
  for (const auto& a : list(r, "accounts"))
    for (const auto& m : a.as_object().at("mailboxes").as_array()) {
      const auto& o = m.as_object();
      if (number(o, "inventory") == 0) continue;
      const std::string from = word(o, "mailbox"), to = word(o, "target");
      rows.push_back(books_row(
          fmt::format("{}  {}{}", word(a.as_object(), "account"), from, to.empty() || to == from ? "" : " -> " + to),
          o));
    }
  out += base::table(rows, {1, 2, 3, 4, 5, 6, 7, 8});

  const auto more = [&](std::vector<std::string>& lines, std::uint64_t all, std::size_t listed, const char* where) {
    if (all > listed) lines.push_back(fmt::format("... and {} more{}", base::human_count(all - listed), where));
  };
  const auto& totals = part(r, "totals");
  const auto section = [&](const std::string& title, const std::vector<std::string>& lines) {
    if (lines.empty()) return;
    out += fmt::format("\n{}:\n", title);
    for (const auto& l : lines) out += "  " + l + "\n";
  };
  std::vector<std::string> why;
  for (const auto& reason : list(r, "reasons")) {
    const auto& o = reason.as_object();
    if (o.at("on_target").as_bool()) continue;
    why.push_back(fmt::format("{} of {}: {}{}. {}", base::plural(number(o, "messages"), "message"),
                              base::plural(number(o, "accounts"), "account"), word(o, "meaning"),
                              word(o, "detail").empty() ? "" : " (" + word(o, "detail") + ")", word(o, "to_do")));
  }
  section("Not on the target, and what to do", why);
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
  for (const auto& p : list(r, "post_offices"))
    if (const auto w = word(p.as_object(), "problem"); !w.empty())
      lines.push_back(fmt::format("Post Office {}: {}", word(p.as_object(), "post_office"), w));
  for (const auto& a : list(r, "accounts")) {
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
  for (const auto& d : list(r, "differences")) {
    const auto& o = d.as_object();
    if (!o.at("explained").as_bool()) lines.push_back(difference_line(o));
  }
  section("Differences that nothing explains", lines);
  lines.clear();
  for (const auto& d : list(r, "differences")) {
    const auto& o = d.as_object();
    if (o.at("explained").as_bool()) lines.push_back(difference_line(o));
  }
  more(lines, number(totals, "differences"), list(r, "differences").size(), ": differences.csv has all");
  section("Differences on record", lines);
  lines.clear();
  for (const auto& m : list(r, "messages")) lines.push_back(message_line(m.as_object()));
  more(lines, number(totals, "messages_not_on_target") + number(totals, "remarks"), list(r, "messages").size(),
       ": messages.csv has all");
  section("Messages that are not on the target as they were at the source", lines);
  lines.clear();
  for (const auto& s : list(r, "surplus"))
    lines.push_back(fmt::format("{}, \"{}\": {}", word(s.as_object(), "account"), word(s.as_object(), "mailbox"),
                                word(s.as_object(), "detail")));
  more(lines, number(totals, "surplus"), list(r, "surplus").size(), "");
  section("Surplus copies", lines);
  lines.clear();
  for (const auto& p : list(r, "problems")) lines.emplace_back(p.as_string());
  section("Problems", lines);
  lines.clear();
  for (const auto& n : list(r, "not_migrated")) {
    const auto& o = n.as_object();
    lines.push_back(fmt::format(
        "{}: {}: {}", word(o, "account").empty() ? "Post Office " + word(o, "post_office") : word(o, "account"),
        word(o, "kind"), word(o, "detail")));
  }
  for (const auto& a : list(r, "accounts"))
    for (const auto& m : a.as_object().at("mailboxes").as_array())
      if (const auto w = word(m.as_object(), "not_migrated"); !w.empty() && !w.starts_with("holds no messages"))
        lines.push_back(
            fmt::format("{}, mailbox \"{}\": {}", word(a.as_object(), "account"), word(m.as_object(), "mailbox"), w));
  section("Seen at the source and not migrated", lines);
  lines.clear();
  for (const auto& e : list(r, "events")) {
    const std::string l(e.as_string());
    if (!l.starts_with("mailbox created")) lines.push_back(l);
  }
  more(lines, number(totals, "events"), list(r, "events").size(), "");
  section("What happened on the way", lines);
  lines.clear();
  if (const auto& evidence = part(r, "evidence"); !evidence.empty()) {
    for (const char* side : {"source", "on_target"}) {
      const auto& all = part(evidence, side);
      if (!all.empty())
        lines.push_back(fmt::format("{} {}  {}", side == std::string_view("source") ? "source" : "target",
                                    word(all, "sha256"), base::plural(number(all, "messages"), "message")));
    }
    lines.push_back(base::plural(list(evidence, "accounts").size(), "account") +
                    ": each with its digests in the JSON report");
    section("Evidence (SHA-256 over what was re-read; 4d2kms verify --against run-N.json works it out again)", lines);
  }
  if (const auto print = word(r, "fingerprint"); !print.empty())
    out += fmt::format("\nFingerprint of this report: {}\n", print);
  return out;
}

}  // namespace pipeline
