// SQLite, thinly: statements prepared once, values bound, every return code looked at. Any failure throws base::Failed
// with exit code state_unusable: after one, nothing more is sent to any server (fsync failures are never retried), and
// every further use of the connection fails with the same words.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/fingerprint.hpp"
#include "base/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace state {

using base::Digest;

class Db;

// One running statement; reset when it goes out of scope (an unreset SELECT blocks checkpoints).
class Rows {
 public:
  Rows(Db& db, sqlite3_stmt* statement) : db_(&db), statement_(statement) {}
  Rows(Rows&& other) noexcept
      : db_(other.db_), statement_(std::exchange(other.statement_, nullptr)), next_(other.next_) {}
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  Rows& operator=(Rows&&) = delete;
  ~Rows();

  Rows& bind(std::int64_t v);
  Rows& bind(int v) { return bind(std::int64_t{v}); }
  Rows& bind(std::uint32_t v) { return bind(std::int64_t{v}); }
  Rows& bind(std::uint64_t v) { return bind(static_cast<std::int64_t>(v)); }
  Rows& bind(bool v) { return bind(std::int64_t{v}); }
  Rows& bind(std::string_view v);
  Rows& bind(const std::string& v) { return bind(std::string_view(v)); }
  Rows& bind(const char* v) { return bind(std::string_view(v)); }
  Rows& bind(const Digest& v) { return blob(v.data(), v.size()); }
  Rows& bind(const std::array<std::uint8_t, 8>& v) { return blob(v.data(), v.size()); }
  Rows& bind(std::nullptr_t);
  template <class Tag, class Rep>
  Rows& bind(base::Strong<Tag, Rep> v) {
    return bind(static_cast<std::int64_t>(v.value));
  }
  template <class T>
  Rows& bind(const std::optional<T>& v) {
    return v ? bind(*v) : bind(nullptr);
  }

  bool next();  // false: no more rows
  bool null(int column) const;
  std::int64_t integer(int column) const;
  std::string text(int column) const;
  std::optional<Digest> digest(int column) const;
  std::optional<std::array<std::uint8_t, 8>> short_digest(int column) const;
  template <class T>
  T number(int column) const {
    return T(static_cast<typename T::rep>(integer(column)));
  }

 private:
  Rows& blob(const void* data, std::size_t size);
  Db* db_;
  sqlite3_stmt* statement_;
  int next_ = 1;
};

class Db {
 public:
  // Creates the file if need be.
  explicit Db(const std::string& path);
  ~Db();
  Db(const Db&) = delete;
  Db& operator=(const Db&) = delete;

  void exec(const char* sql);  // any number of statements, no values
  // `sql` must be a literal: its address is the key of the prepared statement.
  template <class... Args>
  Rows rows(const char* sql, const Args&... args) {
    Rows r(*this, prepared(sql));
    (r.bind(args), ...);
    return r;
  }
  template <class... Args>
  std::int64_t run(const char* sql, const Args&... args) {
    Rows r = rows(sql, args...);
    while (r.next()) {
    }
    return changes();
  }
  // The first column of the first row, 0 if none.
  template <class... Args>
  std::int64_t integer(const char* sql, const Args&... args) {
    Rows r = rows(sql, args...);
    return r.next() && !r.null(0) ? r.integer(0) : 0;
  }
  template <class... Args>
  std::string text(const char* sql, const Args&... args) {
    Rows r = rows(sql, args...);
    return r.next() && !r.null(0) ? r.text(0) : std::string();
  }
  std::int64_t last_id() const;
  std::int64_t changes() const;
  bool in_transaction() const;
  // What SQLite's machine has done so far, all statements together: for tests that bound the work, not the time.
  std::int64_t steps() const;
  void backup_to(const std::string& path);
  [[noreturn]] void fail(const char* doing) const;
  const std::string& path() const { return path_; }

 private:
  sqlite3_stmt* prepared(const char* sql);
  void require_sound() const;
  std::string path_;
  mutable std::optional<base::Error> failure_;  // the first one
  sqlite3* handle_ = nullptr;
  std::unordered_map<const char*, sqlite3_stmt*> statements_;
};

class Transaction {
 public:
  explicit Transaction(Db& db) : db_(db) { db_.exec("BEGIN IMMEDIATE"); }
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit() { db_.exec("COMMIT"); }  // throws; nothing is saved until it returns

 private:
  Db& db_;
};

}  // namespace state
