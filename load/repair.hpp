// Minimal repairs for a message that the target refused as it is: verbatim first, then one more rule at a time, each on
// record. What no rule helps is quarantined, never altered further.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "imap/protocol/responses.hpp"

namespace load {

enum class Rule : std::uint8_t {
  drop_keywords,   // flags that are not system flags
  utc_date,        // the same instant, written with +0000
  replace_date,    // the Date: header instead of INTERNALDATE
  drop_date,       // none: the target sets its own
  drop_mbox_line,  // a first line "From ..." of an mbox file
  crlf,            // bare CR and bare LF become CRLF
  replace_nul,     // trailing NULs go, others become 0x80
};
const char* describe(Rule r);
inline constexpr Rule kBodyRules[] = {Rule::drop_mbox_line, Rule::crlf, Rule::replace_nul};  // as they are tried

// The kinds of content that servers are known to refuse (F30-F35), by the rules that would mend them.
std::set<Rule> kinds_of(std::string_view octets);

// The body as the rule leaves it; nothing if the rule has nothing to do on it (rules for flags and dates never do).
std::optional<std::string> repaired(Rule rule, std::string_view octets);

// What the rules for bodies make of this one, each upon what the one before left; those with nothing to do are not
// there.
struct Form {
  Rule rule;
  std::string octets;
};
std::vector<Form> repaired_forms(std::string_view octets);

// What the target's answer means for the message or the account (RFC 5530).
enum class Refusal : std::uint8_t { message, flags_or_date, over_quota, no_mailbox, not_permitted, busy };
Refusal classify(const imap::StatusLine& answer);
// It says something of this message; else another one would fare no better.
constexpr bool is_of_the_message(Refusal r) { return r == Refusal::message || r == Refusal::flags_or_date; }

// The rules to try, in order, for this body, these flags and this answer.
std::vector<Rule> ladder(const imap::StatusLine& answer, std::string_view octets, bool has_keywords, bool has_date);

// Header field by name, unfolded; empty if it is not there. Looks at the first kHeaderLimit octets only.
constexpr std::size_t kHeaderLimit = 256 * 1024;
std::string header_field(std::string_view octets, std::string_view name);

}  // namespace load
