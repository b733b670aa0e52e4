#include "pipeline/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/fingerprint.hpp"
#include "base/text.hpp"

namespace pipeline {

namespace json = boost::json;

bool PlannedAccount::nothing_to_do() const {
  return std::all_of(mailboxes.begin(), mailboxes.end(),
                     [](const auto& m) { return !m.create && !m.subscribe && m.to_move == 0 && m.untouched; });
}

const char* name_of(Fate f) {
  static constexpr const char* kNames[] = {"create", "ours", "adopt", "skip", "fail"};
  return kNames[static_cast<int>(f)];
}

namespace {

// "create" becomes "ours" as load gets on: the same decision.
std::string decision(Fate f) { return f == Fate::ours ? "create" : name_of(f); }

json::string text(const std::string& s) { return json::string(base::printable(s)); }

json::object mailbox_json(const PlannedMailbox& m) {
  json::object o;
  o["from"] = text(m.map.from);
  o["to"] = text(m.asked.empty() ? m.map.name : m.asked);
  if (!m.asked.empty() && m.asked != m.map.name) o["goes_to"] = text(m.map.name);
  if (!m.map.why.empty()) o["why"] = text(m.map.why);
  o["exists"] = m.map.exists;
  o["create"] = m.create;
  o["subscribe"] = m.subscribe;
  o["messages_to_move"] = m.to_move;
  o["octets_to_move"] = m.octets;
  o["source"] = {
      {"uidvalidity", m.source_validity.value}, {"uidnext", m.source_uid_next.value}, {"messages", m.source_messages}};
  if (!m.flags_lost.empty()) {
    json::array f;
    for (const auto& x : m.flags_lost) f.emplace_back(text(x));
    o["flags_not_kept"] = std::move(f);
  }
  if (!m.remarks.empty()) {
    json::array r;
    for (const auto& x : m.remarks) r.emplace_back(text(x));
    o["remarks"] = std::move(r);
  }
  return o;
}

json::object domain_json(const PlannedDomain& d) {
  json::object o;
  o["domain"] = text(d.name);
  o["post_office"] = text(d.post_office);
  o["decision"] = decision(d.fate);
  o["exists"] = !d.id.empty();
  if (!d.why.empty()) o["reason"] = text(d.why);
  json::array aliases, remarks, dropped;
  for (const auto& a : d.aliases) {
    if (a.dropped.empty()) aliases.emplace_back(text(a.name));
    else dropped.push_back({{"alias", text(a.name)}, {"why", text(a.dropped)}});
  }
  for (const auto& r : d.remarks) remarks.emplace_back(text(r));
  o["aliases"] = std::move(aliases);
  if (!dropped.empty()) o["aliases_left_out"] = std::move(dropped);
  if (!remarks.empty()) o["remarks"] = std::move(remarks);
  return o;
}

}  // namespace

json::object to_json(const Plan& plan) {
  json::object out;
  json::array accounts;
  std::uint64_t move = 0, skipped = 0, messages = 0;
  base::Octets octets = 0;
  for (const auto& a : plan.accounts) {
    json::object o;
    o["account"] = text(a.address);
    o["post_office"] = text(a.post_office);
    o["decision"] = a.skip.empty() ? "move" : "skip";
    (a.skip.empty() ? move : skipped) += 1;
    if (!a.skip.empty()) o["reason"] = text(a.skip);
    if (!a.target_domain.empty()) {
      o["on_target"] = decision(a.fate);
      o["exists"] = !a.target_id.empty();
    }
    o["target_login"] = text(a.target_login);
    json::array boxes, left, remarks;
    for (const auto& m : a.mailboxes) {
      boxes.push_back(mailbox_json(m));
      messages += m.to_move;
      octets += m.octets;
    }
    for (const auto& [name, why] : a.left_out) left.push_back({{"mailbox", text(name)}, {"why", text(why)}});
    for (const auto& r : a.remarks) remarks.emplace_back(text(r));
    o["mailboxes"] = std::move(boxes);
    if (!left.empty()) o["left_out"] = std::move(left);
    if (!remarks.empty()) o["remarks"] = std::move(remarks);
    accounts.push_back(std::move(o));
  }
  out["totals"] = {{"accounts_to_move", move},
                   {"accounts_to_skip", skipped},
                   {"messages_to_move", messages},
                   {"octets_to_move", octets}};
  out["policies"] = text(plan.policies);
  if (!plan.domains.empty()) {
    json::array domains;
    for (const auto& d : plan.domains) domains.push_back(domain_json(d));
    out["domains"] = std::move(domains);
  }
  out["accounts"] = std::move(accounts);
  json::array remarks;
  for (const auto& r : plan.remarks) remarks.emplace_back(text(r));
  out["remarks"] = std::move(remarks);
  return out;
}

std::string fingerprint(const Plan& plan) {
  std::string all = plan.policies + "\n";
  for (const auto& d : plan.domains) {
    all += fmt::format("domain {}\t{}\t{}\t{}\n", d.post_office, d.name, decision(d.fate), d.why);
    for (const auto& a : d.aliases) all += fmt::format("alias {}\t{}\n", a.name, a.dropped);
  }
  for (const auto& a : plan.accounts) {
    all += fmt::format("account {}\t{}\t{}\t{}\n", a.address, a.target_login, a.skip, decision(a.fate));
    for (const auto& m : a.mailboxes)
      all += fmt::format("mailbox {}\t{}\t{}\t{}\t{}\n", m.map.from, m.asked.empty() ? m.map.name : m.asked,
                         m.source_validity.value, m.source_uid_next.value, m.source_messages);
  }
  const auto print = base::fingerprint(all);
  return base::hex({reinterpret_cast<const char*>(print.e1.data()), 16});
}

std::string to_text(const Plan& plan, std::int64_t number, const std::string& print) {
  std::uint64_t move = 0, skipped = 0, messages = 0, create = 0;
  base::Octets octets = 0;
  std::vector<std::vector<std::string>> accounts = {
      {"ACCOUNT", "POST OFFICE", "TARGET LOG-IN", "MAILBOXES", "NEW", "MESSAGES", "SIZE", "DECISION"}};
  // The same new name in many accounts is one line.
  std::vector<std::array<std::string, 2>> renames;
  std::map<std::array<std::string, 2>, std::vector<std::string>> renamed_in;
  std::map<std::array<std::string, 2>, std::string> renamed_why;
  // So is a remark.
  std::vector<std::string> remarks;
  std::map<std::string, std::vector<std::string>> remarked;
  std::string details;
  for (const auto& a : plan.accounts) {
    (a.skip.empty() ? move : skipped) += 1;
    std::uint64_t n = 0, fresh = 0, flags_in = 0;
    std::set<std::string> flags;
    base::Octets o = 0;
    for (const auto& m : a.mailboxes) {
      n += m.to_move;
      o += m.octets;
      fresh += m.create;
      if (m.map.from != m.map.name) {
        const std::array<std::string, 2> rename = {base::printable(m.map.from), base::printable(m.map.name)};
        if (!m.map.why.empty()) renamed_why[rename] = base::printable(m.map.why);
        if (renamed_in[rename].empty()) renames.push_back(rename);
        renamed_in[rename].push_back(base::printable(a.address));
      }
      if (!m.flags_lost.empty()) {
        flags.insert(m.flags_lost.begin(), m.flags_lost.end());
        ++flags_in;
      }
      for (const auto& r : m.remarks)
        details += fmt::format("  {}, \"{}\": {}\n", base::printable(a.address), base::printable(m.map.from),
                               base::printable(r));
    }
    if (!flags.empty())
      details += fmt::format("  {}: flags that the target does not keep, in {}: {}\n", base::printable(a.address),
                             base::plural(flags_in, "mailbox", "mailboxes"),
                             base::printable(base::join({flags.begin(), flags.end()}, " ")));
    for (const auto& [name, why] : a.left_out)
      if (!why.starts_with("holds no messages"))
        details +=
            fmt::format("  {}, \"{}\": {}\n", base::printable(a.address), base::printable(name), base::printable(why));
    for (const auto& r : a.remarks) {
      if (remarked[r].empty()) remarks.push_back(r);
      remarked[r].push_back(base::printable(a.address));
    }
    messages += n;
    octets += o;
    create += fresh;
    accounts.push_back({base::printable(a.address), base::printable(a.post_office), base::printable(a.target_login),
                        std::to_string(a.mailboxes.size()), std::to_string(fresh), base::human_count(n),
                        base::human_octets(o),
                        a.skip.empty() ? (a.target_domain.empty()  ? "move"
                                          : a.fate == Fate::create ? "create, move"
                                          : a.fate == Fate::adopt  ? "adopt, move"
                                                                   : "move")
                                       : "skip: " + base::printable(a.skip)});
  }
  std::string out = fmt::format("Plan {} (fingerprint {}). Nothing has been written on either server.\n\n", number,
                                print.substr(0, 16));
  out += fmt::format("{} to move, {} to skip; {} to create; {} to move, {}.\n\n", base::plural(move, "account"),
                     skipped, base::plural(create, "mailbox", "mailboxes"), base::plural(messages, "message"),
                     base::human_octets(octets));
  if (!plan.domains.empty()) {
    std::vector<std::vector<std::string>> domains = {{"POST OFFICE", "TARGET DOMAIN", "DECISION", "ALIASES"}};
    for (const auto& d : plan.domains) {
      std::vector<std::string> aliases;
      for (const auto& a : d.aliases)
        if (a.dropped.empty()) aliases.push_back(base::printable(a.name) + (a.there ? " (there)" : ""));
        else details += fmt::format("  {}: alias {} is left out: {}\n", d.name, base::printable(a.name), a.dropped);
      for (const auto& r : d.remarks) details += fmt::format("  {}: {}\n", d.name, base::printable(r));
      domains.push_back(
          {base::printable(d.post_office), base::printable(d.name),
           d.why.empty() ? name_of(d.fate) : fmt::format("{}: {}", name_of(d.fate), base::printable(d.why)),
           base::join(aliases, ", ")});
    }
    out += base::table(domains, {}) + "\n";
  }
  out += base::table(accounts, {3, 4, 5, 6});
  if (!renames.empty()) {
    std::vector<std::vector<std::string>> names = {{"FROM", "TO", "WHY", "ACCOUNTS"}};
    for (const auto& r : renames) {
      const auto& in = renamed_in[r];
      names.push_back(
          {r[0], r[1], renamed_why[r], in.size() <= 2 ? base::join(in, ", ") : base::plural(in.size(), "account")});
    }
    out += "\nMailboxes that get another name:\n\n" + base::table(names, {});
  }
  for (const auto& r : remarks)
    details += fmt::format(
        "  {}: {}\n",
        remarked[r].size() <= 2 ? base::join(remarked[r], ", ") : base::plural(remarked[r].size(), "account"),
        base::printable(r));
  if (!details.empty()) out += "\nWhat to know before:\n" + details;
  for (const auto& r : plan.remarks) out += "\n" + base::printable(r) + "\n";
  out += fmt::format("\nPolicies: {}\n", plan.policies);
  return out;
}

std::vector<std::string> vanished(const json::object& was, const json::object& is) {
  std::vector<std::string> out;
  const auto there = [](const json::object& plan, const char* list, const char* key) {
    std::map<std::string, bool> m;
    if (const auto* a = plan.if_contains(list))
      for (const auto& v : a->as_array())
        if (const auto* e = v.as_object().if_contains("exists"))
          m[std::string(v.as_object().at(key).as_string())] = e->as_bool();
    return m;
  };
  for (const auto& [list, key] : {std::pair("domains", "domain"), std::pair("accounts", "account")}) {
    const auto now = there(is, list, key);
    for (const auto& [name, existed] : there(was, list, key))
      if (const auto it = now.find(name); existed && it != now.end() && !it->second)
        out.push_back(fmt::format("{} {}: was on the target, and is no longer there", key, name));
  }
  return out;
}

std::vector<std::string> changes(const json::object& was, const json::object& is) {
  std::vector<std::string> out = vanished(was, is);
  const auto by_name = [](const json::object& o, const char* list, const char* key) {
    std::map<std::string, const json::object*> m;
    if (const auto* a = o.if_contains(list))
      for (const auto& v : a->as_array()) m[std::string(v.as_object().at(key).as_string())] = &v.as_object();
    return m;
  };
  const auto text_of = [](const json::object& o, const char* key) {
    const auto* v = o.if_contains(key);
    return v == nullptr ? std::string("-") : v->is_string() ? std::string(v->as_string()) : json::serialize(*v);
  };
  if (text_of(was, "policies") != text_of(is, "policies"))
    out.push_back(fmt::format("the options: \"{}\", now \"{}\"", text_of(was, "policies"), text_of(is, "policies")));
  const auto domains = by_name(was, "domains", "domain"), domains_now = by_name(is, "domains", "domain");
  for (const auto& [name, d] : domains) {
    const auto it = domains_now.find(name);
    if (it == domains_now.end()) {
      out.push_back(fmt::format("domain {}: is no longer in it", name));
      continue;
    }
    for (const char* key : {"decision", "reason", "aliases", "aliases_left_out"})
      if (text_of(*d, key) != text_of(*it->second, key))
        out.push_back(
            fmt::format("domain {}: {} was {}, is {}", name, key, text_of(*d, key), text_of(*it->second, key)));
  }
  for (const auto& [name, d] : domains_now)
    if (!domains.contains(name)) out.push_back(fmt::format("domain {}: is new", name));
  const auto before = by_name(was, "accounts", "account"), now = by_name(is, "accounts", "account");
  for (const auto& [name, a] : before) {
    const auto it = now.find(name);
    if (it == now.end()) {
      out.push_back(fmt::format("{}: is no longer in it", name));
      continue;
    }
    for (const char* key : {"decision", "reason", "target_login", "on_target"})
      if (text_of(*a, key) != text_of(*it->second, key))
        out.push_back(
            fmt::format("{}: {} was \"{}\", is \"{}\"", name, key, text_of(*a, key), text_of(*it->second, key)));
    const auto boxes = by_name(*a, "mailboxes", "from"), boxes_now = by_name(*it->second, "mailboxes", "from");
    for (const auto& [box, m] : boxes) {
      const auto b = boxes_now.find(box);
      if (b == boxes_now.end()) {
        out.push_back(fmt::format("{}: mailbox \"{}\" is no longer there", name, box));
        continue;
      }
      for (const char* key : {"to", "source"})
        if (text_of(*m, key) != text_of(*b->second, key))
          out.push_back(fmt::format("{}: mailbox \"{}\": {} was {}, is {}", name, box, key, text_of(*m, key),
                                    text_of(*b->second, key)));
    }
    for (const auto& [box, m] : boxes_now)
      if (!boxes.contains(box)) out.push_back(fmt::format("{}: mailbox \"{}\" is new", name, box));
  }
  for (const auto& [name, a] : now)
    if (!before.contains(name)) out.push_back(fmt::format("{}: is new", name));
  return out;
}

}  // namespace pipeline
