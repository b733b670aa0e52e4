// One authenticated IMAP connection, as a migration needs it: typed commands over the sans-IO engine.
//
// After log-in capability decides what is used (nothing is inferred from a server's name). Every operation throws
// base::Failed when the connection is no longer usable; the session must then be dropped: half a literal may be on the
// wire. A tagged NO or BAD is a value. One operation at a time, but for appends (pipelines()).
//
//   auto session = co_await Session::open(dialer, options);
//   auto opened = co_await session->examine("INBOX");
//   co_await session->uid_fetch(set, "(UID FLAGS)", sink);
#pragma once

#include <boost/asio/awaitable.hpp>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "base/tasks.hpp"
#include "base/tls.hpp"
#include "imap/client/transport.hpp"
#include "imap/protocol/engine.hpp"
#include "imap/protocol/uid_set.hpp"

namespace imap {

struct SessionOptions {
  base::Endpoint endpoint;
  std::string user;
  base::Secret password;
  base::Secret master_password;  // not empty: X-MASTERAUTH with it, then X-SETUSER user (Kerio Connect)
  Access access = Access::read_only;
  std::function<void(const std::string&)> trace;  // "C: ..." and "S: ..."; may be empty
  base::Clock* clock = nullptr;                   // nothing: the system's
  // The server asked to be left alone for so long (F25): called before the next command. Empty: nobody waits.
  std::function<boost::asio::awaitable<void>(std::chrono::milliseconds)> rest;
  // Commands are sent without waiting for each answer even if LITERAL+ is not offered (see pipelines()).
  bool pipelining = false;
};

// What SELECT or EXAMINE said (RFC 3501 §6.3.1).
struct Opened {
  base::UidValidity uid_validity;
  base::Uid uid_next;  // a lower bound for every later message; found by UID FETCH * where the server does not say
  std::uint32_t exists = 0;
  base::ModSeq highest_modseq;
  std::optional<std::vector<std::string>> permanent_flags;  // nothing: the server did not say, all may be kept
  bool uid_not_sticky = false;
  // A message appended here keeps the flag, as far as the server says.
  bool keeps(std::string_view flag) const;
  bool keeps_every_flag() const;
};

// Untagged responses of one command. full() asks for a pause in which drain() may wait for something, such as the
// store.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void untagged(Untagged&& response) = 0;
  // Mail is on its way: octets count as progress (F18), but for those of responses nobody asked for.
  virtual bool carries_mail() const { return false; }
  virtual bool asked_for(const Untagged&) const { return true; }
  virtual bool full() const { return false; }
  virtual boost::asio::awaitable<void> drain() { co_return; }
  // Nothing more comes: the command has been answered.
  virtual boost::asio::awaitable<void> answered(const Answer&) { co_return; }
  // A body too large to hold; the Fetched that follows says BodyKind::streamed. Ignored by default.
  virtual boost::asio::awaitable<void> large_begin(std::uint64_t) { co_return; }
  virtual boost::asio::awaitable<void> large_chunk(std::string_view) { co_return; }
};

// What an account has, as NAMESPACE (RFC 2342; empty where not offered), LIST and LSUB show it, or one LIST where the
// server can tell subscriptions in it (RFC 5258).
struct Listing {
  Namespaces namespaces;
  std::vector<ListItem> mailboxes;   // INBOX in capitals, however the server spells it
  std::set<std::string> subscribed;  // names
};

// EXAMINE and, in it, a UID FETCH.
struct Visit {
  std::string mailbox;
  bool modseq = false;
  UidSet set;
  std::string items;  // in parentheses
  Sink* sink = nullptr;
  // As it was answered; `opened` is there before the sink gets anything.
  base::Result<Opened> opened{};
  base::Result<void> fetched = base::fail(base::Scope::mailbox, base::Remedy::skip, "the mailbox was not opened");
};

// One message of an APPEND. The octets are borrowed.
struct AppendItem {
  std::vector<std::string> flags;
  std::string internal_date;  // empty: none is sent
  std::string_view octets;
};

