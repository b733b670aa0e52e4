// An IMAP server as a model, behind imap::Transport: strict about what clients may send, with switches for what real
// servers are known to do wrong. No sockets, no threads, no real time: one world, one schedule.
//
// What it takes for granted is what Dovecot, Cyrus and Courier were seen to do; each Quirk names its server.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "imap/client/transport.hpp"

namespace test {

// Time that passes only when somebody sleeps.
class VirtualClock final : public base::Clock {
 public:
  std::chrono::milliseconds now() override { return now_; }
  std::int64_t unix_seconds() override { return 1'700'000'000 + wall_off + now_.count() / 1000; }
  boost::asio::awaitable<void> sleep(std::chrono::milliseconds d) override;
  void pass(std::chrono::milliseconds d);
  std::int64_t wall_off = 0;       // somebody has set the clock on the wall
  std::function<void()> on_sleep;  // after time has moved

 private:
  std::chrono::milliseconds now_{0};
};

struct ModelMessage {
  std::uint32_t uid = 0;
  std::string octets;
  std::set<std::string> flags;
  std::string date = "17-Jul-2020 02:44:25 +0000";
  std::chrono::milliseconds visible_at{0};
};

struct ModelMailbox {
  std::uint32_t uid_validity = 1;
  std::uint32_t uid_next = 1;
  std::vector<ModelMessage> messages;
  bool subscribed = false;
  std::string attributes;  // "\\Noselect"
  std::uint64_t modseq = 1;
};

struct Quirks {
  std::set<std::string> capabilities = {"IMAP4REV1", "UIDPLUS", "LITERAL+", "MULTIAPPEND", "NAMESPACE"};
  std::string prefix, delimiter = "/";  // of personal mailboxes
  // The server refuses a message: its words, or nothing.
  std::function<std::optional<std::string>(const ModelMessage&)> refuse;
  bool bare_lf_to_crlf = true;                // Dovecot, Courier
  bool nul_to_80 = true;                      // Dovecot
  bool header_8bit_to_x = false;              // Cyrus, munge8bit
  bool keeps_first_of_refused_multi = false;  // breaks RFC 3502
  bool refuses_after_storing = false;         // NO [UNAVAILABLE] although stored
  enum class AppendUid {
    honest,
    swapped,
    wrong_validity,
    absent,
    far_too_high,
    too_low,
    repeated
  } append_uid = AppendUid::honest;
  std::function<void(std::string&)> alters;    // what it stores is not what it was given
  bool forgets_dates = false;                  // stores "now"
  bool forgets_flags = false;                  // stores none, whatever it offers
  std::optional<std::string> permanent_flags;  // "(\\Seen \\*)"
  bool nil_for_expunged = true;                // FETCH of a vanished message: OK and NIL (RFC 2180); else nothing
  std::chrono::milliseconds hides_fresh{0};    // new messages show only later
  std::function<bool(const ModelMessage&)> nil_body;      // OK and NIL for a message that is there
  std::function<bool(const ModelMessage&)> empty_body;    // OK and no octets
  std::function<bool(const ModelMessage&)> refuses_body;  // NO to the FETCH that asks for it
  std::string size_lie;                                   // RFC822.SIZE of every message
  std::size_t refuses_literal =
      0;  // of a MULTIAPPEND without LITERAL+: NO instead of the n-th "+"; those before it are kept
  bool refuses_subscribe = false;
  bool echoes_refused_login = false;
  bool merges_equal = false;  // keeps one of several equal messages in a mailbox, and gives its UID for all of them
  bool short_lists = false;   // UID FETCH 1:n leaves out the last under OK
  std::set<std::string> unlisted;  // mailboxes that LIST leaves out, and CREATE says OK to although they are there
};

// What befalls an APPEND.
enum class Strike {
  lose_answer,  // stores, then closes
  freeze,       // says nothing more; stores only after `thaw`
  cut,          // closes in the middle of the literal
  put_off,      // NO [UNAVAILABLE], nothing stored
  store_and_no  // NO [UNAVAILABLE] although stored
};

class ModelServer {
 public:
  explicit ModelServer(VirtualClock& clock, std::string name) : clock_(clock), name_(std::move(name)) {}

  Quirks quirks;
  std::map<std::string, std::map<std::string, ModelMailbox>> users;  // login -> mailbox -> messages
  std::map<std::string, std::string> passwords;
  bool read_only = false;  // a source: every changing command is a violation

  // Faults, by the number of the APPEND command over all connections, from 1.
  std::map<std::uint64_t, Strike> strikes;
  std::chrono::milliseconds thaw{5000};  // until what is frozen is stored after all
  // By the number of the command over all connections, from 1: the connection ends before it is carried out, or after.
  enum class HangUp { before, after };
  std::map<std::uint64_t, HangUp> hang_ups;
  std::uint64_t refuse_logins = 0;                     // the next n log-ins are put off: [UNAVAILABLE]
  std::map<std::uint64_t, std::string> login_answers;  // instead of an OK, by the number of the log-in, from 1

  // Seen.
  std::uint64_t appends = 0, appended_messages = 0, logins = 0, body_fetches = 0;
  std::vector<std::string> commands;  // verbs
  std::vector<std::string> violations;

  ModelMessage& put(const std::string& user, const std::string& mailbox, std::string octets,
                    std::set<std::string> flags = {});
  std::vector<std::string> bodies(const std::string& user, const std::string& mailbox) const;
  void tick();  // what was frozen and is due is done

  std::unique_ptr<imap::Transport> connect(std::function<void()> step);

 private:
  friend class ModelConnection;
  struct Frozen {
    std::string user, mailbox;
    std::vector<ModelMessage> messages;
    std::chrono::milliseconds due;
  };
  ModelMessage stored_form(ModelMessage m) const;
  bool struck(std::uint64_t append, Strike by) const {
    const auto it = strikes.find(append);
    return it != strikes.end() && it->second == by;
  }
  VirtualClock& clock_;
  std::string name_;
  std::vector<Frozen> frozen_;
};

class ModelDialer final : public imap::Dialer {
 public:
  ModelDialer(ModelServer& source, ModelServer& target) : source_(source), target_(target) {}
  boost::asio::awaitable<std::unique_ptr<imap::Transport>> dial(base::Endpoint endpoint) override;
  std::function<void()> step;  // before each read and write; may throw

 private:
  ModelServer& source_;
  ModelServer& target_;
};

}  // namespace test
