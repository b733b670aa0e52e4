#include "state/ledger.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/text.hpp"

namespace state {
namespace {

using base::DateTime;
using base::Uid;
using base::UidValidity;

std::int64_t flagset(Db& db, const std::string& names) {
  if (const auto id = db.integer("SELECT id FROM flagset WHERE names=?", names)) return id;
  db.run("INSERT INTO flagset(names) VALUES(?)", names);
  return db.last_id();
}

#define MESSAGE_COLUMNS                                                                                           \
  "SELECT m.id, m.uid_validity, m.uid, m.size, m.date, m.zone, coalesce(n.names, f.names), m.state, m.attempts, " \
  "m.target_uid, m.e1, m.e1x, i.octets, m.e0 FROM message m JOIN flagset f ON f.id=m.flags "                      \
  "LEFT JOIN flagset n ON n.id=m.new_flags LEFT JOIN intent i ON i.message=m.id "

MessageRow message_row(const Rows& r) {
  MessageRow m;
  m.id = r.number<MessageId>(0);
  m.validity = r.number<UidValidity>(1);
  m.uid = r.number<Uid>(2);
  m.size = static_cast<base::Octets>(r.integer(3));
  if (!r.null(4)) m.date = DateTime{r.integer(4), static_cast<int>(r.integer(5))};
  m.flags = r.text(6);
  if (!m.flags.empty()) m.flags = canonical_flags(flag_names(m.flags));  // of a store that older versions wrote
  m.state = static_cast<MessageState>(r.integer(7));
  m.attempts = static_cast<int>(r.integer(8));
  m.target_uid = r.number<Uid>(9);
  m.e1 = r.digest(10);
  m.e1x = r.digest(11);
  m.octets = static_cast<base::Octets>(r.integer(12));
  m.e0 = r.short_digest(13);
  return m;
}

std::vector<MessageRow> message_rows(Rows r) {
  std::vector<MessageRow> out;
  while (r.next()) out.push_back(message_row(r));
  return out;
}

void end_in(Db& db, MessageId id, MessageState s, const char* kind, const std::string& detail) {
  Transaction t(db);
  db.run("UPDATE message SET state=?, target_uid=NULL WHERE id=?", static_cast<int>(s), id);
  db.run("DELETE FROM intent WHERE message=?", id);
  db.run("INSERT OR IGNORE INTO note(message, kind, detail) VALUES(?,?,?)", id, kind, detail);
  t.commit();
}

void settle_outcome(Db& db, const Outcome& o) {
  if (o.target_uid) {
    db.run("UPDATE message SET state=?, target_uid=? WHERE id=?",
           static_cast<int>(o.reread ? MessageState::verified : MessageState::bound), o.target_uid, o.id);
    db.run("DELETE FROM intent WHERE message=?", o.id);
    db.run("DELETE FROM note WHERE message=? AND kind='absent'", o.id);
  } else {
    db.run("UPDATE message SET state=2 WHERE id=?", o.id);
  }
  add_notes(db, o.id, o.notes);
}

}  // namespace

const char* name_of(MessageState s) {
  static constexpr const char* kNames[] = {"listed",   "intent", "acked",    "bound",
                                           "verified", "gone",   "excluded", "quarantined"};
  return kNames[static_cast<int>(s)];
}

// ---- configuration ----

void save_configuration(Db& db, const std::vector<ConfiguredPostOffice>& post_offices) {
  Transaction t(db);
  db.exec("DELETE FROM not_migrated; DELETE FROM smtp_domain; UPDATE post_office SET position=-1");
  db.exec("UPDATE account SET skip='not in the configuration of this run'");
  int position = 0;
  for (const auto& p : post_offices) {
    db.run(
        "INSERT INTO post_office(name, position, problem) VALUES(?,?,?) ON CONFLICT(name) DO UPDATE SET "
        "position=excluded.position, problem=excluded.problem",
        p.name, position++, p.problem);
    const auto id = db.integer("SELECT id FROM post_office WHERE name=?", p.name);
    int domain = 0;
    for (const auto& d : p.domains)
      db.run("INSERT OR IGNORE INTO smtp_domain(post_office, name, position) VALUES(?,?,?)", id, d, domain++);
    for (const auto& a : p.accounts) {
      db.run(
          "INSERT INTO account(post_office, address, source_login, target_login, full_name, skip) VALUES(?,?,?,?,?,?) "
          "ON CONFLICT(address) DO UPDATE SET post_office=excluded.post_office, source_login=excluded.source_login, "
          "target_login=excluded.target_login, full_name=excluded.full_name, skip=excluded.skip",
          id, a.address, a.source_login, a.target_login, a.full_name, a.skip);
      const auto account = db.integer("SELECT id FROM account WHERE address=?", a.address);
      for (const auto& [kind, detail] : a.not_migrated)
        db.run("INSERT INTO not_migrated(post_office, account, kind, detail) VALUES(?,?,?,?)", id, account, kind,
               detail);
    }
    for (const auto& [kind, detail] : p.not_migrated)
      db.run("INSERT INTO not_migrated(post_office, kind, detail) VALUES(?,?,?)", id, kind, detail);
  }
  t.commit();
}

std::vector<AccountRow> accounts(Db& db) {
  std::vector<AccountRow> out;
  Rows r = db.rows(
      "SELECT a.id, p.name, a.address, a.source_login, a.target_login, a.full_name, "
      "CASE WHEN p.problem<>'' THEN p.problem ELSE a.skip END, a.error, a.inventoried "
      "FROM account a JOIN post_office p ON p.id=a.post_office ORDER BY p.position, a.id");
  while (r.next())
    out.push_back({r.number<AccountId>(0), r.text(1), r.text(2), r.text(3), r.text(4), r.text(5), r.text(6), r.text(7),
                   !r.null(8)});
  return out;
}

std::vector<PostOfficeRow> post_offices(Db& db) {
  std::vector<PostOfficeRow> out;
  {
    Rows r = db.rows("SELECT id, name, problem FROM post_office WHERE position>=0 ORDER BY position");
    while (r.next()) out.push_back({r.number<PostOfficeId>(0), r.text(1), r.text(2), {}});
  }
  for (auto& p : out) {
    Rows r = db.rows("SELECT name FROM smtp_domain WHERE post_office=? ORDER BY position", p.id);
    while (r.next()) p.domains.push_back(r.text(0));
  }
  return out;
}

std::vector<NotMigratedRow> not_migrated(Db& db) {
  std::vector<NotMigratedRow> out;
  Rows r = db.rows(
      "SELECT p.name, a.address, n.kind, n.detail FROM not_migrated n JOIN post_office p ON p.id=n.post_office "
      "LEFT JOIN account a ON a.id=n.account ORDER BY p.position, a.id, n.kind");
  while (r.next()) out.push_back({r.text(0), r.text(1), r.text(2), r.text(3)});
  return out;
}

std::vector<std::string> events(Db& db, RunId run) {
  std::vector<std::string> out;
  Rows r = db.rows("SELECT kind, detail FROM event WHERE run=? ORDER BY id", run);
  while (r.next()) out.push_back(r.text(0) + ": " + r.text(1));
  return out;
}

std::vector<SurplusRow> surplus(Db& db) {
  std::vector<SurplusRow> out;
  Rows r = db.rows("SELECT mailbox, target_uid, removed, detail FROM surplus ORDER BY mailbox, target_uid");
  while (r.next()) out.push_back({r.number<MailboxId>(0), r.number<Uid>(1), r.integer(2) != 0, r.text(3)});
  return out;
}

void set_account_error(Db& db, AccountId account, const std::string& error) {
  db.run("UPDATE account SET error=? WHERE id=?", error, account);
}

void set_account_skip(Db& db, AccountId account, const std::string& reason) {
  db.run("UPDATE account SET skip=? WHERE id=?", reason, account);
}

void set_account_inventoried(Db& db, AccountId account, std::int64_t at) {
  db.run("UPDATE account SET inventoried=? WHERE id=?", at, account);
}

std::string meta(Db& db, const std::string& key) { return db.text("SELECT value FROM meta WHERE key=?", key); }
void set_meta(Db& db, const std::string& key, const std::string& value) {
  db.run("INSERT INTO meta(key, value) VALUES(?,?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", key, value);
}
std::string pinned(Db& db, const std::string& host, std::uint16_t port) {
  return db.text("SELECT fingerprint FROM pin WHERE host=? AND port=?", host, std::int64_t{port});
}
void pin(Db& db, const std::string& host, std::uint16_t port, const std::string& fingerprint) {
  db.run("INSERT OR REPLACE INTO pin(host, port, fingerprint) VALUES(?,?,?)", host, std::int64_t{port}, fingerprint);
}

void save_objects(Db& db, const std::vector<TargetObject>& objects) {
  Transaction t(db);
  for (const auto& o : objects)
    db.run(
        "INSERT INTO target_object(kind, name, parent, state, target_id, detail) VALUES(?1,?2,?3,?4,?5,?6) ON "
        "CONFLICT(kind, "
        "name) DO UPDATE SET parent=excluded.parent, state=excluded.state, "
        "detail=CASE WHEN excluded.state IN (0, 1) AND excluded.detail='' AND detail=?7 THEN detail ELSE "
        "excluded.detail END, "
        "target_id=CASE WHEN excluded.target_id<>'' THEN excluded.target_id ELSE target_id END",
        o.kind, o.name, o.parent, static_cast<int>(o.state), o.target_id, o.detail, kNewPassword);
  t.commit();
}

std::vector<TargetObject> target_objects(Db& db) {
  std::vector<TargetObject> out;
  Rows r = db.rows("SELECT kind, name, parent, state, target_id, detail FROM target_object ORDER BY kind, name");
  while (r.next())
    out.push_back({r.text(0), r.text(1), r.text(2), static_cast<ObjectState>(r.integer(3)), r.text(4), r.text(5)});
  return out;
}

// ---- inventory ----

std::vector<MailboxRow> mailboxes(Db& db, AccountId account) {
  std::vector<MailboxRow> out;
  Rows r = db.rows(
      "SELECT id, account, wire, name, delimiter, attributes, subscribed, present, complete, excluded, "
      "CASE WHEN coalesce(source_error, '')<>'' THEN source_error ELSE target_error END, "
      "uid_validity, uid_next, messages, modseq, target_wire, target_name, target_validity, low_water, first_u0, "
      "asked_name FROM mailbox WHERE account=? ORDER BY id",
      account);
  while (r.next()) {
    MailboxRow m;
    m.id = r.number<MailboxId>(0);
    m.account = r.number<AccountId>(1);
    m.wire = r.text(2);
    m.name = r.text(3);
    m.delimiter = r.text(4);
    m.attributes = r.text(5);
    m.subscribed = r.integer(6) != 0;
    m.present = r.integer(7) != 0;
    m.complete = r.integer(8) != 0;
    m.excluded = r.text(9);
    m.error = r.text(10);
    m.uid_validity = r.number<UidValidity>(11);
    m.uid_next = r.number<Uid>(12);
    m.messages = static_cast<std::uint64_t>(r.integer(13));
    m.modseq = r.number<base::ModSeq>(14);
    m.target_wire = r.text(15);
    m.target_name = r.text(16);
    m.target_validity = r.number<UidValidity>(17);
    m.low_water = r.number<Uid>(18);
    m.first_u0 = r.number<Uid>(19);
    m.asked_name = r.text(20);
    out.push_back(std::move(m));
  }
  return out;
}

void save_mailboxes(Db& db, AccountId account, const std::vector<FoundMailbox>& found) {
  Transaction t(db);
  db.run("UPDATE mailbox SET present=0 WHERE account=?", account);
  for (const auto& m : found)
    db.run(
        "INSERT INTO mailbox(account, wire, name, delimiter, attributes, subscribed, excluded, present) "
        "VALUES(?,?,?,?,?,?,?,1) "
        "ON CONFLICT(account, wire) DO UPDATE SET name=excluded.name, delimiter=excluded.delimiter, "
        "attributes=excluded.attributes, subscribed=excluded.subscribed, excluded=excluded.excluded, present=1",
        account, m.wire, m.name, m.delimiter, m.attributes, m.subscribed, m.excluded);
  t.commit();
}

void set_source_error(Db& db, MailboxId mailbox, const std::string& error) {
  db.run("UPDATE mailbox SET source_error=? WHERE id=?", error, mailbox);
}

void set_target_error(Db& db, MailboxId mailbox, const std::string& error) {
  db.run("UPDATE mailbox SET target_error=? WHERE id=?", error, mailbox);
}

void add_target_error(Db& db, MailboxId mailbox, const std::string& error) {
  db.run("UPDATE mailbox SET target_error=? WHERE id=? AND coalesce(target_error, '')=''", error, mailbox);
}

std::string canonical_flags(std::vector<std::string> names) {
  std::erase_if(names, [](const std::string& n) { return base::iequals(n, "\\Recent"); });
  for (const char* known : {"\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen"})
    for (auto& n : names)
      if (base::iequals(n, known)) n = known;
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return base::join(names, " ");
}

std::vector<std::string> flag_names(const std::string& flags) {
  if (flags.empty()) return {};
  return base::split(flags, ' ');
}

bool has_flag(const std::string& flags, std::string_view name) {
  const auto names = flag_names(flags);
  return std::any_of(names.begin(), names.end(), [&](const auto& n) { return base::iequals(n, name); });
}

namespace {

void begin_in(Db& db, MailboxId mailbox, UidValidity validity) {
  db.run(
      "INSERT OR IGNORE INTO note(message, kind, detail) SELECT id, 'superseded', "
      "'the source gave its mailbox a new UIDVALIDITY; the message is listed anew' FROM message "
      "WHERE mailbox=? AND uid_validity<>? AND state IN (0, 5)",
      mailbox, validity);
  db.run("UPDATE message SET state=6 WHERE mailbox=? AND uid_validity<>? AND state IN (0, 5)", mailbox, validity);
  db.run("UPDATE mailbox SET complete=0, uid_validity=? WHERE id=?", validity, mailbox);
}

void add_in(Db& db, MailboxId mailbox, UidValidity validity, const std::vector<FoundMessage>& found) {
  std::unordered_map<std::string, std::int64_t> flagsets;
  for (const auto& m : found) {
    auto [at, added] = flagsets.try_emplace(m.flags);
    if (added) at->second = flagset(db, m.flags);
    const auto date = m.date ? std::optional<std::int64_t>(m.date->unix_seconds) : std::nullopt;
    const auto zone = m.date ? std::optional<std::int64_t>(m.date->zone_minutes) : std::nullopt;
    db.run(
        "INSERT INTO message(mailbox, uid_validity, uid, size, date, zone, flags, state) VALUES(?,?,?,?,?,?,?,0) "
        "ON CONFLICT(mailbox, uid_validity, uid) DO UPDATE SET "
        "flags=CASE WHEN state IN (0, 5) THEN excluded.flags ELSE flags END, "
        "new_flags=CASE WHEN state IN (0, 5) OR flags=excluded.flags THEN NULL ELSE excluded.flags END, "
        "state=CASE WHEN state=5 OR (state=6 AND EXISTS(SELECT 1 FROM note WHERE message=message.id AND "
        "kind='superseded')) "
        "THEN 0 ELSE state END",
        mailbox, validity, m.uid, m.size, date, zone, at->second);
  }
  // What is listed again is not superseded any more: a UIDVALIDITY may come back (a replica, a restore). Only among the
  // rows of this piece, or a large mailbox would be gone through once for each of its pieces.
  const auto [first, last] =
      std::minmax_element(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.uid < b.uid; });
  db.run(
      "DELETE FROM note WHERE kind IN ('superseded', 'gone') AND message IN (SELECT id FROM message WHERE mailbox=? "
      "AND uid_validity=? AND uid BETWEEN ? AND ? AND state=0)",
      mailbox, validity, first->uid, last->uid);
}

}  // namespace

