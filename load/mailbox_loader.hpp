// Brings the pending messages of one mailbox to the target, exactly once. The data contract is docs/architecture.md,
// "The life of one message"; this class is its only implementation, and a restart after a crash takes the same way as a
// first run: look at what is there, bind it, send what is proven absent.
//
//   MailboxLoader loader(context, row);
//   co_await loader.open_and_look();  // SELECT; everything unbound in the bracket is read and matched
//   while (loader.in_doubt()) { co_await settle; if (!co_await loader.look_again()) break; }
//   co_await loader.give_verdict();   // where something was in doubt
//   co_await loader.bring_flags();
//   co_await loader.copy();           // windows of APPENDs; late sweep; low-water mark
//
// Failures: base::Failed of Scope::mailbox (this one is given up), account (drop both sessions, reconnect, start anew),
// run.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.hpp"
#include "base/tasks.hpp"
#include "imap/client/session.hpp"
#include "load/body_source.hpp"
#include "load/gate.hpp"
#include "load/options.hpp"
#include "load/outgoing.hpp"
#include "load/unbound.hpp"
#include "load/window_reader.hpp"
#include "load/window_size.hpp"
#include "state/store.hpp"

namespace load {

struct LoadContext {
  state::Store& store;
  imap::Session& target;
  base::SharedLock& target_use;  // appends share the session, whatever selects a mailbox has it alone
  BodySource& source;
  base::Clock& clock;
  const LoadOptions& options;
  LoadCounters& counters;
  std::string account;  // address, for messages
  std::function<bool()> stopping;
  std::function<void(const std::string& kind, const std::string& detail, state::MailboxId)> event;
  std::chrono::milliseconds& slowest_append;  // of this run, answered by this target
  // A second session on the target, for what one session cannot be believed alone.
  std::function<boost::asio::awaitable<std::unique_ptr<imap::Session>>()> fresh_target;
  Gate& gate;  // asked before each window
  WindowSize& window_size;
  base::Budget& in_flight;  // octets that have been read and not been answered for
  // Target mailboxes of the account that are being copied to, over any connection: what is there may be ours, and not
  // bound yet.
  std::set<std::string>& at_work;

  WindowReader::From windows() const { return {store, source, window_size, in_flight, stopping}; }
};

class MailboxLoader {
 public:
  // `selected`: what a SELECT of this run has said of it, some time ago; without UIDVALIDITY: we have just made it, so
  // it is empty, and it has not been selected. `windows`: one that has begun to read.
  MailboxLoader(LoadContext& context, state::MailboxRow mailbox, std::optional<imap::Opened> selected = {},
                std::unique_ptr<WindowReader> windows = {});

  boost::asio::awaitable<void> open_and_look();
  // Messages whose APPEND may be on the wire and that were not found: a settle is owed before the verdict.
  std::size_t in_doubt() const { return doubtful_; }
  base::Octets octets_in_doubt() const { return doubtful_octets_; }
  // After the settle: looks at what came since; true while new copies of ours still arrive.
  boost::asio::awaitable<bool> look_again();
  // What is still not found after the settle was not stored: back to listed. What the server said it stored and two
  // sessions cannot find is quarantined.
  boost::asio::awaitable<void> give_verdict();
  boost::asio::awaitable<void> copy();
  // Flags that changed at the source since they were brought: three-way, only what the source changed (+FLAGS, -FLAGS).
  boost::asio::awaitable<void> bring_flags();

 private:
  // The target's session, alone, until the end of the scope; a loader that has it already keeps it.
  class [[nodiscard]] Alone {
   public:
    Alone(MailboxLoader* loader, base::SharedLock::Hold hold) : loader_(loader), hold_(std::move(hold)) {}
    Alone(Alone&& other) noexcept : loader_(std::exchange(other.loader_, nullptr)), hold_(std::move(other.hold_)) {}
    Alone& operator=(Alone&&) = delete;
    ~Alone() {
      if (loader_ != nullptr) loader_->alone_ = false;
    }

