// What a message is sent as: its octets, flags and date, which change by one rule at a time where the target refuses
// it. Nothing here waits for a server or for the store.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "imap/client/session.hpp"
#include "load/options.hpp"
#include "load/repair.hpp"
#include "state/ledger.hpp"

namespace load {

struct SendableFlags {
  std::vector<std::string> kept, left_out;
};
// What of a message's flags a mailbox takes, as far as its server says.
SendableFlags sendable(const std::string& flags, const imap::Opened& mailbox, DeletedPolicy deleted);

struct Outgoing {
  // `header`: all of a small message, or what is known of a streamed one. `now`: seconds since 1970, for dates that no
  // server would store; such a date is replaced, with a note.
  Outgoing(state::MessageRow message, SendableFlags sent, std::string_view header, std::int64_t now);

  // What may still be on its way to the target in a repaired form is sent in that form: a late copy of it is known by
  // its fingerprint then, and not taken for an equal message's.
  void repair_as_before();
  // Changes it by the next rule that has something to do; false: none is left. Body rules work on `body`, which is
  // empty where it is streamed; a date comes from `header`.
  bool next_rung(const imap::StatusLine& refusal, std::string_view header, std::string_view body);
  state::Intent intent(base::UidValidity target_validity, base::Uid u0) const;
  imap::AppendItem append_item() const;  // borrows the octets

  state::MessageRow row;
  std::string octets;  // none where it is streamed
  base::Fingerprint print;
  std::vector<std::string> flags;
  std::optional<base::DateTime> date;
  std::vector<state::Note> notes;

 private:
  bool apply(Rule rule, std::string_view header);

  std::vector<Rule> applied_;
  std::optional<std::vector<Rule>> rules_;  // still to be tried; nothing: not refused yet
};

}  // namespace load