void add_inventory(Db& db, MailboxId mailbox, UidValidity validity, const InventoryPiece& piece) {
  Transaction t(db);
  if (piece.begin) begin_in(db, mailbox, validity);
  if (!piece.found.empty()) add_in(db, mailbox, validity, piece.found);
  if (piece.end)
    db.run("UPDATE mailbox SET complete=1, uid_next=?, messages=?, modseq=?, source_error='' WHERE id=?",
           piece.end->uid_next, piece.end->messages, piece.end->modseq, mailbox);
  t.commit();
}

// ---- plan and runs ----

// MailboxRow::met(), in SQL.
#define NOT_MET "target_validity=0 AND first_u0=0"

void set_targets(Db& db, const std::vector<TargetName>& planned) {
  Transaction t(db);
  // First all that were only planned: a name may go from one mailbox to another.
  for (const auto& p : planned)
    db.run("UPDATE mailbox SET target_wire=NULL, target_name=NULL, asked_name=NULL WHERE " NOT_MET
           " AND account=(SELECT account FROM mailbox WHERE id=?)",
           p.id);
  for (const auto& p : planned)
    db.run("UPDATE mailbox SET target_wire=?, target_name=? WHERE id=? AND " NOT_MET, p.target_wire, p.target_name,
           p.id);
  t.commit();
}

