#include "base/text.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace base {
namespace {

char lower_char(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
char upper_char(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }

// Length of the UTF-8 sequence at the start of s, 0 if it is none.
std::size_t utf8_length(std::string_view s) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const auto tail = [&](std::size_t i) { return i < s.size() && (at(i) & 0xC0) == 0x80; };
  const unsigned char c = at(0);
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF) return tail(1) ? 2 : 0;
  if (c >= 0xE0 && c <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    if (c == 0xE0 && at(1) < 0xA0) return 0;
    if (c == 0xED && at(1) >= 0xA0) return 0;
    return 3;
  }
  if (c >= 0xF0 && c <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (c == 0xF0 && at(1) < 0x90) return 0;
    if (c == 0xF4 && at(1) >= 0x90) return 0;
    return 4;
  }
  return 0;
}

// Of one whole sequence; of an octet that is none, that octet.
std::uint32_t code_point(std::string_view sequence) {
  std::uint32_t c = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() > 1) c &= 0xFFu >> (sequence.size() + 1);
  for (std::size_t i = 1; i < sequence.size(); ++i) c = (c << 6) | (static_cast<unsigned char>(sequence[i]) & 0x3Fu);
  return c;
}

// Columns that a terminal gives to the text: two for East Asian wide characters and emoji, none for combining marks.
std::size_t width(std::string_view s) {
  struct Range {
    std::uint32_t first, last;
  };
  static constexpr Range kWide[] = {{0x1100, 0x115F}, {0x2E80, 0xA4CF}, {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
                                    {0xFE30, 0xFE6F}, {0xFF00, 0xFF60}, {0x1F300, 0x1FAFF}, {0x20000, 0x3FFFD}};
  std::size_t n = 0;
  while (!s.empty()) {
    const std::size_t length = std::max<std::size_t>(1, utf8_length(s));
    const auto c = code_point(s.substr(0, length));
    s.remove_prefix(length);
    if (c >= 0x300 && c <= 0x36F) continue;
    n += 1;
    for (const auto& r : kWide) n += c >= r.first && c <= r.last;
  }
  return n;
}

}  // namespace

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(), lower_char);
  return out;
}

std::string upper(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(), upper_char);
  return out;
}

bool iequals(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower_char(x) == lower_char(y); });
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t' || s.front() == '\r' || s.front() == '\n'))
    s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r' || s.back() == '\n'))
    s.remove_suffix(1);
  return s;
}

std::vector<std::string> split(std::string_view s, char separator) {
  std::vector<std::string> out;
  for (;;) {
    const auto at = s.find(separator);
    out.emplace_back(s.substr(0, at));
    if (at == std::string_view::npos) return out;
    s.remove_prefix(at + 1);
  }
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const auto& p : parts) {
    if (&p != &parts.front()) out += separator;
    out += p;
  }
  return out;
}

bool valid_utf8(std::string_view s) {
  while (!s.empty()) {
    const auto n = utf8_length(s);
    if (n == 0) return false;
    s.remove_prefix(n);
  }
  return true;
}

std::string printable(std::string_view s) {
  std::string out;
  while (!s.empty()) {
    const auto n = utf8_length(s);
    const auto c = static_cast<unsigned char>(s[0]);
    // C1 controls (U+0080..U+009F, two octets C2 80..C2 9F) move terminals as much as ESC does.
    const bool c1 = n == 2 && c == 0xC2 && static_cast<unsigned char>(s[1]) < 0xA0;
    if (n == 0 || c < 0x20 || c == 0x7F || c1) {
      const std::size_t k = n == 0 ? 1 : n;
      for (std::size_t i = 0; i < k; ++i) out += fmt::format("\\x{:02X}", static_cast<unsigned char>(s[i]));
      s.remove_prefix(k);
    } else {
      out += s.substr(0, n);
      s.remove_prefix(n);
    }
  }
  return out;
}

std::string html(std::string_view s) {
  const std::string safe = printable(s);  // UTF-8 from here on
  std::string out;
  for (std::string_view left = safe; !left.empty();) {
    const auto n = std::max<std::size_t>(1, utf8_length(left));
    const auto character = left.substr(0, n);
    left.remove_prefix(n);
    const auto c = code_point(character);
    const bool turns =
        c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
    const bool hides = (c >= 0x80 && c <= 0x9F) || c == 0x200B || c == 0x2028 || c == 0x2029 || c == 0xFEFF;
    if (turns || hides) out += fmt::format("\\u{{{:04X}}}", c);
    else if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (c == '\'') out += "&#39;";
    else out += character;
  }
  return out;
}

