// Where each mailbox of an account goes: old name -> new name, worked out whole before anything is created, proven
// one-to-one (F47, F48).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "state/ledger.hpp"

namespace load {

// What the target's account looks like now.
struct TargetView {
  std::string delimiter = "/";  // empty: no hierarchy
  std::string prefix;           // of the personal namespace, delimiter included ("INBOX.")
  struct Existing {
    std::string wire, name;  // name: UTF-8
    std::vector<std::string> attributes;
    bool subscribed = false;
    bool selectable = true;
  };
  std::vector<Existing> mailboxes;
};

struct MappedMailbox {
  state::MailboxId id;
  std::string from;        // the source's name
  std::string wire, name;  // the target's
  bool exists = false;
  std::string why;  // a remark where the name changes: "special-use \Sent", "'/' written as =2F", "name taken"
};

// What a target takes as a name.
struct NameRules {
  std::string escape;  // further characters that it does not take
  // Kerio Connect (what is known of it: docs/kerio.md): names are unique without regard to case and across all kinds of
  // folders, so that "Contacts" is taken; leading '#' and '~' and blanks at either end are unsafe; source mailboxes
  // named as Sent, Drafts, Trash or Junk usually are go to the target's own ones even if the source does not say what
  // they are for (4D has no SPECIAL-USE).
  bool kerio = false;
  bool windows = false;  // its message store is on Windows: \ : * ? " < > | and a final dot are not taken either
};
// An account of Kerio Connect before anybody logged in to it.
TargetView fresh_kerio_account();

// The rule: a character that is not taken, the target's delimiter inside a name, control characters, and '=' where two
// hexadecimal digits follow, become =XX; so every name can be read back. Two source mailboxes never share a target: the
// later one gets a suffix " (2)". `source_prefix`: of the source's personal namespace.
std::vector<MappedMailbox> map_mailboxes(const std::vector<state::MailboxRow>& source, const std::string& source_prefix,
                                         const TargetView& target, const NameRules& rules);

}  // namespace load
