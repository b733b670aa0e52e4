#include "extract/config/tree_view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/text.hpp"

namespace extract {
namespace {

constexpr std::size_t kSameName = 3;     // siblings of one name that are shown
constexpr std::size_t kChildren = 60;    // children of one node that are shown
constexpr std::size_t kMaxLines = 5000;  // in all

bool all_of(std::string_view s, bool (*test)(char)) { return !s.empty() && std::all_of(s.begin(), s.end(), test); }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool word(char c) { return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_'; }

bool domain_like(std::string_view s) {
  const auto dot = s.rfind('.');
  return dot != std::string_view::npos && dot > 0 && dot + 1 < s.size() && s.find("..") == std::string_view::npos &&
         all_of(s, [](char c) { return word(c) || c == '.'; });
}

// Only endings nobody puts on a password by chance.
bool configuration_file_name(std::string_view s) {
  static constexpr std::array<std::string_view, 4> kEndings = {".xml", ".plist", ".prefs", ".conf"};
  const auto low = base::lower(s);
  return s.size() <= 100 && all_of(s, [](char c) { return word(c) || c == '.' || c == '/' || c == ' '; }) &&
         std::any_of(kEndings.begin(), kEndings.end(),
                     [&](auto e) { return low.size() > e.size() && low.ends_with(e); });
}

// Names under which a number is no secret: Port, IMAPPort, imap_port, but not Support. Numbers of people ("ID") are not
// shown.
bool harmless_number_name(std::string_view name) {
  static constexpr std::array<std::string_view, 8> kNames = {"Port",    "Version", "Timeout",  "Quota",
                                                             "Maximum", "Minimum", "Interval", "Limit"};
  return std::any_of(kNames.begin(), kNames.end(), [&](auto n) {
    if (base::iequals(name, n) || name.ends_with(n)) return true;
    if (name.size() <= n.size()) return false;
    const char before = name[name.size() - n.size() - 1];
    return (before == '_' || before == '-') && base::iequals(name.substr(name.size() - n.size()), n);
  });
}

std::string value_of(std::string_view name, std::string_view raw) {
  const auto text = base::trim(raw);
  if (text.empty()) return raw.empty() ? "" : "<blank>";
  const auto low = base::lower(text);
  if (low == "true" || low == "false" || low == "yes" || low == "no" || text == "0" || text == "1")
    return std::string(text);
  if (all_of(text, digit)) return text.size() <= 9 && harmless_number_name(name) ? std::string(text) : "<number>";
  if (configuration_file_name(text)) return std::string(text);
  const auto at = text.rfind('@');
  if (at != std::string_view::npos && at > 0 && domain_like(text.substr(at + 1))) return "<address>";
  if (domain_like(text)) return "<domain>";
  return "<text>";
}

// Names are shown, but a property list's keys may be anything, a password included.
std::string name_of(std::string_view name) {
  const bool plain =
      name.size() <= 60 && all_of(name, [](char c) { return word(c) || c == '.' || c == ':' || c == ' '; });
  return plain ? std::string(name) : "<name>";
}

class View {
 public:
  std::string show(const Node& root) {
    node(root, 0, false);
    if (lines_ >= kMaxLines) out_ += "... cut here\n";
    return std::move(out_);
  }

 private:
  void line(std::string_view text) {
    if (lines_++ < kMaxLines) out_ += fmt::format("{}\n", text);
  }

  void node(const Node& n, std::size_t depth, bool secret) {
    if (lines_ >= kMaxLines) return;
    const bool hide = secret || looks_secret(n.name) || names_a_secret(n);
    const std::string indent(2 * depth, ' ');
    std::string text = fmt::format("{:>6}  {}{}", n.line, indent, name_of(n.name));
    for (const auto& [name, value] : n.attributes)
      text += fmt::format(" @{}={}", name_of(name), hide || looks_secret(name) ? "***" : value_of(name, value));
    const bool has_text = !base::trim(n.text).empty();
    if (n.children.empty() || has_text) {
      const auto value = hide ? (n.text.empty() ? "" : "***") : value_of(n.name, n.text);
      if (!value.empty()) text += " = " + value;
    }
    line(text);

    std::unordered_map<std::string_view, std::size_t> seen;
    std::size_t shown = 0, left_out = 0;
    for (const auto& child : n.children) {
      if (++seen[child.name] > kSameName || shown == kChildren) {
        ++left_out;
        continue;
      }
      ++shown;
      node(child, depth + 1, hide);
    }
    if (left_out) line(fmt::format("{:>6}  {}  ... {} more", "", indent, left_out));
  }

  // <setting name="password">...</setting>: the secret's name is a value.
  static bool names_a_secret(const Node& n) {
    return std::any_of(n.attributes.begin(), n.attributes.end(), [](const auto& a) { return looks_secret(a.second); });
  }

  std::string out_;
  std::size_t lines_ = 0;
};

}  // namespace

bool looks_secret(std::string_view name) {
  static constexpr std::array<std::string_view, 14> kParts = {"pass", "pwd",     "secret", "token",  "hash",
                                                              "cred", "crypt",   "kenn",   "mdp",    "apop",
                                                              "cram", "private", "digest", "license"};
  static constexpr std::array<std::string_view, 5> kEnds = {"key", "pin", "pw", "code", "serial"};
  const auto low = base::lower(name);
  return std::any_of(kParts.begin(), kParts.end(), [&](auto p) { return low.find(p) != std::string::npos; }) ||
         std::any_of(kEnds.begin(), kEnds.end(), [&](auto e) { return low.ends_with(e); });
}

std::string masked_tree(const Node& root) { return View().show(root); }

}  // namespace extract