void set_target_name(Db& db, const TargetName& to, const std::string& asked_name) {
  db.run("UPDATE mailbox SET target_wire=?, target_name=?, asked_name=? WHERE id=? AND " NOT_MET, to.target_wire,
         to.target_name, asked_name, to.id);
}

PlanId save_plan(Db& db, std::int64_t at, const std::string& fingerprint, const std::string& content) {
  db.run("INSERT INTO plan(created, fingerprint, content) VALUES(?,?,?)", at, fingerprint, content);
  return PlanId(db.last_id());
}

std::optional<PlanRow> plan(Db& db, std::optional<PlanId> id) {
  Rows r = id ? db.rows("SELECT id, created, fingerprint, content FROM plan WHERE id=?", *id)
              : db.rows("SELECT id, created, fingerprint, content FROM plan ORDER BY id DESC LIMIT 1");
  if (!r.next()) return std::nullopt;
  return PlanRow{r.number<PlanId>(0), r.integer(1), r.text(2), r.text(3)};
}

RunId begin_run(Db& db, const std::string& command, std::optional<PlanId> of_plan, std::int64_t at) {
  db.run("INSERT INTO run(command, plan, started) VALUES(?,?,?)", command, of_plan, at);
  return RunId(db.last_id());
}

void end_run(Db& db, RunId run, int exit, std::uint64_t appended, base::Octets octets, const std::string& report,
             std::int64_t at) {
  db.run("UPDATE run SET ended=?, exit=?, appended=?, octets=?, report=? WHERE id=?", at, exit, appended, octets,
         report, run);
}

