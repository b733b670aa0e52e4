#include "pipeline/report/csv.hpp"

#include <fmt/format.h>

#include <array>
#include <map>
#include <set>

#include "base/text.hpp"
#include "imap/protocol/date_time.hpp"
#include "pipeline/migration.hpp"
#include "pipeline/report/fields.hpp"

namespace pipeline {

namespace json = boost::json;

namespace {

constexpr const char* kBom = "\xEF\xBB\xBF";
constexpr const char* kBooks[] = {"inventory", "bound",       "verified", "gone",
                                  "excluded",  "quarantined", "pending",  "octets"};

// One line; cells that are text go through csv_cell.
class Line {
 public:
  explicit Line(std::ostream& out) : out_(out) {}
  ~Line() { out_ << line_ << "\r\n"; }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  Line& text(std::string_view s) { return cell(csv_cell(s)); }
  Line& number(std::uint64_t n) { return cell(std::to_string(n)); }
  Line& books(const json::object& b) {
    for (const char* key : kBooks) number(pipeline::number(b, key));
    return *this;
  }
  // Of source and target; empty cells where there is none.
  Line& evidence(const json::object& of) {
    for (const char* side : {"source", "on_target"}) {
      const auto& s = part(of, side);
      cell(s.empty() ? "" : std::to_string(pipeline::number(s, "messages")));
      text(word(s, "sha256"));
    }
    return *this;
  }

