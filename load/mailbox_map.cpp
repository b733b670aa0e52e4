#include "load/mailbox_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.hpp"
#include "imap/protocol/mailbox_name.hpp"

namespace load {
namespace {

bool hex_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); }

constexpr std::string_view kOnWindows = "\\:*?\"<>|";

// Blanks that people do not see: ASCII blank, U+00A0, U+2007.
std::size_t blank_at_start(std::string_view s) {
  for (const std::string_view blank : {" ", "\xC2\xA0", "\xE2\x80\x87"})
    if (s.starts_with(blank)) return blank.size();
  return 0;
}
std::size_t blank_at_end(std::string_view s) {
  for (const std::string_view blank : {" ", "\xC2\xA0", "\xE2\x80\x87"})
    if (s.ends_with(blank)) return blank.size();
  return 0;
}

std::string escaped(std::string_view part, const std::string& delimiter, const NameRules& rules, std::string& why) {
  std::size_t unsafe_start = 0, unsafe_end = part.size();
  if (rules.kerio) {
    while (const auto n = blank_at_start(part.substr(unsafe_start))) unsafe_start += n;
    if (unsafe_start == 0 && (part.starts_with('#') || part.starts_with('~'))) unsafe_start = 1;
    while (const auto n = unsafe_end > unsafe_start ? blank_at_end(part.substr(0, unsafe_end)) : 0) unsafe_end -= n;
    if (rules.windows && unsafe_end == part.size() && part.ends_with('.')) --unsafe_end;
  }
  std::string out;
  for (std::size_t i = 0; i < part.size(); ++i) {
    const char c = part[i];
    const auto u = static_cast<unsigned char>(c);
    const bool ambiguous = c == '=' && i + 2 < part.size() && hex_digit(part[i + 1]) && hex_digit(part[i + 2]);
    if (u < 0x20 || u == 0x7F || delimiter.find(c) != std::string::npos || rules.escape.find(c) != std::string::npos ||
        (rules.windows && kOnWindows.find(c) != std::string_view::npos) || ambiguous || i < unsafe_start ||
        i >= unsafe_end) {
      out += fmt::format("={:02X}", u);
      why = fmt::format("'{}' is written as ={:02X}", base::printable(std::string_view(&c, 1)), u);
    } else {
      out += c;
    }
  }
  return out;
}

constexpr const char* kSpecialUse[] = {"\\sent", "\\drafts", "\\trash", "\\junk", "\\archive"};

// What mail programs of those years called them, in the order in which they are preferred.
struct UsualName {
  const char* name;
  const char* use;
};
constexpr UsualName kUsualNames[] = {
    {"sent items", "\\sent"},        {"sent", "\\sent"},        {"sent messages", "\\sent"},  {"sent mail", "\\sent"},
    {"drafts", "\\drafts"},          {"draft", "\\drafts"},     {"deleted items", "\\trash"}, {"trash", "\\trash"},
    {"deleted messages", "\\trash"}, {"junk e-mail", "\\junk"}, {"junk", "\\junk"},           {"spam", "\\junk"},
    {"junk mail", "\\junk"}};

// Folders of Kerio Connect that no mail folder may be named as; IMAP does not show them all.
constexpr const char* kOtherFolders[] = {"calendar", "contacts", "tasks", "notes", "journal", "public folders"};

bool is_other_folder(const std::string& name) {
  return std::any_of(std::begin(kOtherFolders), std::end(kOtherFolders),
                     [&](const char* other) { return base::iequals(name, other); });
}

std::string without_prefix(const std::string& name, const std::string& prefix) {
  return !prefix.empty() && name.size() > prefix.size() && base::iequals(name.substr(0, prefix.size()), prefix)
             ? name.substr(prefix.size())
             : name;
}

// Which mailbox is for what: as the source says, else, where the rules allow it, by its name. At most one for each use.
std::map<std::string, std::int64_t> uses(const std::vector<state::MailboxRow>& source, const std::string& prefix,
                                         const NameRules& rules) {
  std::map<std::string, std::int64_t> out;
  for (const auto* use : kSpecialUse)
    for (const auto& m : source)
      if (m.present && m.excluded.empty() && m.attributes.find(use) != std::string::npos) out.emplace(use, m.id.value);
  if (!rules.kerio) return out;
  for (const auto& usual : kUsualNames)
    for (const auto& m : source)
      if (m.present && m.excluded.empty() && base::iequals(without_prefix(m.name, prefix), usual.name))
        out.emplace(usual.use, m.id.value);
  return out;
}

}  // namespace