std::vector<RunRow> runs(Db& db) {
  std::vector<RunRow> out;
  Rows r = db.rows(
      "SELECT id, command, started, ended, exit, appended, octets, coalesce(report, '')<>'' FROM run ORDER BY id");
  while (r.next())
    out.push_back({r.number<RunId>(0), r.text(1), r.integer(2), r.integer(3),
                   r.null(4) ? -1 : static_cast<int>(r.integer(4)), static_cast<std::uint64_t>(r.integer(5)),
                   static_cast<base::Octets>(r.integer(6)), r.integer(7) != 0});
  return out;
}

std::string report(Db& db, RunId run) { return db.text("SELECT report FROM run WHERE id=?", run); }

void add_sample(Db& db, RunId run, const Sample& s) {
  db.run("INSERT INTO sample(run, at, stage, appended, verified, octets) VALUES(?,?,?,?,?,?)", run, s.at, s.stage,
         s.appended, s.verified, s.octets);
}

std::vector<Sample> samples(Db& db, RunId run) {
  std::vector<Sample> out;
  Rows r = db.rows("SELECT at, stage, appended, verified, octets FROM sample WHERE run=? ORDER BY id", run);
  while (r.next())
    out.push_back({r.integer(0), r.text(1), static_cast<std::uint64_t>(r.integer(2)),
                   static_cast<std::uint64_t>(r.integer(3)), static_cast<base::Octets>(r.integer(4))});
  return out;
}

