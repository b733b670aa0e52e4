// Errors as values and as exceptions: one content, two channels.
//
// Return Result for what the caller is expected to decide on (NO, malformed octets, an unusable file); throw Failed for
// what ends the unit of work (connection lost, SQLite failed, interrupted). `Scope` says how much work an error spoils,
// `Remedy` when to try again, `exit` what the process answers if nothing better happens. The text is written for a mail
// administrator: what was tried, where, what the other side said, what happens now, what can be done.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace base {

// How much work an error spoils.
enum class Scope : std::uint8_t { message, mailbox, account, run };
// When, and by whom, it can be put right.
enum class Remedy : std::uint8_t { skip, retry_later, reconnect, ask_admin };

// The process's exit codes, documented in README.md and the manual.
enum class Exit : int {
  done = 0,
  failed = 1,
  usage = 2,
  incomplete = 3,
  difference = 4,
  state_unusable = 10,
  locked = 11,
  login_refused = 12,
  plan_stale = 13,
  interrupted = 130,
};

struct Error {
  Scope scope = Scope::run;
  Remedy remedy = Remedy::ask_admin;
  std::string text;
  Exit exit = Exit::failed;
};

template <class T>
using Result = tl::expected<T, Error>;

// The same Error, unwinding. Caught by the account supervisor and by main, nowhere else but to add context.
class Failed : public std::runtime_error {
 public:
  explicit Failed(Error e) : std::runtime_error(e.text), error(std::move(e)) {}
  Error error;
};

inline tl::unexpected<Error> fail(Scope scope, Remedy remedy, std::string text, Exit exit = Exit::failed) {
  return tl::unexpected<Error>(Error{scope, remedy, std::move(text), exit});
}

template <class T>
T or_throw(Result<T> r) {
  if (!r) throw Failed(std::move(r).error());
  if constexpr (!std::is_void_v<T>) return *std::move(r);
}

}  // namespace base

// TRY(auto x, f()): x from a Result, or return its error early. A plain statement on purpose: a statement expression
// that holds co_await crashes g++ 12.
#define BASE_CAT2(a, b) a##b
#define BASE_CAT(a, b) BASE_CAT2(a, b)
#define TRY_AS(tmp, decl, expr)                                         \
  auto tmp = (expr);                                                    \
  if (!tmp) return tl::unexpected<base::Error>(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define TRY(decl, expr) TRY_AS(BASE_CAT(try_result_, __LINE__), decl, expr)
