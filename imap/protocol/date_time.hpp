// INTERNALDATE (RFC 3501 §9 date-time): an instant, plus the zone it was written in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"

namespace imap {

using base::DateTime;

// Nothing if it is no date: wrong calendar day, zone or hour (F36: servers take such dates with OK and store another).
std::optional<DateTime> parse_date_time(std::string_view text);  // " 1-Feb-2020 03:04:05 +0100"
std::string format_date_time(const DateTime& d);                 // day always two characters, as the grammar wants
// The date of a header field such as "Fri, 1 Feb 2020 03:04:05 +0100 (CET)" (RFC 5322 §3.3, obsolete zones included).
std::optional<DateTime> parse_rfc5322_date(std::string_view text);
// Servers store dates outside this range wrongly: from 1970-01-01 00:00:01 to two days from now.
bool storable(const DateTime& d, std::int64_t now);

}  // namespace imap
