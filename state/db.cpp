#include "state/db.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

#include <cstring>

#include "base/result.hpp"

namespace state {

using base::Exit;
using base::Remedy;
using base::Scope;

Rows::~Rows() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Rows& Rows::bind(std::int64_t v) {
  if (sqlite3_bind_int64(statement_, next_++, v) != SQLITE_OK) db_->fail("binding a number");
  return *this;
}

Rows& Rows::bind(std::string_view v) {
  if (sqlite3_bind_text64(statement_, next_++, v.data() == nullptr ? "" : v.data(), v.size(), SQLITE_TRANSIENT,
                          SQLITE_UTF8) != SQLITE_OK)
    db_->fail("binding a text");
  return *this;
}

Rows& Rows::bind(std::nullptr_t) {
  if (sqlite3_bind_null(statement_, next_++) != SQLITE_OK) db_->fail("binding a null");
  return *this;
}

Rows& Rows::blob(const void* data, std::size_t size) {
  if (sqlite3_bind_blob64(statement_, next_++, data, size, SQLITE_TRANSIENT) != SQLITE_OK) db_->fail("binding octets");
  return *this;
}

bool Rows::next() {
  const int rc = sqlite3_step(statement_);
  if (rc == SQLITE_ROW) return true;
  if (rc != SQLITE_DONE) db_->fail("reading or writing");
  return false;
}

bool Rows::null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
std::int64_t Rows::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::string Rows::text(int column) const {
  const auto* t = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return t == nullptr ? std::string()
                      : std::string(t, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

namespace {
template <class T>
std::optional<T> fixed_blob(sqlite3_stmt* statement, int column) {
  T d{};
  const void* b = sqlite3_column_blob(statement, column);
  if (b == nullptr || sqlite3_column_bytes(statement, column) != static_cast<int>(d.size())) return std::nullopt;
  std::memcpy(d.data(), b, d.size());
  return d;
}
}  // namespace

std::optional<Digest> Rows::digest(int column) const { return fixed_blob<Digest>(statement_, column); }
std::optional<std::array<std::uint8_t, 8>> Rows::short_digest(int column) const {
  return fixed_blob<std::array<std::uint8_t, 8>>(statement_, column);
}

Db::Db(const std::string& path) : path_(path) {
  if (sqlite3_open_v2(path.c_str(), &handle_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW,
                      nullptr) != SQLITE_OK) {
    const std::string why = handle_ != nullptr ? sqlite3_errmsg(handle_) : "no memory";
    sqlite3_close(handle_);
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("Could not open the state file {}: {}. Check that the folder exists and is writable.", path, why),
         Exit::state_unusable});
  }
  sqlite3_extended_result_codes(handle_, 1);
}

Db::~Db() {
  for (auto& [sql, s] : statements_) sqlite3_finalize(s);
  sqlite3_close(handle_);
}

void Db::fail(const char* doing) const {
  const int rc = sqlite3_extended_errcode(handle_);
  const char* advice = "Nothing more is sent. Look at the disk, then run again: it goes on where it stopped.";
  switch (rc & 0xFF) {
    case SQLITE_FULL:
      advice = "The disk is full. Nothing more is sent. Make room, then run again: it goes on where it stopped.";
      break;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      advice =
          "The file is damaged or is no state file. It was left as it is. Restore state.db.bak, or use a new "
          "--state folder: what is on the target already is recognised and not sent again.";
      break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
      advice = "The folder or the file is not writable. Change its rights, or use another --state folder.";
      break;
    default:
      break;
  }
  failure_ = base::Error{Scope::run, Remedy::ask_admin,
                         fmt::format("The state file {} failed while {}: {} (SQLite code {}). {}", path_, doing,
                                     sqlite3_errmsg(handle_), rc, advice),
                         Exit::state_unusable};
  throw base::Failed(*failure_);
}

// After a failed fsync the kernel may call the next one a success although the octets are lost: whoever is still at
// work (another account, a remark that nobody waits for) must not get through to it.
void Db::require_sound() const {
  if (failure_) throw base::Failed(*failure_);
}

void Db::exec(const char* sql) {
  require_sound();
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail("writing");
}

sqlite3_stmt* Db::prepared(const char* sql) {
  require_sound();
  auto& s = statements_[sql];
  if (s == nullptr && sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, nullptr) != SQLITE_OK)
    fail("preparing a statement");
  return s;
}

std::int64_t Db::last_id() const { return sqlite3_last_insert_rowid(handle_); }
std::int64_t Db::changes() const { return sqlite3_changes64(handle_); }
std::int64_t Db::steps() const {
  std::int64_t n = 0;
  for (const auto& [sql, s] : statements_)
    n += static_cast<std::uint32_t>(sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 0));
  return n;
}
bool Db::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

void Db::backup_to(const std::string& path) {
  sqlite3* to = nullptr;
  sqlite3_backup* b = nullptr;
  const bool ok = sqlite3_open(path.c_str(), &to) == SQLITE_OK &&
                  (b = sqlite3_backup_init(to, "main", handle_, "main")) != nullptr &&
                  sqlite3_backup_step(b, -1) == SQLITE_DONE;
  const bool done = sqlite3_backup_finish(b) == SQLITE_OK && ok;
  sqlite3_close(to);
  if (!done)
    throw base::Failed({Scope::run, Remedy::ask_admin,
                        fmt::format("Could not back the state file up to {}. Nothing was changed.", path),
                        Exit::state_unusable});
}

Transaction::~Transaction() {
  if (!db_.in_transaction()) return;  // ask: a full disk has rolled back already
  try {
    db_.exec("ROLLBACK");
  } catch (const base::Failed&) {
    // The failure that brought us here is the one to report.
  }
}

}  // namespace state
