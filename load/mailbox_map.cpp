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

std::string escaped(std::string_view part, const std::string& delimiter, const std::string& escape, std::string& why) {
  std::string out;
  for (std::size_t i = 0; i < part.size(); ++i) {
    const char c = part[i];
    const auto u = static_cast<unsigned char>(c);
    const bool ambiguous = c == '=' && i + 2 < part.size() && hex_digit(part[i + 1]) && hex_digit(part[i + 2]);
    if (u < 0x20 || u == 0x7F || delimiter.find(c) != std::string::npos || escape.find(c) != std::string::npos ||
        ambiguous) {
      out += fmt::format("={:02X}", u);
      why = fmt::format("'{}' is written as ={:02X}", base::printable(std::string_view(&c, 1)), u);
    } else {
      out += c;
    }
  }
  return out;
}

constexpr const char* kSpecialUse[] = {"\\sent", "\\drafts", "\\trash", "\\junk", "\\archive"};

}  // namespace

std::vector<MappedMailbox> map_mailboxes(const std::vector<state::MailboxRow>& source, const std::string& source_prefix,
                                         const TargetView& target, const std::string& escape) {
  // Special-use of the target's own, by attribute (RFC 6154): only these are mapped, names are not guessed at.
  std::map<std::string, const TargetView::Existing*> special;
  std::set<std::string> existing;
  for (const auto& e : target.mailboxes) {
    existing.insert(e.name);
    for (const auto* use : kSpecialUse)
      if (e.selectable && std::find(e.attributes.begin(), e.attributes.end(), use) != e.attributes.end())
        special.emplace(use, &e);
  }
  std::vector<MappedMailbox> out;
  // Taken, without regard to case: two names that differ only in case are one on many servers.
  std::map<std::string, std::string> taken;
  // First those with a recorded target (an earlier plan: never changed), then the rest in order.
  for (const auto& m : source)
    if (!m.target_wire.empty() && m.target_validity) taken.emplace(base::lower(m.target_name), m.name);

  const auto place = [&](const state::MailboxRow& m) {
    MappedMailbox to{m.id, m.name, {}, {}, false, {}};
    if (!m.target_wire.empty() && m.target_validity) {
      to.wire = m.target_wire;
      to.name = m.target_name;
      to.exists = existing.contains(m.target_name);
      return to;
    }
    std::string name = m.name;
    const std::string d = m.delimiter;
    if (!base::iequals(name, "INBOX")) {
      if (!source_prefix.empty() && name.size() > source_prefix.size() &&
          base::iequals(name.substr(0, source_prefix.size()), source_prefix))
        name = name.substr(source_prefix.size());
      std::vector<std::string> parts = d.empty() ? std::vector<std::string>{name} : base::split(name, d.front());
      const bool below_inbox = parts.size() > 1 && base::iequals(parts.front(), "INBOX");
      if (below_inbox) parts.front() = "INBOX";
      for (auto& p : parts) p = escaped(p, target.delimiter, escape, to.why);
      // Below the target's INBOX only if its personal namespace is not there anyway.
      name = base::join(parts, target.delimiter.empty() ? "." : target.delimiter);
      if (!(below_inbox && target.prefix.empty())) name = target.prefix + name;
      for (const auto* use : kSpecialUse) {
        const auto s = special.find(use);
        if (s == special.end() || m.attributes.find(use) == std::string::npos) continue;
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
    to.name = unique;
    to.wire = imap::to_mutf7(unique);
    to.exists = existing.contains(unique);
    return to;
  };
  // INBOX first: no other may take its name.
  for (const bool inbox : {true, false})
    for (const auto& m : source)
      if (m.excluded.empty() && m.present && base::iequals(m.name, "INBOX") == inbox) out.push_back(place(m));
  return out;
}

}  // namespace load