void add_event(Db& db, std::optional<RunId> run, std::int64_t at, std::optional<AccountId> account,
               std::optional<MailboxId> mailbox, const std::string& kind, const std::string& detail) {
  db.run("INSERT INTO event(run, at, account, mailbox, kind, detail) VALUES(?,?,?,?,?,?)", run, at, account, mailbox,
         kind, detail);
}

// ---- load ----

// The "+" keeps SQLite from message_source, which has all that was moved long ago before the first that is pending.
std::vector<MessageRow> listed(Db& db, MailboxId mailbox, UidValidity validity, Uid after, int limit) {
  return message_rows(db.rows(MESSAGE_COLUMNS
                              "WHERE m.mailbox=? AND m.state=0 AND m.state<3 AND +m.uid_validity=? AND m.uid>? "
                              "ORDER BY m.uid LIMIT ?",
                              mailbox, validity, after, limit));
}

std::vector<MessageRow> in_doubt(Db& db, MailboxId mailbox) {
  return message_rows(db.rows(
      MESSAGE_COLUMNS "WHERE m.mailbox=? AND m.state IN (1, 2) AND m.state<3 ORDER BY m.state DESC, m.uid", mailbox));
}

std::vector<MessageRow> unverified(Db& db, MailboxId mailbox, Uid after, int limit) {
  return message_rows(db.rows(MESSAGE_COLUMNS
                              "WHERE m.mailbox=? AND m.state=3 AND m.target_uid>? ORDER BY m.target_uid LIMIT ?",
                              mailbox, after, limit));
}

std::vector<MessageRow> stale(Db& db, MailboxId mailbox, UidValidity validity) {
  return message_rows(
      db.rows(MESSAGE_COLUMNS
              "WHERE m.mailbox=? AND m.uid_validity<>? AND m.e1 IS NOT NULL AND m.state IN (2, 3, 4, 7) "
              "ORDER BY m.uid",
              mailbox, validity));
}

std::uint64_t pending(Db& db, MailboxId mailbox) {
  return static_cast<std::uint64_t>(db.integer("SELECT count(*) FROM message WHERE mailbox=? AND state<3", mailbox));
}

std::vector<Uid> bound_uids(Db& db, MailboxId mailbox, Uid from, Uid to) {
  std::vector<Uid> out;
  Rows r =
      db.rows("SELECT target_uid FROM message WHERE mailbox=? AND target_uid>=? AND target_uid<? ORDER BY target_uid",
              mailbox, from, to);
  while (r.next()) out.push_back(r.number<Uid>(0));
  return out;
}

std::vector<Uid> bound_uids_there(Db& db, AccountId account, const std::string& target_wire) {
  std::vector<Uid> out;
  Rows r = db.rows(
      "SELECT target_uid FROM message WHERE mailbox=(SELECT id FROM mailbox WHERE account=? AND target_wire=?) AND "
      "target_uid IS NOT NULL ORDER BY target_uid",
      account, target_wire);
  while (r.next()) out.push_back(r.number<Uid>(0));
  return out;
}

std::unordered_set<Digest, base::DigestHash> sent_contents(Db& db, MailboxId mailbox) {
  std::unordered_set<Digest, base::DigestHash> out;
  Rows r = db.rows(
      "SELECT e1, e1x FROM message WHERE mailbox=? AND (target_uid IS NOT NULL OR (state=5 AND attempts>0))", mailbox);
  while (r.next())
    for (const int column : {0, 1})
      if (const auto digest = r.digest(column)) out.insert(*digest);
  return out;
}

std::unordered_set<Digest, base::DigestHash> contents_of_several(Db& db, MailboxId mailbox) {
  std::unordered_set<Digest, base::DigestHash> out;
  Rows r = db.rows(
      "SELECT e1 FROM message WHERE mailbox=? AND e1 IS NOT NULL AND state<5 GROUP BY e1 HAVING count(*)>1", mailbox);
  while (r.next())
    if (const auto digest = r.digest(0)) out.insert(*digest);
  return out;
}

