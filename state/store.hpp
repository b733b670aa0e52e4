// The state directory and the one connection to its SQLite file: the promise that a killed migration can go on.
//
// Guarantee: what a committed run() wrote survives kill -9 and power loss (WAL, synchronous=FULL), and so does
// everything committed before it. One process (flock), one connection, one thread; nobody else opens the file. No
// secret is ever written into it, nor anything derived from one.
//
//   asio::io_context io;  // declared first: it must outlive the store's thread
//   Store store("4d2kms.state", Store::Mode::create);
//
//   auto work = [=](Db& db) { return pending(db, mailbox); };  // named: see g++ bug 107288
//   const auto n = co_await store.run(std::move(work));
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>

#include "base/result.hpp"
#include "state/db.hpp"

namespace state {

// Commits are not synced while it lives. If that cannot be undone at its end, nothing gets through any more (Db).
class WithoutSync {
 public:
  explicit WithoutSync(Db& db) : db_(db) { db_.exec("PRAGMA synchronous=NORMAL"); }
  ~WithoutSync() {
    try {
      db_.exec("PRAGMA synchronous=FULL");
    } catch (const base::Failed&) {
    }
  }
  WithoutSync(const WithoutSync&) = delete;
  WithoutSync& operator=(const WithoutSync&) = delete;

 private:
  Db& db_;
};

class Store {
 public:
  // `existing`: for status and report, which must not create one.
  enum class Mode : std::uint8_t { create, existing };
  // Throws Failed with exit code locked (naming the holder) or state_unusable.
  Store(const std::string& directory, Mode mode);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // On the store's thread; resumes the caller on its own executor.
  template <class F>
  boost::asio::awaitable<std::invoke_result_t<F&, Db&>> run(F work) {
    using Result = std::invoke_result_t<F&, Db&>;
    if constexpr (std::is_void_v<Result>) {
      Work here = std::ref(work);
      co_await on_thread(std::move(here));
    } else {
      std::optional<Result> result;
      Work here = [&](Db& db) { result.emplace(work(db)); };
      co_await on_thread(std::move(here));
      co_return std::move(*result);
    }
  }
  // The same, without a sync: survives kill -9; a power cut may take it, but never without what was committed after it.
  // For what the servers tell again: inventories, and answers that a look finds out as well. Never for what must be
  // known before something is sent.
  template <class F>
  auto run_in_order(F work) {
    return run([work = std::move(work)](Db& db) mutable {
      const WithoutSync now(db);
      return work(db);
    });
  }
  // Without waiting, in order with everything else; for what may be lost with the process, such as remarks. A failure
  // shows with the next run(), which meets the same file.
  template <class F>
  void post(F work) {
    auto quietly = [this, work = std::move(work)]() mutable {
      try {
        const WithoutSync now(db_);
        work(db_);
      } catch (const base::Failed&) {
      }
    };
    if (before_) quietly();
    else boost::asio::post(thread_, std::move(quietly));
  }
  // Before or after the event loop only.
  Db& db() { return db_; }
  const std::string& directory() const { return directory_; }
  std::string quarantine_directory() const { return directory_ + "/quarantine"; }
  std::string reports_directory() const { return directory_ + "/reports"; }

  // Tests die here: called before each piece of work, which is then done at once and without the thread, so that the
  // same seed does the same each time.
  void set_before(std::function<void()> hook) { before_ = std::move(hook); }

 private:
  struct Lock {
    explicit Lock(const std::string& directory, Mode mode);
    ~Lock();
    int fd = -1;
  };
  // What each run() does, compiled once: its caller's frame holds what is referred to until it is done.
  using Work = std::function<void(Db&)>;
  boost::asio::awaitable<void> on_thread(Work work);

  std::string directory_;
  Lock lock_;
  Db db_;
  std::function<void()> before_;
  boost::asio::thread_pool thread_;
};

// Brings a new or older file to the present schema; `backup` is written before an older one is touched.
void migrate_schema(Db& db, const std::string& backup);

}  // namespace state
