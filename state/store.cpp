#include "state/store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/result.hpp"
#include "base/text.hpp"

namespace state {

using base::Exit;
using base::Remedy;
using base::Scope;

namespace {

base::Failed unusable(std::string text) {
  return base::Failed({Scope::run, Remedy::ask_admin, std::move(text), Exit::state_unusable});
}

std::string prepare(const std::string& directory, Store::Mode mode) {
  struct stat st {};
  const bool fresh = lstat(directory.c_str(), &st) != 0;
  if (fresh) {
    if (mode == Store::Mode::existing)
      throw unusable(fmt::format("There is no state in {}: no run has used that folder yet.", directory));
    if (mkdir(directory.c_str(), 0700) != 0)
      throw unusable(fmt::format("Could not create the state folder {}: {}. Give another one with --state DIR.",
                                 directory, std::strerror(errno)));
  } else if (!S_ISDIR(st.st_mode)) {
    throw unusable(fmt::format(
        "The state must be a folder of its own, and {} is none. Give another one with --state DIR.", directory));
  } else if (st.st_uid != geteuid() && geteuid() != 0) {
    throw unusable(
        fmt::format("The state folder {} belongs to another user. Give another one with --state DIR.", directory));
  }
  // The folder's own name too: a power cut must not take the whole state, and new passwords with it. Always, because
  // the run that made it may have been killed before this.
  const int parent = ::open((directory + "/..").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = parent >= 0 && ::fsync(parent) == 0;
  const int why = errno;
  if (parent >= 0) ::close(parent);
  if (fresh && !synced)
    throw unusable(
        fmt::format("Could not make the state folder {} safe against a power cut: {}. Look at the disk and the rights "
                    "of the folder above it, or give another one with --state DIR.",
                    directory, std::strerror(why)));
  struct statfs fs {};
  // WAL needs shared memory and honest locks, which network file systems do not give: NFS, CIFS, SMB2, SMB, 9P, Ceph,
  // AFS.
  static constexpr std::uint32_t kNetwork[] = {0x6969,     0xFF534D42, 0xFE534D42, 0x517B,
                                               0x01021997, 0x00C36400, 0x5346414F};
  if (statfs(directory.c_str(), &fs) == 0)
    for (const auto magic : kNetwork)
      if (static_cast<std::uint32_t>(fs.f_type) == magic)
        throw unusable(
            fmt::format("The state folder {} is on a network file system, where a crash could lose what was recorded. "
                        "Give a local one with --state DIR.",
                        directory));
  return directory;
}

constexpr int kApplicationId = 0x34643273;  // "4d2s"
constexpr int kSchemaVersion = 4;

// The life of a message:
//
//   listed -> intent -> acked -> bound -> verified
//                 \------------^
//   listed -> verified                          a copy was on the target already
//   intent -> listed                            proven absent on the target
//   bound, verified -> acked                    their UIDs say nothing any more
//   listed, intent, acked -> gone | excluded | quarantined
//   gone, superseded, quarantined -> listed     the source shows it again, or "4d2kms retry"
//
// Numbers of message.state are those of state::MessageState.
constexpr const char* kSchema1 = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE pin(host TEXT NOT NULL, port INTEGER NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY(host, port)) STRICT;
CREATE TABLE post_office(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, position INTEGER NOT NULL, problem TEXT) STRICT;
CREATE TABLE smtp_domain(id INTEGER PRIMARY KEY, post_office INTEGER NOT NULL REFERENCES post_office, name TEXT NOT NULL,
  position INTEGER NOT NULL,            -- 0: names the target domain (R1); others are its aliases (R2)
  UNIQUE(post_office, name)) STRICT;
CREATE TABLE account(id INTEGER PRIMARY KEY, post_office INTEGER NOT NULL REFERENCES post_office, address TEXT NOT NULL UNIQUE,
  source_login TEXT NOT NULL, target_login TEXT NOT NULL, full_name TEXT NOT NULL,
  skip TEXT,                            -- why it is not migrated
  inventoried INTEGER,                  -- when its mailboxes were last listed completely
  error TEXT) STRICT;                   -- what stopped it in the last run
CREATE TABLE not_migrated(post_office INTEGER NOT NULL REFERENCES post_office,
  account INTEGER REFERENCES account,   -- null: of the Post Office itself
  kind TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TABLE mailbox(id INTEGER PRIMARY KEY, account INTEGER NOT NULL REFERENCES account,
  wire TEXT NOT NULL, name TEXT NOT NULL,   -- as the source writes it; as people read it (UTF-8)
  delimiter TEXT NOT NULL, attributes TEXT NOT NULL, subscribed INTEGER NOT NULL,
  excluded TEXT,                        -- why its messages are not migrated (\Noselect, not the user's own, ...)
  present INTEGER NOT NULL,             -- in the last LIST
  uid_validity INTEGER NOT NULL DEFAULT 0, uid_next INTEGER NOT NULL DEFAULT 0, messages INTEGER NOT NULL DEFAULT 0,
  modseq INTEGER NOT NULL DEFAULT 0,
  complete INTEGER NOT NULL DEFAULT 0,  -- the inventory holds every message of that UIDVALIDITY below uid_next
  target_wire TEXT, target_name TEXT,
  target_validity INTEGER NOT NULL DEFAULT 0,
  low_water INTEGER NOT NULL DEFAULT 1, -- every target UID below is settled: bound or a stranger's
  first_u0 INTEGER NOT NULL DEFAULT 0,  -- the target's UIDNEXT when this store first met the mailbox
  source_error TEXT, target_error TEXT,   -- what kept its messages from being listed, or moved
  UNIQUE(account, wire)) STRICT;
CREATE UNIQUE INDEX mailbox_target ON mailbox(account, target_wire) WHERE target_wire IS NOT NULL;
CREATE TABLE flagset(id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE) STRICT;   -- sorted, joined by one space
CREATE TABLE message(id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailbox, uid_validity INTEGER NOT NULL,
  uid INTEGER NOT NULL, size INTEGER NOT NULL,
  date INTEGER, zone INTEGER,           -- INTERNALDATE: seconds since 1970, minutes east; null: no date at all
  flags INTEGER NOT NULL REFERENCES flagset,   -- those last brought to the target, or to be brought
  new_flags INTEGER,                    -- what the source shows since, where it differs
  state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,   -- APPENDs that may have left for it
  target_uid INTEGER, e1 BLOB, e0 BLOB, e1x BLOB) STRICT;
CREATE UNIQUE INDEX message_source ON message(mailbox, uid_validity, uid);
CREATE UNIQUE INDEX message_target ON message(mailbox, target_uid) WHERE target_uid IS NOT NULL;
CREATE INDEX message_pending ON message(mailbox, uid) WHERE state < 3;
CREATE INDEX message_unverified ON message(mailbox, target_uid) WHERE state = 3;
CREATE INDEX message_new_flags ON message(mailbox) WHERE new_flags IS NOT NULL;
CREATE TABLE intent(message INTEGER PRIMARY KEY REFERENCES message, target_validity INTEGER NOT NULL, u0 INTEGER NOT NULL,
  first_u0 INTEGER NOT NULL, octets INTEGER NOT NULL) STRICT;
CREATE TABLE note(id INTEGER PRIMARY KEY, message INTEGER NOT NULL REFERENCES message, kind TEXT NOT NULL, detail TEXT NOT NULL,
  UNIQUE(message, kind, detail)) STRICT;
CREATE TABLE surplus(mailbox INTEGER NOT NULL REFERENCES mailbox, target_uid INTEGER NOT NULL, twin INTEGER NOT NULL,
  removed INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY(mailbox, target_uid)) STRICT;
CREATE TABLE plan(id INTEGER PRIMARY KEY, created INTEGER NOT NULL, fingerprint TEXT NOT NULL, content TEXT NOT NULL) STRICT;
CREATE TABLE run(id INTEGER PRIMARY KEY, command TEXT NOT NULL, plan INTEGER, started INTEGER NOT NULL, ended INTEGER,
  exit INTEGER, appended INTEGER NOT NULL DEFAULT 0, octets INTEGER NOT NULL DEFAULT 0, report TEXT) STRICT;
CREATE TABLE event(id INTEGER PRIMARY KEY, run INTEGER, at INTEGER NOT NULL, account INTEGER, mailbox INTEGER, kind TEXT NOT NULL,
  detail TEXT NOT NULL) STRICT;
)sql";

// What we made, or found, on a target that we administer: domains, their aliases, accounts. As for messages, an intent
// is durable before the call leaves.
constexpr const char* kSchema2 = R"sql(
CREATE TABLE target_object(kind TEXT NOT NULL,   -- domain, alias, account
  name TEXT NOT NULL,                   -- lower case: north.example, nord.example, anna@north.example
  parent TEXT NOT NULL,                 -- of an alias or account: its target domain
  state INTEGER NOT NULL,               -- state::ObjectState
  target_id TEXT NOT NULL,              -- as the target names it; empty until it is known
  detail TEXT NOT NULL,                 -- why it was refused, in the target's words
  PRIMARY KEY(kind, name)) STRICT;
ALTER TABLE mailbox ADD COLUMN asked_name TEXT;   -- the target's name by plan, where the target then took another
)sql";

// How far a run was, for the report's curve: every second at first, every minute in the end.
constexpr const char* kSchema3 = R"sql(
CREATE TABLE sample(id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run, at INTEGER NOT NULL, stage TEXT NOT NULL,
  appended INTEGER NOT NULL, verified INTEGER NOT NULL, octets INTEGER NOT NULL) STRICT;   -- since the run began
CREATE INDEX sample_run ON sample(run);
)sql";

// E0 is reckoned otherwise now. It is only a remark: none is better than one that is never met again.
constexpr const char* kSchema4 = "UPDATE message SET e0=NULL WHERE e0 IS NOT NULL";

}  // namespace

void migrate_schema(Db& db, const std::string& backup) {
  const auto version = db.integer("PRAGMA user_version");
  const auto application = db.integer("PRAGMA application_id");
  const auto tables = db.integer("SELECT count(*) FROM sqlite_schema");
  if (application != kApplicationId && !(application == 0 && version == 0 && tables == 0))
    throw unusable(fmt::format(
        "{} is a SQLite file of another program. It was left as it is. Give another folder with --state DIR.",
        db.path()));
  if (version > kSchemaVersion)
    throw unusable(
        fmt::format("{} was written by a newer 4d2kms (schema {}, this one knows {}). It was left as it is. Use that "
                    "version.",
                    db.path(), version, kSchemaVersion));
  if (version == kSchemaVersion) return;
  if (version > 0) db.backup_to(backup);
  Transaction t(db);
  if (version < 1) db.exec(kSchema1);
  if (version < 2) db.exec(kSchema2);
  if (version < 3) db.exec(kSchema3);
  if (version < 4) db.exec(kSchema4);
  db.exec(fmt::format("PRAGMA application_id={}; PRAGMA user_version={}", kApplicationId, kSchemaVersion).c_str());
  t.commit();
}

Store::Lock::Lock(const std::string& directory, Mode mode) {
  prepare(directory, mode);
  const std::string path = directory + "/lock";
  fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    throw unusable(
        fmt::format("Could not open {}: {}. Check the rights of the folder, or give another one with --state DIR.",
                    path, std::strerror(errno)));
  // Whoever only asks how things stand ("status", "report") holds it for a moment.
  constexpr int kTries = 20;
  int tries = 0;
  while (flock(fd, LOCK_EX | LOCK_NB) != 0 && ++tries < kTries)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (tries == kTries) {
    char text[64] = {};
    const auto n = ::pread(fd, text, sizeof text - 1, 0);
    const std::string holder(base::trim({text, static_cast<std::size_t>(n < 0 ? 0 : n)}));
    ::close(fd);
    throw base::Failed(
        {Scope::run, Remedy::retry_later,
         fmt::format("Another 4d2kms (process {}) is working with {}. Wait until it has ended, or use another "
                     "--state folder.",
                     holder.empty() ? "unknown" : holder, directory),
         Exit::locked});
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    // Only the holder's number is missing for the message above; the lock itself stands. A full disk shows up at once
    // below.
  }
}

Store::Lock::~Lock() {
  if (fd >= 0) ::close(fd);  // the kernel releases the lock, also after kill -9
}

Store::Store(const std::string& directory, Mode mode)
    : directory_(directory), lock_(directory, mode), db_(directory + "/state.db"), thread_(1) {
  chmod((directory + "/state.db").c_str(), 0600);
  // EXCLUSIVE before WAL: no shared memory file, and no second connection is possible.
  db_.exec("PRAGMA locking_mode=EXCLUSIVE");
  const std::string check = db_.text("PRAGMA quick_check(1)");
  if (check != "ok")
    throw unusable(fmt::format(
        "The state file {}/state.db is damaged ({}). It was left as it is. Restore state.db.bak, or use a new "
        "--state folder: what is on the target already is recognised and not sent again.",
        directory, base::printable(check)));
  migrate_schema(db_, directory + "/state.db.bak");
  if (db_.text("PRAGMA journal_mode=WAL") != "wal")
    throw unusable(fmt::format(
        "The file system of {} does not allow the journal that crash safety needs. Give another folder with "
        "--state DIR.",
        directory));
  db_.exec(
      "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;"
      "PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=4194304; PRAGMA temp_store=FILE; PRAGMA "
      "cache_size=-8192");
}

namespace {
boost::asio::awaitable<void> do_it(Db& db, std::function<void(Db&)> work) {
  work(db);
  co_return;
}
}  // namespace

boost::asio::awaitable<void> Store::on_thread(Work work) {
  if (before_) {
    before_();
    work(db_);
  } else {
    co_await boost::asio::co_spawn(thread_, do_it(db_, std::move(work)), boost::asio::use_awaitable);
  }
}

Store::~Store() {
  thread_.join();
  try {
    db_.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  } catch (const base::Failed&) {
    // The WAL stays and is read at the next start.
  }
}

}  // namespace state