namespace {
#define TWIN_COLUMNS                                                                                        \
  "SELECT m.id, m.uid, m.target_uid, m.attempts, m.date, m.zone, f.names FROM message m JOIN flagset f ON " \
  "f.id=m.flags "                                                                                           \
  "WHERE m.mailbox=? AND "

std::vector<Twin> twin_rows(Rows r) {
  std::vector<Twin> out;
  while (r.next()) {
    Twin t{r.number<MessageId>(0), r.number<Uid>(1), r.number<Uid>(2), static_cast<int>(r.integer(3)), {}, r.text(6)};
    if (!r.null(4)) t.date = DateTime{r.integer(4), static_cast<int>(r.integer(5))};
    out.push_back(std::move(t));
  }
  return out;
}
}  // namespace

std::vector<Twin> sent_with(Db& db, MailboxId mailbox, const Digest& e1, const std::optional<Digest>& e1x) {
  return twin_rows(db.rows(TWIN_COLUMNS
                           "(m.e1=? OR m.e1x=?) AND (m.target_uid IS NOT NULL OR (m.state=5 AND m.attempts>0)) "
                           "ORDER BY m.target_uid IS NULL, m.attempts DESC, m.target_uid",
                           mailbox, e1, e1x));
}

std::vector<Twin> sent_more_than_once(Db& db, MailboxId mailbox, MessageId self, const Digest& e1) {
  return twin_rows(db.rows(TWIN_COLUMNS
                           "m.e1=? AND m.id<>? AND m.state<5 AND m.attempts>(m.target_uid IS NOT NULL) ORDER BY m.id",
                           mailbox, e1, self));
}

void commit_window(Db& db, const std::vector<Outcome>& outcomes, const std::vector<Intent>& intents) {
  Transaction t(db);
  for (const auto& o : outcomes) settle_outcome(db, o);
  for (const auto& i : intents) {
    const auto date = i.date ? std::optional<std::int64_t>(i.date->unix_seconds) : std::nullopt;
    const auto zone = i.date ? std::optional<std::int64_t>(i.date->zone_minutes) : std::nullopt;
    db.run("UPDATE message SET state=1, attempts=attempts+1, e1=?, e0=?, e1x=?, date=?, zone=? WHERE id=?", i.e1, i.e0,
           i.e1x, date, zone, i.id);
    db.run("UPDATE message SET flags=new_flags, new_flags=NULL WHERE id=? AND new_flags IS NOT NULL", i.id);
    db.run(
        "INSERT INTO intent(message, target_validity, u0, first_u0, octets) VALUES(?1,?2,?3,?3,?4) ON "
        "CONFLICT(message) DO UPDATE "
        "SET target_validity=excluded.target_validity, u0=excluded.u0, octets=excluded.octets, "
        "first_u0=min(first_u0, excluded.first_u0)",
        i.id, i.target_validity, i.u0, i.octets);
    db.run("DELETE FROM note WHERE message=? AND kind='repair'", i.id);
    if (!i.repair.empty())
      db.run("INSERT OR IGNORE INTO note(message, kind, detail) VALUES(?,'repair',?)", i.id, i.repair);
    // What an earlier attempt sent instead of a refused date no longer counts.
    for (const auto& n : i.notes)
      if (n.kind == "date" && n.detail.starts_with(kRefusedDate))
        db.run("DELETE FROM note WHERE message=? AND kind='date' AND detail LIKE ? || '%'", i.id, kRefusedDate);
    add_notes(db, i.id, i.notes);
  }
  t.commit();
}

void bind_found(Db& db, const base::Fingerprint& there, const Outcome& found) {
  Transaction t(db);
  set_fingerprint(db, found.id, there);
  settle_outcome(db, found);
  t.commit();
}

void set_fingerprint(Db& db, MessageId id, const base::Fingerprint& print) {
  db.run("UPDATE message SET e1=?, e0=?, e1x=? WHERE id=?", print.e1, print.e0, print.e1x, id);
}

void back_to_listed(Db& db, const std::vector<MessageId>& ids) {
  Transaction t(db);
  for (const auto id : ids) {
    // The intent row stays: for who reads the file after an accident.
    db.run("UPDATE message SET state=0 WHERE id=? AND state=1", id);
    // Sent under an older UIDVALIDITY of the source, and not on the target: it is listed anew under the present one.
    db.run(
        "UPDATE message SET state=6 WHERE id=?1 AND state=0 AND uid_validity<>(SELECT uid_validity FROM mailbox WHERE "
        "id=message.mailbox)",
        id);
    db.run(
        "INSERT OR IGNORE INTO note(message, kind, detail) SELECT id, 'superseded', 'the source gave its mailbox a new "
        "UIDVALIDITY; "
        "the message is listed anew' FROM message WHERE id=? AND state=6",
        id);
  }
  t.commit();
}

void set_gone(Db& db, MessageId id, const std::string& detail) { end_in(db, id, MessageState::gone, "gone", detail); }