   private:
    MailboxLoader* loader_;
    base::SharedLock::Hold hold_;
  };
  boost::asio::awaitable<Alone> alone();
  boost::asio::awaitable<void> stand();
  boost::asio::awaitable<void> reopen();
  boost::asio::awaitable<void> take(imap::Opened opened);
  bool nothing_new() const;
  boost::asio::awaitable<void> meet();
  boost::asio::awaitable<void> forget_uids();
  boost::asio::awaitable<void> open_unless_ours();
  bool seamless() const;
  enum class Completeness : std::uint8_t { as_it_is, strict };
  boost::asio::awaitable<void> look(imap::Session& session, Completeness completeness);
  boost::asio::awaitable<void> remember_gap();
  boost::asio::awaitable<bool> holds(const state::FlagChange& change);
  boost::asio::awaitable<void> bind_in_doubt();
  std::string flags_as_sent(const std::string& flags) const;
  Copy* find_unbound(const base::Fingerprint& print, const state::MessageRow& row, Likeness at_least);
  bool is_like(const Copy& copy, const state::Twin& twin) const;
  boost::asio::awaitable<Copy*> find_copy(base::Fingerprint print, state::MessageRow row, Likeness at_least);
  state::Outcome bind_to_copy(const state::MessageRow& row, const base::Fingerprint& print, Copy& copy,
                              const std::string& how);
  std::vector<state::Note> stored_notes(const state::MessageRow& row, const std::optional<base::DateTime>& date,
                                        const std::string& there) const;
  bool set_aside(const state::MessageRow& row, imap::BodyFound found);
  boost::asio::awaitable<bool> left_out_by_policy(const state::MessageRow& row);
  boost::asio::awaitable<void> copy_listed();
  boost::asio::awaitable<void> process(Window window);
  boost::asio::awaitable<bool> settled_by_content(const state::MessageRow& row, const base::Fingerprint& print,
                                                  std::string_view octets);
  SendableFlags sendable(const std::string& flags) const;
  [[nodiscard]] bool beyond_limit(base::Octets octets) const;
  [[nodiscard]] std::string limit_words() const;
  boost::asio::awaitable<void> send(std::vector<Outgoing> items);
  boost::asio::awaitable<bool> may_send(base::Octets octets);
  boost::asio::awaitable<void> send_window(std::vector<Outgoing> items);
  void take_answer(const imap::Answer& answer, std::vector<Outgoing*> items);
  boost::asio::awaitable<std::vector<Outgoing>> not_stored(std::vector<Outgoing> items, bool proven);
  boost::asio::awaitable<void> refused_together(std::vector<Outgoing> items, imap::Answer answer);
  boost::asio::awaitable<void> refused(Outgoing item, imap::Answer answer);
  boost::asio::awaitable<void> copy_large(state::MessageRow row);
  boost::asio::awaitable<std::optional<imap::Answer>> send_large(Outgoing* item);
  boost::asio::awaitable<bool> copied_now(state::MessageRow row, imap::ReadMessage read);
  boost::asio::awaitable<void> copy_left_over();
  boost::asio::awaitable<void> quarantine(state::MessageRow row, std::string reason, std::string words,
                                          std::string_view octets);
  boost::asio::awaitable<void> quarantine_large(state::MessageRow row, std::string reason, std::string words);
  boost::asio::awaitable<void> record_quarantined(state::MessageId id, std::string reason, std::string words,
                                                  std::string path);
  void count_settled(state::MessageId id);
  enum class Synced : std::uint8_t { with_the_next, now };
  boost::asio::awaitable<std::vector<state::Outcome>> take_outcomes();
  boost::asio::awaitable<void> flush(Synced synced = Synced::with_the_next);
  boost::asio::awaitable<void> sweep();
  boost::asio::awaitable<std::vector<state::MessageRow>> find_elsewhere(std::vector<state::MessageRow> lost);
  boost::asio::awaitable<void> quarantine_lost(state::MessageRow row);
  boost::asio::awaitable<void> finish();
  [[noreturn]] void give_up(const imap::Answer& answer, const std::string& what) const;
  std::string where() const;

  class LargeAppend;

  LoadContext& context_;
  state::MailboxRow mailbox_;
  std::optional<imap::Opened> selected_;
  std::unique_ptr<WindowReader> windows_;
  bool alone_ = false;
  bool unopened_ = false;  // made by us: what opened_ says is what must be so, and a UIDVALIDITY that APPENDUID told
  imap::Opened opened_;
  base::Uid u0_;           // a lower bound for every message sent from now on
  base::Uid unseen_from_;  // every UID below is bound, or has been read
  base::Uid gap_;          // first UID of the freshest below first_u0 that the last look did not show; first_u0: none
  std::optional<base::Uid> look_again_from_;
  bool unshown_ = false;      // the last look: UIDs from u0_ to UIDNEXT that nothing accounts for
  bool spends_uids_ = false;  // on what it refuses: seen by a settle that brought nothing to light
  Unbound unbound_;
  std::unordered_map<base::Digest, std::vector<state::MessageRow>, base::DigestHash> stale_;
  std::size_t doubtful_ = 0;
  base::Octets doubtful_octets_ = 0;
  std::vector<state::Outcome> outcomes_;  // of windows answered, to be committed with the next
  std::set<base::Uid> used_now_;
  base::Uid highest_bound_;
  std::uint64_t bound_in_bracket_ = 0;
  std::set<std::int64_t> acked_now_;  // acknowledged in this run without a UID: counted once
  bool acked_ = false;                // some OK came without a UID we can use
  int refused_in_a_row_ = 0;
  bool held_back_ = false;  // asked to stop while a window waited
  bool resent_ = false;     // something was sent a second time
  std::vector<state::MessageRow> vanished_, empty_, unreadable_, large_later_;
  std::set<Rule> refused_kinds_;  // kinds of content this target has refused: such messages go alone
};

}  // namespace load
