// The vocabulary of a migration, and every change that can be made to its ledger: one function per arrow of the state
// diagram. All take the Db and run on the store's thread; those that write more than one row do it in one transaction.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/fingerprint.hpp"
#include "base/ids.hpp"
#include "state/db.hpp"

namespace state {

using PostOfficeId = base::Strong<struct PostOfficeTag, std::int64_t>;
using AccountId = base::Strong<struct AccountTag, std::int64_t>;
using MailboxId = base::Strong<struct MailboxTag, std::int64_t>;
using MessageId = base::Strong<struct MessageTag, std::int64_t>;
using RunId = base::Strong<struct RunTag, std::int64_t>;
using PlanId = base::Strong<struct PlanTag, std::int64_t>;

// What is durable about a message. The numbers stand in the file; pending is everything below bound.
enum class MessageState : std::uint8_t {
  listed = 0,       // inventoried, not sent (or proven absent on the target)
  intent = 1,       // an APPEND for it may be on the wire, or was and is not settled
  acked = 2,        // tagged OK, target UID not known yet
  bound = 3,        // target UID known
  verified = 4,     // bound, and re-read from the target equal
  gone = 5,         // vanished at the source before it was copied
  excluded = 6,     // by policy, moved by its user since, or superseded by a row that is listed anew
  quarantined = 7,  // refused; reason, server's words, .eml
};
const char* name_of(MessageState s);

// ---- configuration ----

struct AccountRow {
  AccountId id;
  std::string post_office, address, source_login, target_login, full_name, skip, error;
  bool inventoried = false;
};
struct ConfiguredAccount {
  std::string address, source_login, target_login, full_name, skip;
  std::vector<std::pair<std::string, std::string>> not_migrated;  // kind, detail
};
struct ConfiguredPostOffice {
  std::string name, problem;
  std::vector<std::string> domains;
  std::vector<ConfiguredAccount> accounts;
  std::vector<std::pair<std::string, std::string>> not_migrated;  // of the Post Office itself: lists and the like
};
// What the configuration says now. Accounts it no longer names keep their ledger and are skipped.
void save_configuration(Db& db, const std::vector<ConfiguredPostOffice>& post_offices);
std::vector<AccountRow> accounts(Db& db);
struct PostOfficeRow {
  PostOfficeId id;
  std::string name, problem;
  std::vector<std::string> domains;
};
std::vector<PostOfficeRow> post_offices(Db& db);
struct NotMigratedRow {
  std::string post_office, address, kind, detail;  // address empty: of the Post Office itself
};
std::vector<NotMigratedRow> not_migrated(Db& db);
std::vector<std::string> events(Db& db, RunId run);
struct SurplusRow {
  MailboxId mailbox;
  base::Uid uid;
  bool removed = false;
  std::string detail;
};
std::vector<SurplusRow> surplus(Db& db);
void set_account_error(Db& db, AccountId account, const std::string& error);
// By a policy, on top of what the configuration says: until the next save_configuration.
void set_account_skip(Db& db, AccountId account, const std::string& reason);
void set_account_inventoried(Db& db, AccountId account, std::int64_t at);

std::string meta(Db& db, const std::string& key);
void set_meta(Db& db, const std::string& key, const std::string& value);
std::string pinned(Db& db, const std::string& host, std::uint16_t port);
void pin(Db& db, const std::string& host, std::uint16_t port, const std::string& fingerprint);

// ---- what stands on a target that we administer ----

// The numbers stand in the file.
enum class ObjectState : std::uint8_t {
  intent = 0,   // the call that makes it may have been carried out
  ours = 1,     // made by us, or found with our mark
  adopted = 2,  // somebody else's, used as it is
  refused = 3,  // the target said no
};
struct TargetObject {
  std::string kind, name, parent;  // kind: "domain", "alias", "account"; name in lower case
  ObjectState state = ObjectState::intent;
  std::string target_id, detail;
};
// The detail of an account that got a new password; kept when it is tried again with it and when it is found to be
// ours.
inline constexpr const char* kNewPassword = "a new password was generated";
void save_objects(Db& db, const std::vector<TargetObject>& objects);
std::vector<TargetObject> target_objects(Db& db);

// ---- inventory ----

struct MailboxRow {
  MailboxId id;
  AccountId account;
  std::string wire, name, delimiter, attributes;  // attributes: lower case, joined by spaces
  bool subscribed = false, present = false, complete = false;
  std::string excluded, error;
  base::UidValidity uid_validity;
  base::Uid uid_next;
  std::uint64_t messages = 0;
  base::ModSeq modseq;
  std::string target_wire, target_name;  // empty: not planned yet
  std::string asked_name;                // the target's name by plan, where the target then took another
  base::UidValidity target_validity;     // 0: not known yet
  base::Uid low_water, first_u0;
  // Messages may have been sent to it: its name on the target stays what it is.
  bool met() const { return target_validity || first_u0; }
};
std::vector<MailboxRow> mailboxes(Db& db, AccountId account);

struct FoundMailbox {
  std::string wire, name, delimiter, attributes, excluded;
  bool subscribed = false;
};
// The account's mailboxes as the source lists them now.
void save_mailboxes(Db& db, AccountId account, const std::vector<FoundMailbox>& found);
// What kept its messages from being listed, and from being moved; empty: nothing any more.
void set_source_error(Db& db, MailboxId mailbox, const std::string& error);
void set_target_error(Db& db, MailboxId mailbox, const std::string& error);
void add_target_error(Db& db, MailboxId mailbox, const std::string& error);  // where none stands

struct FoundMessage {
  base::Uid uid;
  base::Octets size = 0;
  std::optional<base::DateTime> date;
  std::string flags;  // sorted, joined by spaces, without \Recent
};
struct InventoryEnd {
  base::Uid uid_next;
  std::uint64_t messages = 0;
  base::ModSeq modseq;
};
// A mailbox's inventory, or a part of it.
struct InventoryPiece {
  // A new UIDVALIDITY: what was never sent under the old one will be listed anew, and is excluded as superseded;
  // everything else keeps its row until load has found the same content again. Nothing becomes gone.
  bool begin = false;
  // New rows are listed; known ones keep their state and learn new flags; gone ones come back.
  std::vector<FoundMessage> found;
  std::optional<InventoryEnd> end;  // the inventory is complete
};
// A small mailbox is one sync, and with many accounts most are small.
void add_inventory(Db& db, MailboxId mailbox, base::UidValidity validity, const InventoryPiece& piece);
// Flags as one text: sorted, without duplicates and without \Recent, system flags spelled as in RFC 3501.
std::string canonical_flags(std::vector<std::string> names);
std::vector<std::string> flag_names(const std::string& flags);
// Whether such a text holds that flag; case-insensitive.
bool has_flag(const std::string& flags, std::string_view name);

// ---- plan and runs ----

struct TargetName {
  MailboxId id;
  std::string target_wire, target_name;
};
void set_targets(Db& db, const std::vector<TargetName>& planned);
// One mailbox goes under another name than the plan's `asked_name`, before anything was sent to it.
void set_target_name(Db& db, const TargetName& to, const std::string& asked_name);
PlanId save_plan(Db& db, std::int64_t at, const std::string& fingerprint, const std::string& content);
struct PlanRow {
  PlanId id;
  std::int64_t created = 0;
  std::string fingerprint, content;
};
std::optional<PlanRow> plan(Db& db, std::optional<PlanId> id);  // nothing: the newest
RunId begin_run(Db& db, const std::string& command, std::optional<PlanId> plan, std::int64_t at);
void end_run(Db& db, RunId run, int exit, std::uint64_t appended, base::Octets octets, const std::string& report,
             std::int64_t at);
struct RunRow {
  RunId id;
  std::string command;
  std::int64_t started = 0, ended = 0;  // ended 0: it was killed, or runs
  int exit = -1;
  std::uint64_t appended = 0;
  base::Octets octets = 0;
  bool reported = false;
};
std::vector<RunRow> runs(Db& db);
// As JSON; a large server's is tens of megabytes.
std::string report(Db& db, RunId run);
// How far a run was at a moment: counted from its beginning.
struct Sample {
  std::int64_t at = 0;
  std::string stage;
  std::uint64_t appended = 0, verified = 0;  // verified: re-read from the target
  base::Octets octets = 0;                   // of what was appended
};
void add_sample(Db& db, RunId run, const Sample& sample);
std::vector<Sample> samples(Db& db, RunId run);
void add_event(Db& db, std::optional<RunId> run, std::int64_t at, std::optional<AccountId> account,
               std::optional<MailboxId> mailbox, const std::string& kind, const std::string& detail);

// ---- load ----

struct MessageRow {
  MessageId id;
  base::UidValidity validity;
  base::Uid uid;
  base::Octets size = 0;  // RFC822.SIZE as the source says: for planning only
  std::optional<base::DateTime> date;
  std::string flags;
  MessageState state = MessageState::listed;
  int attempts = 0;
  base::Uid target_uid;  // 0: none
  std::optional<Digest> e1, e1x;
  std::optional<std::array<std::uint8_t, 8>> e0;
  base::Octets octets = 0;  // of what was sent, for intents
};
// In source UID order.
std::vector<MessageRow> listed(Db& db, MailboxId mailbox, base::UidValidity validity, base::Uid after, int limit);
std::vector<MessageRow> in_doubt(Db& db, MailboxId mailbox);  // intent and acked, acked first
std::vector<MessageRow> unverified(Db& db, MailboxId mailbox, base::Uid after, int limit);
// Bound under an older UIDVALIDITY of the source (or settled there), with an E1: what may be the same message.
std::vector<MessageRow> stale(Db& db, MailboxId mailbox, base::UidValidity validity);
std::uint64_t pending(Db& db, MailboxId mailbox);
// Target UIDs bound in [from, to).
std::vector<base::Uid> bound_uids(Db& db, MailboxId mailbox, base::Uid from, base::Uid to);
// All of the mailbox that this account has there under that name, if any; under whatever UIDVALIDITY.
std::vector<base::Uid> bound_uids_there(Db& db, AccountId account, const std::string& target_wire);
// E1, and E1x where there is one, of everything bound in the mailbox, and of what is gone but was sent before.
std::unordered_set<Digest, base::DigestHash> sent_contents(Db& db, MailboxId mailbox);
struct Twin {
  MessageId id;
  base::Uid uid, target_uid;  // target_uid 0: gone
  int attempts = 0;
  std::optional<base::DateTime> date;
  std::string flags;
};
// Of the same content as sent_contents; those that are bound come first.
std::vector<Twin> sent_with(Db& db, MailboxId mailbox, const Digest& e1, const std::optional<Digest>& e1x);
// E1 of whatever was sent for more than one message.
std::unordered_set<Digest, base::DigestHash> contents_of_several(Db& db, MailboxId mailbox);
// Equal messages, but for `self`, of which there may be a copy beyond the one that is bound, or is to be.
std::vector<Twin> sent_more_than_once(Db& db, MailboxId mailbox, MessageId self, const Digest& e1);

struct Note {
  std::string kind, detail;
};
// How the detail of a "date" note begins where the target did not take the date.
inline constexpr const char* kRefusedDate = "the target refused the date";
// An APPEND is about to leave. Everything that resume needs.
struct Intent {
  MessageId id;
  base::UidValidity target_validity;
  base::Uid u0;  // no copy of it can have a lower UID
  base::Octets octets = 0;
  std::optional<Digest> e1;  // nothing yet for a streamed body: see set_fingerprint
  std::array<std::uint8_t, 8> e0{};
  std::optional<Digest> e1x;
  std::optional<base::DateTime> date;  // the one that is sent, if any
  std::string repair;                  // the rules applied, empty for none
  std::vector<Note> notes;
};
struct Outcome {
  MessageId id;
  base::Uid target_uid;  // 0: tagged OK without a usable UID
  bool reread = false;   // the body was re-read from the target equal: verified
  std::vector<Note> notes;
};
// The results of the window before and the intents of the next: one fsync a window.
void commit_window(Db& db, const std::vector<Outcome>& outcomes, const std::vector<Intent>& intents);
// A copy of that content was on the target before anything was sent for the row.
void bind_found(Db& db, const base::Fingerprint& there, const Outcome& found);
// Of a streamed message: its whole body has passed, the final CRLF has not left yet.
void set_fingerprint(Db& db, MessageId id, const base::Fingerprint& print);
// Proven absent on the target by a complete look after the settle: may be sent again.
void back_to_listed(Db& db, const std::vector<MessageId>& ids);
void set_gone(Db& db, MessageId id, const std::string& detail);
// Of all that is listed in it: the source has the mailbox no more.
void set_mailbox_gone(Db& db, MailboxId mailbox);
void set_excluded(Db& db, MessageId id, const std::string& reason);
void set_quarantined(Db& db, MessageId id, const std::string& reason);
void set_verified(Db& db, const std::vector<Outcome>& outcomes);
// What a verification of the whole mailbox did not find on the target: on record until one finds it again.
void set_absent(Db& db, MailboxId mailbox, const std::vector<MessageId>& ids);
void add_notes(Db& db, MessageId id, const std::vector<Note>& notes);
// The message bound as `old_row` is the one listed anew as `new_row` (the source's UIDVALIDITY changed): one row
// remains.
void same_message(Db& db, MessageId old_row, const MessageRow& new_row);

struct TargetSettled {
  base::UidValidity validity;
  base::Uid low_water, first_u0;
};
void set_target_settled(Db& db, MailboxId mailbox, const TargetSettled& settled);
// The target mailbox is another one than before: its UIDs say nothing any more. Bound rows become acked ("the server
// said it stored it"), to be found again by content.
void forget_target_uids(Db& db, MailboxId mailbox);
// Rows bound to UIDs that the mailbox has not reached: back to acked; how many.
std::int64_t disbelieve_uids_from(Db& db, MailboxId mailbox, base::Uid uid_next);
void add_surplus(Db& db, MailboxId mailbox, base::Uid uid, MessageId twin, bool removed, const std::string& detail);

struct FlagChange {
  MessageId id;
  base::Uid target_uid;
  std::string before, now;
  std::int64_t now_id = 0;
  bool verified = false;
  std::optional<Digest> e1, e1x;
};
std::vector<FlagChange> flag_changes(Db& db, MailboxId mailbox);
void flags_brought(Db& db, const std::vector<FlagChange>& changes);

// Back to listed, to be tried again; returns how many.
std::int64_t retry_quarantined(Db& db, AccountId account);

// ---- books ----

// inventory = bound + gone + excluded + quarantined + pending (I5).
struct Books {
  std::uint64_t inventory = 0, bound = 0, verified = 0, gone = 0, excluded = 0, quarantined = 0, pending = 0;
  base::Octets octets = 0, pending_octets = 0;
  void add(MessageState s, base::Octets size);
  Books& operator+=(const Books& o);
  bool closed() const { return inventory == bound + gone + excluded + quarantined + pending; }
};
std::map<std::int64_t, Books> books_by_mailbox(Db& db);  // by MailboxId

struct NotedMessage {
  MailboxId mailbox;
  MessageId id;
  base::Uid uid, target_uid;
  base::Octets size = 0;
  std::optional<base::DateTime> date;
  MessageState state = MessageState::listed;
  std::string kind, detail;
};
// What a report lists, one by one: there may be millions; in the order in which they were noted. Not that a copy was
// found on the target, or that a row was superseded: after a lost state that would be every message.
void each_noted_message(Db& db, const std::function<void(const NotedMessage&)>& receive);
// What is pending needs no note: of kind "pending".
void each_pending_message(Db& db, const std::function<void(const NotedMessage&)>& receive);

// The SQL assertions of I3 and I5, for start-up and for tests: a sentence for each that does not hold.
std::vector<std::string> broken_invariants(Db& db);

}  // namespace state