void set_mailbox_gone(Db& db, MailboxId mailbox) {
  Transaction t(db);
#define LISTED_THERE "message WHERE mailbox=? AND state=0"
  db.run(
      "INSERT OR IGNORE INTO note(message, kind, detail) SELECT id, 'gone', 'its mailbox was deleted or renamed at the "
      "source before it was copied; a renamed one is listed under its new name' FROM " LISTED_THERE,
      mailbox);
  db.run("DELETE FROM intent WHERE message IN (SELECT id FROM " LISTED_THERE ")", mailbox);
  db.run("UPDATE message SET state=5 WHERE id IN (SELECT id FROM " LISTED_THERE ")", mailbox);
#undef LISTED_THERE
  db.run("UPDATE mailbox SET complete=0 WHERE id=?", mailbox);  // should it come back, it is listed afresh
  t.commit();
}

void set_excluded(Db& db, MessageId id, const std::string& reason) {
  end_in(db, id, MessageState::excluded, "excluded", reason);
}
void set_quarantined(Db& db, MessageId id, const std::string& reason) {
  end_in(db, id, MessageState::quarantined, "quarantine", reason);
}

void set_verified(Db& db, const std::vector<Outcome>& outcomes) {
  Transaction t(db);
  for (const auto& o : outcomes) {
    if (o.reread) db.run("UPDATE message SET state=4 WHERE id=? AND state=3", o.id);
    add_notes(db, o.id, o.notes);
  }
  t.commit();
}

void set_absent(Db& db, MailboxId mailbox, const std::vector<MessageId>& ids) {
  Transaction t(db);
  db.run("DELETE FROM note WHERE kind='absent' AND message IN (SELECT id FROM message WHERE mailbox=?)", mailbox);
  for (const auto id : ids)
    db.run(
        "INSERT INTO note(message, kind, detail) VALUES(?,'absent','the last verification did not find it on the "
        "target')",
        id);
  t.commit();
}

void add_notes(Db& db, MessageId id, const std::vector<Note>& notes) {
  for (const auto& n : notes)
    db.run("INSERT OR IGNORE INTO note(message, kind, detail) VALUES(?,?,?)", id, n.kind, n.detail);
}

void same_message(Db& db, MessageId old_row, const MessageRow& new_row) {
  Transaction t(db);
  db.run("DELETE FROM note WHERE message=?", new_row.id);
  db.run("DELETE FROM intent WHERE message=?", new_row.id);
  db.run("DELETE FROM message WHERE id=?", new_row.id);
  db.run("UPDATE message SET uid_validity=?, uid=?, size=? WHERE id=?", new_row.validity, new_row.uid, new_row.size,
         old_row);
  t.commit();
}

void set_target_settled(Db& db, MailboxId mailbox, const TargetSettled& s) {
  db.run("UPDATE mailbox SET target_validity=?, low_water=?, first_u0=? WHERE id=?", s.validity, s.low_water,
         s.first_u0, mailbox);
}

void forget_target_uids(Db& db, MailboxId mailbox) {
  Transaction t(db);
  db.run("UPDATE message SET state=2, target_uid=NULL WHERE mailbox=? AND state IN (3, 4)", mailbox);
  t.commit();
}

std::int64_t disbelieve_uids_from(Db& db, MailboxId mailbox, Uid uid_next) {
  return db.run("UPDATE message SET state=2, target_uid=NULL WHERE mailbox=? AND target_uid>=?", mailbox, uid_next);
}

void add_surplus(Db& db, MailboxId mailbox, Uid uid, MessageId twin, bool removed, const std::string& detail) {
  db.run("INSERT OR REPLACE INTO surplus(mailbox, target_uid, twin, removed, detail) VALUES(?,?,?,?,?)", mailbox, uid,
         twin, removed, detail);
}

std::vector<FlagChange> flag_changes(Db& db, MailboxId mailbox) {
  std::vector<FlagChange> out;
  Rows r = db.rows(
      "SELECT m.id, m.target_uid, f.names, n.names, n.id, m.state=4, m.e1, m.e1x FROM message m JOIN flagset f ON "
      "f.id=m.flags "
      "JOIN flagset n ON n.id=m.new_flags WHERE m.mailbox=? AND m.state IN (3, 4) AND m.new_flags IS NOT NULL",
      mailbox);
  while (r.next())
    out.push_back({r.number<MessageId>(0), r.number<Uid>(1), r.text(2), r.text(3), r.integer(4), r.integer(5) != 0,
                   r.digest(6), r.digest(7)});
  return out;
}

void flags_brought(Db& db, const std::vector<FlagChange>& changes) {
  Transaction t(db);
  for (const auto& c : changes)
    db.run("UPDATE message SET flags=?, new_flags=NULL WHERE id=? AND new_flags=?", c.now_id, c.id, c.now_id);
  t.commit();
}