class Session {
 public:
  // Connects, makes the connection safe, logs in once, asks for capabilities. Refused: exit code login_refused, and
  // Remedy ask_admin, or retry_later where the server said it is busy (F24: never "wrong password").
  static boost::asio::awaitable<std::unique_ptr<Session>> open(Dialer& dialer, SessionOptions options);
  // The first half of that: the server answers, and the connection is safe. Nobody logs in.
  static boost::asio::awaitable<void> greet(Dialer& dialer, SessionOptions options);

  bool has(std::string_view capability) const { return capabilities_.has(capability); }
  const Capabilities& capabilities() const { return capabilities_; }
  const std::string& greeting() const { return greeting_; }  // the words of its first line
  // RFC 7889: the largest message the server takes; nothing: it does not say.
  std::optional<base::Octets> append_limit() const;
  const std::string& who() const { return who_; }  // "jane on source 127.0.0.1:143"
  // Where it stands; cleared when another mailbox is opened.
  const std::string& open_mailbox() const { return mailbox_; }
  // How many messages it has, as last heard.
  std::uint64_t exists() const { return exists_; }

  boost::asio::awaitable<Listing> listing();
  boost::asio::awaitable<std::vector<ListItem>> list();
  boost::asio::awaitable<std::set<std::string>> lsub();
  boost::asio::awaitable<base::Result<StatusItem>> status(const std::string& mailbox, bool modseq);
  // Several, in one round trip where commands may be pipelined; same order as asked.
  boost::asio::awaitable<std::vector<base::Result<StatusItem>>> statuses(std::vector<std::string> mailboxes,
                                                                         bool modseq);
  // `modseq`: with HIGHESTMODSEQ, which some servers do not tell unless they are asked (RFC 7162 §3.1.8).
  boost::asio::awaitable<base::Result<Opened>> examine(const std::string& mailbox, bool modseq = false);
  boost::asio::awaitable<base::Result<Opened>> select(const std::string& mailbox);
  // Several, one after the other, in one round trip where commands may be pipelined; the last stays selected.
  boost::asio::awaitable<std::vector<base::Result<Opened>>> select_each(std::vector<std::string> mailboxes);
  // One after the other, in one round trip where commands may be pipelined. A server that does not say UIDNEXT counts
  // as not opened then.
  boost::asio::awaitable<void> visit_each(std::vector<Visit>& visits);
  // A tagged NO or BAD is an error of Scope::mailbox. `items` in parentheses.
  boost::asio::awaitable<base::Result<void>> uid_fetch(const UidSet& set, std::string_view items, Sink& sink);
  boost::asio::awaitable<Answer> noop();
  boost::asio::awaitable<Answer> create(const std::string& mailbox);
  // In order, in one round trip where commands may be pipelined.
  boost::asio::awaitable<std::vector<Answer>> create_each(const std::vector<std::string>& mailboxes);
  boost::asio::awaitable<std::vector<Answer>> subscribe_each(const std::vector<std::string>& mailboxes);
  // UID STORE +FLAGS.SILENT or -FLAGS.SILENT; never plain FLAGS, which would take away what its user set (RFC 4549).
  boost::asio::awaitable<Answer> change_flags(base::Uid uid, char sign, std::vector<std::string> flags);
  boost::asio::awaitable<Answer> expunge_one(
      base::Uid uid);  // UID STORE +FLAGS.SILENT (\Deleted), UID EXPUNGE; needs UIDPLUS

  // A server that offers LITERAL+ takes commands without waiting for each answer. Then several coroutines may append at
  // once over this one connection, never while anything else is under way on it.
  bool pipelines() const { return has("LITERAL+") || options_.pipelining; }
  // All of them in one command (RFC 3502).
  boost::asio::awaitable<Answer> append_multi(const std::string& mailbox, const std::vector<AppendItem>& items);
  // One command each, sent without waiting where the server offers LITERAL+; answers in order.
  boost::asio::awaitable<std::vector<Answer>> append_each(const std::string& mailbox,
                                                          const std::vector<AppendItem>& items);
  // A body of `octets` octets that the caller writes in pieces. begin: nothing = the server said "+", else its refusal
  // (nothing was sent). Then write as often as needed, then finish, which alone sends the final CRLF that lets the
  // server store it. To give up in between: drop the session.
  boost::asio::awaitable<std::optional<Answer>> append_begin(const std::string& mailbox,
                                                             const AppendItem& without_octets, std::uint64_t octets);
  boost::asio::awaitable<void> append_write(std::string_view piece);
  boost::asio::awaitable<Answer> append_finish();

