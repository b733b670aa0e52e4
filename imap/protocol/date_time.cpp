#include "imap/protocol/date_time.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/text.hpp"

namespace imap {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {"jan", "feb", "mar", "apr", "may", "jun",
                                                      "jul", "aug", "sep", "oct", "nov", "dec"};

std::optional<int> number(std::string_view s) {
  if (s.empty() || s.size() > 4) return std::nullopt;
  int v = 0;
  for (const char c : s) {
    if (c < '0' || c > '9') return std::nullopt;
    v = v * 10 + (c - '0');
  }
  return v;
}

std::optional<unsigned> month(std::string_view s) {
  const std::string m = base::lower(s.substr(0, 3));
  for (unsigned i = 0; i < kMonths.size(); ++i)
    if (m == kMonths[i]) return i + 1;
  return std::nullopt;
}

std::optional<int> zone(std::string_view s) {
  if (s.size() != 5 || (s[0] != '+' && s[0] != '-')) return std::nullopt;
  const auto h = number(s.substr(1, 2)), m = number(s.substr(3, 2));
  if (!h || !m || *m > 59) return std::nullopt;
  const int z = (*h * 60 + *m) * (s[0] == '-' ? -1 : 1);
  if (z < -720 || z > 840) return std::nullopt;
  return z;
}

std::optional<DateTime> make(int y, unsigned mo, int d, std::string_view hms, int z) {
  const auto parts = base::split(hms, ':');
  if (parts.size() < 2 || parts.size() > 3) return std::nullopt;
  const auto h = number(parts[0]), mi = number(parts[1]);
  const auto s = parts.size() == 3 ? number(parts[2]) : 0;
  if (!h || !mi || !s || *h > 23 || *mi > 59 || *s > 59) return std::nullopt;
  const std::chrono::year_month_day day{std::chrono::year{y}, std::chrono::month{mo},
                                        std::chrono::day{static_cast<unsigned>(d)}};
  if (!day.ok()) return std::nullopt;
  const auto days = std::chrono::sys_days(day).time_since_epoch().count();
  return DateTime{static_cast<std::int64_t>(days) * 86400 + *h * 3600 + *mi * 60 + *s - z * 60, z};
}

}  // namespace

std::optional<DateTime> parse_date_time(std::string_view text) {
  const auto parts = base::split(base::trim(text), ' ');
  if (parts.size() != 3) return std::nullopt;
  const auto dmy = base::split(parts[0], '-');
  if (dmy.size() != 3 || dmy[1].size() != 3) return std::nullopt;
  const auto d = number(dmy[0]), y = number(dmy[2]);
  const auto mo = month(dmy[1]);
  const auto z = zone(parts[2]);
  if (!d || !mo || !y || !z) return std::nullopt;
  return make(*y, *mo, *d, parts[1], *z);
}

std::string format_date_time(const DateTime& d) {
  const std::int64_t local = d.unix_seconds + d.zone_minutes * 60;
  const auto days = std::chrono::floor<std::chrono::days>(std::chrono::sys_seconds(std::chrono::seconds(local)));
  const std::chrono::year_month_day ymd(days);
  const auto s = static_cast<int>(local - days.time_since_epoch().count() * 86400);
  std::string m(kMonths[static_cast<unsigned>(ymd.month()) - 1]);
  m[0] = static_cast<char>(m[0] - 32);
  const int z = d.zone_minutes < 0 ? -d.zone_minutes : d.zone_minutes;
  return fmt::format("{:2}-{}-{:04} {:02}:{:02}:{:02} {}{:02}{:02}", static_cast<unsigned>(ymd.day()), m,
                     static_cast<int>(ymd.year()), s / 3600, s / 60 % 60, s % 60, d.zone_minutes < 0 ? '-' : '+',
                     z / 60, z % 60);
}

std::optional<DateTime> parse_rfc5322_date(std::string_view text) {
  std::vector<std::string> words;
  int comment = 0;
  std::string word;
  for (const char c : std::string(text) + " ") {
    if (c == '(') ++comment;
    if (comment == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n' && c != ',') word += c;
    else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
    if (c == ')' && comment > 0) --comment;
  }
  if (!words.empty() && !number(words[0])) words.erase(words.begin());  // day of the week
  if (words.size() < 4) return std::nullopt;
  const auto d = number(words[0]), y = number(words[2]);
  const auto mo = month(words[1]);
  if (!d || !mo || !y) return std::nullopt;
  int year = *y;
  if (words[2].size() == 2) year += year < 50 ? 2000 : 1900;  // RFC 5322 §4.3
  int z = 0;
  if (words.size() > 4) {
    static constexpr std::array<std::pair<std::string_view, int>, 11> kZones = {{{"ut", 0},
                                                                                 {"gmt", 0},
                                                                                 {"z", 0},
                                                                                 {"est", -300},
                                                                                 {"edt", -240},
                                                                                 {"cst", -360},
                                                                                 {"cdt", -300},
                                                                                 {"mst", -420},
                                                                                 {"mdt", -360},
                                                                                 {"pst", -480},
                                                                                 {"pdt", -420}}};
    if (const auto offset = zone(words[4])) z = *offset;
    else if (words[4].size() == 5 && (words[4][0] == '+' || words[4][0] == '-')) return std::nullopt;
    else
      for (const auto& [name, minutes] : kZones)
        if (base::iequals(words[4], name)) z = minutes;
  }
  return make(year, *mo, *d, words[3], z);
}

bool storable(const DateTime& d, std::int64_t now) {
  // F9: a machine whose clock lost its battery thinks it is 1970, and all mail would come from the future.
  constexpr std::int64_t kAtLeast = 1'767'225'600;  // 2026-01-01
  return d.unix_seconds > 0 && d.unix_seconds <= std::max(now, kAtLeast) + 2 * 86400;
}

}  // namespace imap