std::int64_t retry_quarantined(Db& db, AccountId account) {
  Transaction t(db);
  // Only what the source still has under the same UIDVALIDITY can be read again. Some may be on the target all the same
  // ("stored, and not to be found"): the whole mailbox is looked at before anything is sent.
#define RETRIED                                                                                                        \
  "message WHERE state=7 AND uid_validity=(SELECT uid_validity FROM mailbox WHERE id=message.mailbox) AND mailbox IN " \
  "(SELECT id FROM mailbox WHERE account=?1)"
  db.run("UPDATE mailbox SET low_water=1 WHERE id IN (SELECT mailbox FROM " RETRIED ")", account);
  db.run("DELETE FROM note WHERE kind='quarantine' AND message IN (SELECT id FROM " RETRIED ")", account);
  // In its own form first: the last repaired one was refused, too.
  const auto n = db.run(
      "UPDATE message SET state=0, e1=NULL, e0=NULL, e1x=NULL WHERE id IN (SELECT id FROM " RETRIED ")", account);
#undef RETRIED
  t.commit();
  return n;
}

// ---- books ----

void Books::add(MessageState s, base::Octets size) {
  ++inventory;
  octets += size;
  switch (s) {
    case MessageState::listed:
    case MessageState::intent:
    case MessageState::acked:
      ++pending;
      pending_octets += size;
      break;
    case MessageState::verified:
      ++verified;
      [[fallthrough]];
    case MessageState::bound:
      ++bound;
      break;
    case MessageState::gone:
      ++gone;
      break;
    case MessageState::excluded:
      ++excluded;
      break;
    case MessageState::quarantined:
      ++quarantined;
      break;
  }
}

Books& Books::operator+=(const Books& o) {
  inventory += o.inventory;
  bound += o.bound;
  verified += o.verified;
  gone += o.gone;
  excluded += o.excluded;
  quarantined += o.quarantined;
  pending += o.pending;
  octets += o.octets;
  pending_octets += o.pending_octets;
  return *this;
}

// Added up here, as they lie: with GROUP BY, SQLite would sort all messages first.
std::map<std::int64_t, Books> books_by_mailbox(Db& db) {
  std::map<std::int64_t, Books> out;
  Rows r = db.rows("SELECT mailbox, state, size FROM message");
  for (auto at = out.end(); r.next();) {
    if (at == out.end() || at->first != r.integer(0)) at = out.try_emplace(r.integer(0)).first;
    at->second.add(static_cast<MessageState>(r.integer(1)), static_cast<base::Octets>(r.integer(2)));
  }
  return out;
}

namespace {
#define NOTED_COLUMNS "SELECT m.mailbox, m.id, m.uid, m.target_uid, m.size, m.date, m.zone, m.state, "

void each_noted(Rows r, const std::function<void(const NotedMessage&)>& receive) {
  while (r.next()) {
    NotedMessage m{r.number<MailboxId>(0),
                   r.number<MessageId>(1),
                   r.number<Uid>(2),
                   r.number<Uid>(3),
                   static_cast<base::Octets>(r.integer(4)),
                   {},
                   static_cast<MessageState>(r.integer(7)),
                   r.text(8),
                   r.text(9)};
    if (!r.null(5)) m.date = DateTime{r.integer(5), static_cast<int>(r.integer(6))};
    receive(m);
  }
}
}  // namespace

void each_noted_message(Db& db, const std::function<void(const NotedMessage&)>& receive) {
  each_noted(
      db.rows(NOTED_COLUMNS "n.kind, n.detail FROM note n CROSS JOIN message m ON m.id=n.message WHERE n.kind NOT IN "
                            "('found', 'superseded') ORDER BY n.id"),
      receive);
}

void each_pending_message(Db& db, const std::function<void(const NotedMessage&)>& receive) {
  each_noted(db.rows(NOTED_COLUMNS "'pending', '' FROM message m WHERE m.state<3 ORDER BY m.mailbox, m.uid"), receive);
}

std::vector<std::string> broken_invariants(Db& db) {
  std::vector<std::string> out;
  static constexpr const char* kWhat[] = {"bound without a target UID or without E1", "a target UID, but not bound",
                                          "an intent without its record", "ended without a reason", "an unknown state"};
  // All in one go: the table is large.
  Rows r = db.rows(
      "SELECT sum(state IN (3, 4) AND (target_uid IS NULL OR e1 IS NULL)), "
      "sum(state NOT IN (3, 4) AND target_uid IS NOT NULL), "
      "sum(state=1 AND NOT EXISTS(SELECT 1 FROM intent WHERE message=m.id)), "
      "sum(state IN (5, 6, 7) AND NOT EXISTS(SELECT 1 FROM note WHERE message=m.id)), "
      "sum(state NOT BETWEEN 0 AND 7) FROM message m");
  if (r.next())
    for (int i = 0; i < 5; ++i)
      if (r.integer(i) != 0) out.push_back(fmt::format("{} rows: {}", r.integer(i), kWhat[i]));
  return out;
}

}  // namespace state
