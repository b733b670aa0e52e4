// Small text helpers: what is shown to people, and what people wrote.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace base {

std::string lower(std::string_view s);  // ASCII only
std::string upper(std::string_view s);  // ASCII only
bool iequals(std::string_view a, std::string_view b);
std::string_view trim(std::string_view s);
std::vector<std::string> split(std::string_view s, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
bool valid_utf8(std::string_view s);

// For terminals and logs: control characters, DEL and octets that are not UTF-8 become \xNN (S22).
std::string printable(std::string_view s);
// For HTML, between tags and in quoted attributes: markup is escaped; what printable() shows, and characters that turn
// or hide text (bidirectional controls, zero width, C1), become visible.
std::string html(std::string_view s);
// The text with "***" wherever the secret stands in it (S23).
std::string masked(std::string text, std::string_view secret);
// "18.4 MiB"; 1 KiB = 1024 octets.
std::string human_octets(std::uint64_t octets);
// "1,234,567".
std::string human_count(std::uint64_t n);
// "1 h 04 min", "3 min 20 s", "4.2 s".
std::string human_duration(std::chrono::milliseconds d);
// How long a server asks to be left alone, in whatever it said: "Suggested Backoff Time: 299961 milliseconds"
// (Exchange), "try again in 5 minutes". Nothing: it does not say. At most an hour: nobody may stop us for ever (F18,
// F25).
std::optional<std::chrono::milliseconds> stated_pause(std::string_view text);
// Columns wide enough for their longest cell; `right` lists the columns aligned to the right. Widths as a terminal
// shows them.
std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<std::size_t>& right);
// "1 message", "2 messages".
std::string plural(std::uint64_t n, std::string_view one, std::string_view many = {});

// Shell pattern of *, ? and literal characters against the whole text, without regard to ASCII case.
bool glob_match(std::string_view pattern, std::string_view text);

std::string base64_encode(std::string_view octets);
// false when the text is not base64.
bool base64_decode(std::string_view text, std::string& octets);
std::string hex(std::string_view octets);

}  // namespace base