std::string masked(std::string text, std::string_view secret) {
  if (secret.empty()) return text;
  for (std::size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += 3)
    text.replace(at, secret.size(), "***");
  return text;
}

std::string human_octets(std::uint64_t octets) {
  static constexpr std::array<const char*, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (octets < 1024) return fmt::format("{} B", octets);
  double v = static_cast<double>(octets) / 1024;
  std::size_t u = 0;
  while (v >= 1024 && u + 1 < kUnits.size()) {
    v /= 1024;
    ++u;
  }
  return fmt::format("{:.1f} {}", v, kUnits[u]);
}

std::string human_count(std::uint64_t n) {
  std::string s = std::to_string(n);
  for (auto i = static_cast<std::ptrdiff_t>(s.size()) - 3; i > 0; i -= 3) s.insert(static_cast<std::size_t>(i), ",");
  return s;
}

std::string human_duration(std::chrono::milliseconds d) {
  const auto s = d.count() / 1000;
  if (s < 10) return fmt::format("{:.1f} s", static_cast<double>(d.count()) / 1000);
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
}

std::optional<std::chrono::milliseconds> stated_pause(std::string_view text) {
  using namespace std::chrono_literals;
  const std::string said = lower(text);
  for (const std::string_view before :
       {"backoff time:", "try again in ", "try again after ", "retry in ", "retry after "}) {
    const auto found = said.find(before);
    if (found == std::string::npos) continue;
    std::string_view rest = trim(std::string_view(said).substr(found + before.size()));
    std::int64_t n = 0;
    std::size_t digits = 0;
    for (; digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9'; ++digits)
      n = std::min<std::int64_t>(n * 10 + (rest[digits] - '0'), 1'000'000'000);
    if (digits == 0) continue;
    rest = trim(rest.substr(digits));
    std::chrono::milliseconds unit = 0ms;
    if (rest.starts_with("ms") || rest.starts_with("milli")) unit = 1ms;
    else if (rest.starts_with("s")) unit = 1s;
    else if (rest.starts_with("min")) unit = 1min;
    else if (rest.starts_with("hour")) unit = 1h;
    if (unit != 0ms && n > 0) return std::min<std::chrono::milliseconds>(n * unit, 1h);
  }
  return std::nullopt;
}

std::string table(const std::vector<std::vector<std::string>>& rows, const std::vector<std::size_t>& right) {
  std::vector<std::size_t> w;
  for (const auto& r : rows) {
    w.resize(std::max(w.size(), r.size()));
    for (std::size_t i = 0; i < r.size(); ++i) w[i] = std::max(w[i], width(r[i]));
  }
  std::string out;
  for (const auto& r : rows) {
    std::string line;
    for (std::size_t i = 0; i < r.size(); ++i) {
      const std::string pad(w[i] - width(r[i]), ' ');
      const bool to_right = std::find(right.begin(), right.end(), i) != right.end();
      line += i ? "  " : "";
      line += to_right ? pad + r[i] : r[i] + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string plural(std::uint64_t n, std::string_view one, std::string_view many) {
  if (n == 1) return fmt::format("1 {}", one);
  return many.empty() ? fmt::format("{} {}s", human_count(n), one) : fmt::format("{} {}", human_count(n), many);
}

bool glob_match(std::string_view pattern, std::string_view text) {
  // Linear with one backtrack point: the last * seen.
  std::size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || lower_char(pattern[p]) == lower_char(text[t]))) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string base64_encode(std::string_view octets) {
  std::string out((octets.size() + 2) / 3 * 4 + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(octets.data()), static_cast<int>(octets.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

bool base64_decode(std::string_view text, std::string& octets) {
  std::string clean;
  for (const char c : text)
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') clean += c;
  if (clean.size() % 4 != 0) return false;
  octets.assign(clean.size() / 4 * 3, '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(octets.data()),
                                reinterpret_cast<const unsigned char*>(clean.data()), static_cast<int>(clean.size()));
  if (n < 0) return false;
  std::size_t pad = 0;
  while (pad < 2 && pad < clean.size() && clean[clean.size() - 1 - pad] == '=') ++pad;
  octets.resize(static_cast<std::size_t>(n) - pad);
  return true;
}

std::string hex(std::string_view octets) {
  std::string out;
  for (const char c : octets) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

}  // namespace base
