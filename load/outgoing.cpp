#include "load/outgoing.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "imap/protocol/date_time.hpp"

namespace load {

namespace {

bool is_system(const std::string& flag) { return flag.starts_with('\\'); }

std::string to_text(const std::optional<base::DateTime>& date, const char* none) {
  return date ? imap::format_date_time(*date) : std::string(none);
}

}  // namespace

SendableFlags sendable(const std::string& flags, const imap::Opened& mailbox, DeletedPolicy deleted) {
  SendableFlags out;
  for (auto& f : state::flag_names(flags)) {
    const bool unmarked = base::iequals(f, "\\Deleted") && deleted == DeletedPolicy::unmark;
    const bool keep = imap::is_flag(f) && !unmarked && mailbox.keeps(f);
    (keep ? out.kept : out.left_out).push_back(f);
  }
  return out;
}

Outgoing::Outgoing(state::MessageRow message, SendableFlags sent, std::string_view header, std::int64_t now)
    : row(std::move(message)), flags(std::move(sent.kept)), date(row.date) {
  const auto storable = [&] { return date && imap::storable(*date, now); };
  if (!storable()) {
    date = imap::parse_rfc5322_date(header_field(header, "Date"));
    std::string used = "the Date: header";
    if (!storable()) {
      const std::string received = header_field(header, "Received");
      const auto semicolon = received.rfind(';');
      date = semicolon == std::string::npos ? std::nullopt : imap::parse_rfc5322_date(received.substr(semicolon + 1));
      used = "the first Received: header";
    }
    if (!storable()) {
      date.reset();
      used = "none, so that the target sets its own";
    }
    notes.push_back({"date", fmt::format("INTERNALDATE at the source: {}; sent: {}",
                                         to_text(row.date, "none that is a date"), used)});
  }
  if (!sent.left_out.empty()) notes.push_back({"flags", "not kept: " + base::join(sent.left_out, " ")});
}

void Outgoing::repair_as_before() {
  if (row.attempts == 0 || !row.e1 || *row.e1 == print.e1) return;
  std::vector<Rule> rules;
  for (const auto& form : repaired_forms(octets)) {
    rules.push_back(form.rule);
    if (base::fingerprint(form.octets).e1 != *row.e1) continue;
    for (const auto rule : rules) apply(rule, octets);
    return;
  }
}

bool Outgoing::next_rung(const imap::StatusLine& refusal, std::string_view header, std::string_view body) {
  if (!rules_) {
    const bool keywords = std::any_of(flags.begin(), flags.end(), [](const auto& f) { return !is_system(f); });
    rules_ = ladder(refusal, body, keywords, date.has_value());
  }
  while (!rules_->empty()) {
    const Rule rule = rules_->front();
    rules_->erase(rules_->begin());
    if (apply(rule, header)) return true;
  }
  return false;
}

// false: the rule has nothing to do on this message.
bool Outgoing::apply(Rule rule, std::string_view header) {
  const auto had = date;
  std::string left_out;
  switch (rule) {
    case Rule::drop_keywords:
      for (const auto& f : flags)
        if (!is_system(f)) left_out += (left_out.empty() ? "" : " ") + f;
      if (left_out.empty()) return false;
      std::erase_if(flags, [](const auto& f) { return !is_system(f); });
      notes.push_back({"flags", "not kept: " + left_out});
      break;
    case Rule::utc_date:
      if (!had || had->zone_minutes == 0) return false;
      date->zone_minutes = 0;
      break;  // the same instant: no note
    case Rule::replace_date:
      date = imap::parse_rfc5322_date(header_field(header, "Date"));
      if (!date || (had && date->same_instant(*had))) {
        date = had;
        return false;
      }
      break;
    case Rule::drop_date:
      if (!had) return false;
      date.reset();
      break;
    default: {
      auto after = repaired(rule, octets);
      if (!after) return false;
      octets = std::move(*after);
      print = base::fingerprint(octets);
    }
  }
  if (rule == Rule::replace_date || rule == Rule::drop_date) {
    std::erase_if(notes, [](const auto& n) { return n.detail.starts_with(state::kRefusedDate); });
    notes.push_back({"date", fmt::format("{} {}; sent: {}", state::kRefusedDate, to_text(row.date, "none"),
                                         to_text(date, "none"))});
  }
  applied_.push_back(rule);
  return true;
}

state::Intent Outgoing::intent(base::UidValidity target_validity, base::Uid u0) const {
  std::vector<std::string> repairs;
  for (const auto r : applied_) repairs.emplace_back(describe(r));
  return {row.id, target_validity,           u0,   octets.size(), print.e1, print.e0, print.e1x,
          date,   base::join(repairs, "; "), notes};
}

imap::AppendItem Outgoing::append_item() const { return {flags, to_text(date, ""), octets}; }

}  // namespace load