 private:
  Line& cell(const std::string& s) {
    if (!first_) line_ += ',';
    first_ = false;
    line_ += s;
    return *this;
  }
  std::ostream& out_;
  std::string line_;
  bool first_ = true;
};

void head(std::ostream& out, std::initializer_list<const char*> before, std::initializer_list<const char*> after,
          bool books) {
  out << kBom;
  Line line(out);
  for (const char* name : before) line.text(name);
  if (books)
    for (const char* key : kBooks) line.text(key);
  for (const char* name : after) line.text(name);
}

const json::object& of(const std::map<std::string, const json::object*>& by_name, const std::string& name) {
  static const json::object none;
  const auto it = by_name.find(name);
  return it == by_name.end() ? none : *it->second;
}

std::map<std::string, const json::object*> evidence_by_account(const json::object& report) {
  std::map<std::string, const json::object*> out;
  for (const auto& a : list(part(report, "evidence"), "accounts")) out[word(a.as_object(), "account")] = &a.as_object();
  return out;
}

}  // namespace

std::string csv_cell(std::string_view text) {
  static constexpr std::string_view kFormula[] = {
      "=", "+", "-", "@", "\t", "\r", "\n", "\xEF\xBC\x9D", "\xEF\xBC\x8B", "\xEF\xBC\x8D", "\xEF\xBC\xA0"};
  std::string safe;
  for (const auto& start : kFormula)
    if (text.starts_with(start)) safe = "'";
  safe += text;
  if (safe.find_first_of(",;\"\r\n\t'") == std::string::npos && base::trim(safe).size() == safe.size()) return safe;
  std::string out = "\"";
  out.reserve(safe.size() + 2);
  for (const char c : safe) {
    if (c == '"') out += c;
    out += c;
  }
  out += '"';
  return out;
}

void accounts_csv(const json::object& report, std::ostream& out) {
  head(out, {"account", "post_office", "target_login", "skipped", "error"},
       {"source_messages", "source_sha256", "target_messages", "target_sha256"}, true);
  const auto evidence = evidence_by_account(report);
  for (const auto& v : list(report, "accounts")) {
    const auto& a = v.as_object();
    Line(out)
        .text(word(a, "account"))
        .text(word(a, "post_office"))
        .text(word(a, "target_login"))
        .text(word(a, "skipped"))
        .text(word(a, "error"))
        .books(part(a, "books"))
        .evidence(of(evidence, word(a, "account")));
  }
}

void mailboxes_csv(const json::object& report, std::ostream& out) {
  head(out, {"account", "mailbox", "target_mailbox", "not_migrated", "error"},
       {"source_messages", "source_sha256", "target_messages", "target_sha256"}, true);
  const auto evidence = evidence_by_account(report);
  for (const auto& v : list(report, "accounts")) {
    const auto& a = v.as_object();
    std::map<std::string, const json::object*> boxes;
    for (const auto& m : list(of(evidence, word(a, "account")), "mailboxes"))
      boxes[word(m.as_object(), "mailbox")] = &m.as_object();
    for (const auto& m : list(a, "mailboxes")) {
      const auto& b = m.as_object();
      Line(out)
          .text(word(a, "account"))
          .text(word(b, "mailbox"))
          .text(word(b, "target"))
          .text(word(b, "not_migrated"))
          .text(word(b, "error"))
          .books(b)
          .evidence(of(boxes, word(b, "mailbox")));
    }
  }
}

void messages_csv(const json::object& report, state::Db* ledger, std::ostream& out) {
  head(out, {"account", "mailbox", "uid", "target_uid", "octets", "date", "state", "kind", "detail"}, {}, false);
  const auto line = [&out](const std::string& account, const std::string& mailbox,
                           const std::array<std::uint64_t, 3>& numbers, const std::array<std::string, 4>& words) {
    Line l(out);
    l.text(account).text(mailbox);
    for (const auto n : numbers) l.number(n);
    for (const auto& w : words) l.text(w);
  };
  if (ledger == nullptr) {
    for (const auto& v : list(report, "messages")) {
      const auto& m = v.as_object();
      line(word(m, "account"), word(m, "mailbox"), {number(m, "uid"), number(m, "target_uid"), number(m, "octets")},
           {word(m, "date"), word(m, "state"), word(m, "kind"), word(m, "detail")});
    }
    return;
  }
  std::set<std::string> reported;
  for (const auto& a : list(report, "accounts")) reported.insert(word(a.as_object(), "account"));
  std::map<std::int64_t, std::pair<std::string, std::string>> names;  // mailbox -> account, name
  for (const auto& a : state::accounts(*ledger))
    if (const auto address = base::printable(a.address); reported.contains(address))
      for (const auto& m : state::mailboxes(*ledger, a.id)) names[m.id.value] = {address, base::printable(m.name)};
  const auto write = [&](const state::NotedMessage& n) {
    const auto it = names.find(n.mailbox.value);
    if (it == names.end()) return;
    line(it->second.first, it->second.second, {n.uid.value, n.target_uid.value, n.size},
         {n.date ? imap::format_date_time(*n.date) : std::string(), state::name_of(n.state), base::printable(n.kind),
          base::printable(n.detail)});
  };
  state::each_noted_message(*ledger, write);
  state::each_pending_message(*ledger, write);
}

void differences_csv(const json::object& report, const VerifyResult* verified, std::ostream& out) {
  head(out, {"account", "mailbox", "source_uid", "target_uid", "kind", "detail", "explained"}, {}, false);
  const auto line = [&out](const std::string& account, const std::string& mailbox, std::uint64_t source_uid,
                           std::uint64_t target_uid, const std::string& kind, const std::string& detail,
                           bool explained) {
    Line(out)
        .text(account)
        .text(mailbox)
        .number(source_uid)
        .number(target_uid)
        .text(kind)
        .text(detail)
        .text(explained ? "yes" : "no");
  };
  if (verified != nullptr) {
    for (const auto& d : verified->differences)
      line(base::printable(d.account), base::printable(d.mailbox), d.source_uid.value, d.target_uid.value,
           base::printable(d.kind), base::printable(d.detail), d.explained);
    return;
  }
  for (const auto& v : list(report, "differences")) {
    const auto& d = v.as_object();
    line(word(d, "account"), word(d, "mailbox"), number(d, "source_uid"), number(d, "target_uid"), word(d, "kind"),
         word(d, "detail"), d.at("explained").as_bool());
  }
}

}  // namespace pipeline