TargetView fresh_kerio_account() {
  TargetView view;
  const auto add = [&](const char* name, std::vector<std::string> attributes) {
    view.mailboxes.push_back({name, name, std::move(attributes), false, true});
  };
  add("INBOX", {"\\inbox"});
  add("Deleted Items", {"\\trash"});
  add("Drafts", {"\\drafts"});
  add("Junk E-mail", {"\\junk"});
  add("Sent Items", {"\\sent"});
  return view;
}

std::vector<MappedMailbox> map_mailboxes(const std::vector<state::MailboxRow>& source, const std::string& source_prefix,
                                         const TargetView& target, const NameRules& rules) {
  // Special-use of the target's own, by attribute (RFC 6154): only these are mapped, names are not guessed at.
  std::map<std::string, const TargetView::Existing*> special;
  std::map<std::string, std::string> existing;  // key: as the target compares names
  const auto key = [&](const std::string& name) { return rules.kerio ? base::lower(name) : name; };
  for (const auto& e : target.mailboxes) {
    existing.emplace(key(e.name), e.name);
    for (const auto* use : kSpecialUse)
      if (e.selectable && std::find(e.attributes.begin(), e.attributes.end(), use) != e.attributes.end())
        special.emplace(use, &e);
  }
  std::vector<MappedMailbox> out;
  // Taken, without regard to case: two names that differ only in case are one on many servers.
  std::map<std::string, std::string> taken;
  // First those with a recorded target (an earlier plan: never changed), then the rest in order.
  for (const auto& m : source)
    if (!m.target_wire.empty() && m.met()) taken.emplace(base::lower(m.target_name), m.name);

  const auto use_of = uses(source, source_prefix, rules);
  const auto place = [&](const state::MailboxRow& m) {
    MappedMailbox to{m.id, m.name, {}, {}, false, {}};
    if (!m.target_wire.empty() && m.met()) {
      to.wire = m.target_wire;
      to.name = m.target_name;
      to.exists = existing.contains(key(m.target_name));
      return to;
    }
    std::string name = m.name;
    const std::string d = m.delimiter;
    if (!base::iequals(name, "INBOX")) {
      name = without_prefix(name, source_prefix);
      std::vector<std::string> parts = d.empty() ? std::vector<std::string>{name} : base::split(name, d.front());
      const bool below_inbox = parts.size() > 1 && base::iequals(parts.front(), "INBOX");
      if (below_inbox) parts.front() = "INBOX";
      for (auto& p : parts) p = escaped(p, target.delimiter, rules, to.why);
      if (rules.kerio && is_other_folder(parts.front())) {
        to.why = fmt::format("\"{}\" is a folder of another kind there", parts.front());
        parts.front() += " (mail)";
      }
      // Below the target's INBOX only if its personal namespace is not there anyway.
      name = base::join(parts, target.delimiter.empty() ? "." : target.delimiter);
      if (!(below_inbox && target.prefix.empty())) name = target.prefix + name;
      for (const auto* use : kSpecialUse) {
        const auto s = special.find(use);
        const auto ours = use_of.find(use);
        if (s == special.end() || ours == use_of.end() || ours->second != m.id.value) continue;
        if (s->second->name != name && !taken.contains(base::lower(s->second->name))) {
          name = s->second->name;
          to.why = fmt::format("the target's own mailbox for {}", use);
        }
      }
    } else {
      name = "INBOX";
    }
    std::string unique = name;
    for (int n = 2; taken.contains(base::lower(unique)); ++n) {
      unique = fmt::format("{} ({})", name, n);
      to.why = fmt::format("\"{}\" is taken by \"{}\"", name, taken[base::lower(name)]);
    }
    taken.emplace(base::lower(unique), m.name);
    const auto there = existing.find(key(unique));
    to.exists = there != existing.end();
    to.name = to.exists ? there->second : unique;
    to.wire = imap::to_mutf7(to.name);
    return to;
  };
  // INBOX first, then those with a use: no other may take their names.
  const auto rank = [&](const state::MailboxRow& m) {
    if (base::iequals(m.name, "INBOX")) return 0;
    return std::any_of(use_of.begin(), use_of.end(), [&](const auto& u) { return u.second == m.id.value; }) ? 1 : 2;
  };
  for (const int now : {0, 1, 2})
    for (const auto& m : source)
      if (m.excluded.empty() && m.present && rank(m) == now) out.push_back(place(m));
  return out;
}

}  // namespace load