  // Says LOGOUT and closes; never throws.
  boost::asio::awaitable<void> logout();
  void close() { transport_->close(); }

 private:
  Session(SessionOptions options, std::unique_ptr<Transport> transport);
  boost::asio::awaitable<void> begin();
  boost::asio::awaitable<void> log_in();
  boost::asio::awaitable<Answer> present_password();
  boost::asio::awaitable<Answer> present_master_password();
  // A command that is answered with a challenge first; `reply` gets its text. Asked twice: the session is lost.
  boost::asio::awaitable<Answer> run_challenged(Command command, std::function<std::string(std::string_view)> reply);
  boost::asio::awaitable<base::Result<Opened>> open_mailbox(Verb verb, const std::string& mailbox, bool modseq = false);
  // Sends what is queued; returns the answers in the order of the commands.
  boost::asio::awaitable<std::vector<Answer>> exchange(Sink& sink);
  // One caller's commands among those of several.
  struct Part {
    std::size_t left = 0;  // answers to come
    std::vector<Answer> answers;
    bool queued = false;
  };
  boost::asio::awaitable<std::vector<Answer>> append_all(std::vector<Command> commands);
  boost::asio::awaitable<std::vector<Answer>> exchange_shared(std::vector<Command> commands);
  boost::asio::awaitable<void> write_part(std::vector<Command>* commands, Part* part);
  boost::asio::awaitable<void> read_part(Part* part);
  void end(const std::exception_ptr& why);
  // `sinks`: one for each command.
  boost::asio::awaitable<std::vector<Answer>> run_each(std::vector<Command> commands, std::vector<Sink*> sinks);
  boost::asio::awaitable<std::vector<Answer>> run_each(std::vector<Command> commands);
  boost::asio::awaitable<Answer> run(Command command);
  boost::asio::awaitable<Answer> run(Command command, Sink& sink);
  boost::asio::awaitable<void> write_output();
  boost::asio::awaitable<void> write_pieces();
  // Until the engine is idle, has something to send, or asks for the body.
  boost::asio::awaitable<void> read_answers(Sink& sink, bool until_idle);
  boost::asio::awaitable<void> read_responses(Sink& sink, bool until_idle);
  boost::asio::awaitable<std::vector<ListItem>> list_all(Verb verb, const char* what);
  class VisitSink;
  void submit(Command command);
  // Waits as long as the server asked for, if it did. Before every command but LOGOUT.
  boost::asio::awaitable<void> rest();
  void hear_pause(const StatusLine& line);
  // F18, see kPatience. Before each wait for the server: throws if it has had its time.
  void begin_patience();
  void mind_patience();
  void feed(std::size_t octets, bool progress);
  base::Clock& clock() { return options_.clock != nullptr ? *options_.clock : system_clock_; }
  void note(StatusLine line);
  std::string without_password(std::string text) const;
  void mask(StatusLine& line) const;
  base::Failed lost(std::string text) const;

  SessionOptions options_;
  std::unique_ptr<Transport> transport_;
  Engine engine_;
  std::string who_;
  std::string mailbox_;
  std::string bye_;
  Capabilities capabilities_;
  std::optional<Capabilities> greeted_;  // those of the greeting, while they may be believed
  std::string greeting_;
  std::vector<Answer> answers_;
  bool ready_for_body_ = false;
  std::optional<std::string> challenge_;
  bool logging_in_ = false;
  base::Secret digest_;  // what X-MASTERAUTH was answered with: with it the password could be guessed at leisure
  std::uint64_t exists_ = 0;
  std::vector<char> inbox_;
  base::SharedLock writing_;
  std::deque<Part*> sharing_;  // in the order of their commands
  Part* leader_ = nullptr;     // reads
  base::Wake shared_;
  std::exception_ptr dead_;
  base::SystemClock system_clock_;
  std::chrono::milliseconds pause_{0};          // asked for by the server, before the next command
  std::chrono::milliseconds waiting_since_;     // on the clock; later by what was not the server's doing
  std::int64_t progress_ = 0;                   // octets since then; below 0: much came that nobody had asked for
  std::uint64_t fed_ = 0, response_began_ = 0;  // octets of this connection
};

}  // namespace imap
