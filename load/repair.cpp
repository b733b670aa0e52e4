#include "load/repair.hpp"

#include "base/text.hpp"

namespace load {

const char* describe(Rule r) {
  switch (r) {
    case Rule::drop_keywords:
      return "keywords left out";
    case Rule::utc_date:
      return "date sent in UTC";
    case Rule::replace_date:
      return "another date sent";
    case Rule::drop_date:
      return "no date sent";
    case Rule::drop_mbox_line:
      return "mbox \"From \" line removed";
    case Rule::crlf:
      return "bare line ends made CRLF";
    case Rule::replace_nul:
      return "NUL octets removed at the end or replaced by 0x80";
  }
  return "";
}

std::optional<std::string> repaired(Rule rule, std::string_view octets) {
  switch (rule) {
    case Rule::drop_keywords:
    case Rule::utc_date:
    case Rule::replace_date:
    case Rule::drop_date:
      return std::nullopt;
    case Rule::drop_mbox_line: {
      if (!octets.starts_with("From ")) return std::nullopt;
      const auto lf = octets.find('\n');
      if (lf == std::string_view::npos || lf + 1 == octets.size()) return std::nullopt;
      return std::string(octets.substr(lf + 1));
    }
    case Rule::crlf: {
      std::string out;
      out.reserve(octets.size() + octets.size() / 32);
      for (std::size_t i = 0; i < octets.size(); ++i) {
        const char c = octets[i];
        if (c == '\r' && i + 1 < octets.size() && octets[i + 1] == '\n') {
          out += "\r\n";
          ++i;
        } else if (c == '\r' || c == '\n') {
          out += "\r\n";
        } else {
          out += c;
        }
      }
      if (out == octets) return std::nullopt;
      return out;
    }
    case Rule::replace_nul: {
      if (octets.find('\0') == std::string_view::npos) return std::nullopt;
      while (!octets.empty() && octets.back() == '\0') octets.remove_suffix(1);
      std::string out(octets);
      for (char& c : out)
        if (c == '\0') c = '\x80';
      if (out.empty()) return std::nullopt;
      return out;
    }
  }
  return std::nullopt;
}

std::set<Rule> kinds_of(std::string_view octets) {
  std::set<Rule> out;
  for (const Rule r : kBodyRules)
    if (repaired(r, octets)) out.insert(r);
  return out;
}

std::vector<Form> repaired_forms(std::string_view octets) {
  std::vector<Form> out;
  for (const Rule r : kBodyRules)
    if (auto after = repaired(r, octets)) {
      out.push_back({r, std::move(*after)});
      octets = out.back().octets;
    }
  return out;
}

Refusal classify(const imap::StatusLine& answer) {
  const auto& code = answer.code.name;
  const std::string text = base::lower(answer.text);
  const auto says = [&](std::string_view what) { return text.find(what) != std::string::npos; };
  if (code == "OVERQUOTA" || (code.empty() && says("quota"))) return Refusal::over_quota;
  if (code == "TRYCREATE" || code == "NONEXISTENT") return Refusal::no_mailbox;
  if (code == "NOPERM" || code == "READ-ONLY" || (code.empty() && says("read-only"))) return Refusal::not_permitted;
  if (imap::is_busy_code(code) || base::stated_pause(answer.text) || says("suggested backoff") || says("try again"))
    return Refusal::busy;
  if (answer.status == imap::Status::bad || says("keyword") || says("flag") || says(" date") || says("date-time"))
    return Refusal::flags_or_date;
  return Refusal::message;
}

std::vector<Rule> ladder(const imap::StatusLine& answer, std::string_view octets, bool has_keywords, bool has_date) {
  std::vector<Rule> out;
  if (classify(answer) == Refusal::flags_or_date) {
    const std::string text = base::lower(answer.text);
    const bool date_first = text.find("date") != std::string::npos;
    const auto dates = [&] {
      for (const Rule r : {Rule::utc_date, Rule::replace_date, Rule::drop_date}) out.push_back(r);
    };
    if (has_date && date_first) dates();
    if (has_keywords) out.push_back(Rule::drop_keywords);
    if (has_date && !date_first) dates();
  }
  for (const Rule r : kBodyRules)
    if (repaired(r, octets)) out.push_back(r);
  return out;
}

std::string header_field(std::string_view octets, std::string_view name) {
  octets = octets.substr(0, kHeaderLimit);
  std::string value;
  bool inside = false;
  while (!octets.empty()) {
    const auto lf = octets.find('\n');
    std::string_view line = octets.substr(0, lf);
    octets.remove_prefix(lf == std::string_view::npos ? octets.size() : lf + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) break;
    if (inside) {
      if (line.front() != ' ' && line.front() != '\t') return value;
      value += line;
    } else if (line.size() > name.size() && line[name.size()] == ':' &&
               base::iequals(line.substr(0, name.size()), name)) {
      value = std::string(base::trim(line.substr(name.size() + 1)));
      inside = true;
    }
  }
  return value;
}

}  // namespace load
