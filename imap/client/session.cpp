#include "imap/client/session.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>

#include "base/tasks.hpp"
#include "base/text.hpp"

namespace imap {

namespace asio = boost::asio;
using base::Exit;
using base::Remedy;
using base::Scope;

bool Opened::keeps(std::string_view flag) const {
  return !permanent_flags || std::any_of(permanent_flags->begin(), permanent_flags->end(), [&](const auto& listed) {
    return base::iequals(listed, flag) || (listed == "\\*" && !flag.starts_with('\\'));
  });
}

bool Opened::keeps_every_flag() const {
  const auto flags = {"\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft", "any-other"};
  return std::all_of(flags.begin(), flags.end(), [this](const char* f) { return keeps(f); });
}

namespace {

class Ignore final : public Sink {
 public:
  void untagged(Untagged&&) override {}
};

// Keeps all responses of one kind.
template <class T>
class Collect final : public Sink {
 public:
  void untagged(Untagged&& response) override {
    if (items.size() >= kMost)
      throw base::Failed(
          {Scope::account, Remedy::ask_admin, "The server's answer has no end. The connection is dropped."});
    if (auto* t = std::get_if<T>(&response)) items.push_back(std::move(*t));
    else if (auto* o = std::get_if<Other>(&response); o != nullptr && !o->why.empty()) unreadable = o->why;
  }
  static constexpr std::size_t kMost = 1'000'000;  // mailboxes in one account, say (S10)
  std::vector<T> items;
  std::string unreadable;
};

class OpenedSink final : public Sink {
 public:
  void untagged(Untagged&& response) override {
    if (auto* e = std::get_if<Exists>(&response)) {
      opened.exists = e->count;
    } else if (auto* line = std::get_if<StatusLine>(&response)) {
      const auto n = parse_number(line->code.arguments);
      const auto& code = line->code.name;
      if (code == "UIDVALIDITY" && n && *n <= UINT32_MAX)
        opened.uid_validity = base::UidValidity(static_cast<std::uint32_t>(*n));
      if (code == "UIDNEXT" && n && *n <= UINT32_MAX) opened.uid_next = base::Uid(static_cast<std::uint32_t>(*n));
      if (code == "HIGHESTMODSEQ" && n) opened.highest_modseq = base::ModSeq(*n);
      if (code == "UIDNOTSTICKY") opened.uid_not_sticky = true;
      if (code == "PERMANENTFLAGS") {
        std::string_view inner = base::trim(line->code.arguments);
        if (inner.starts_with('(') && inner.ends_with(')')) inner = inner.substr(1, inner.size() - 2);
        opened.permanent_flags.emplace();
        for (auto& f : base::split(inner, ' '))
          if (!f.empty()) opened.permanent_flags->push_back(std::move(f));
      }
    }
  }
  Opened opened;
};

tl::unexpected<base::Error> refused(const Answer& answer) {
  return base::fail(Scope::mailbox, Remedy::skip, "server said " + answer.tagged.verbatim());
}

constexpr std::size_t kPipelined = 100;

// Of several commands in one round trip: what comes before the n-th answer is the n-th's.
class InTurn final : public Sink {
 public:
  InTurn(std::vector<Sink*> each, const std::vector<Answer>& answers) : each_(std::move(each)), answers_(answers) {}
  void begin(std::size_t at) { at_ = at; }
  void untagged(Untagged&& response) override { now().untagged(std::move(response)); }
  bool carries_mail() const override { return now().carries_mail(); }
  bool asked_for(const Untagged& response) const override { return now().asked_for(response); }
  bool full() const override { return now().full(); }
  asio::awaitable<void> drain() override { return now().drain(); }
  asio::awaitable<void> answered(const Answer& answer) override { return now().answered(answer); }
  asio::awaitable<void> large_begin(std::uint64_t octets) override { return now().large_begin(octets); }
  asio::awaitable<void> large_chunk(std::string_view octets) override { return now().large_chunk(octets); }

 private:
  Sink& now() const { return *each_[std::min(at_ + answers_.size(), each_.size() - 1)]; }
  std::vector<Sink*> each_;
  const std::vector<Answer>& answers_;
  std::size_t at_ = 0;
};

Command opening(Verb verb, const std::string& mailbox, bool modseq) {
  Command command(verb);
  command.string(mailbox);
  if (modseq) command.word("(CONDSTORE)");
  return command;
}

std::vector<Command> for_each_name(Verb verb, const std::vector<std::string>& mailboxes) {
  std::vector<Command> out;
  for (const auto& m : mailboxes) out.push_back(std::move(Command(verb).string(m)));
  return out;
}

std::string random_tag_prefix() {
  unsigned char octets[4];
  if (RAND_bytes(octets, sizeof octets) != 1) throw base::Failed({Scope::run, Remedy::ask_admin, "No random numbers."});
  std::string out;
  for (const auto o : octets) out += static_cast<char>('A' + o % 26);
  return out;
}

// The server is busy, not unwilling (F24, F25, RFC 5530).
bool is_transient(const StatusLine& line) {
  const auto& c = line.code.name;
  if (c == "AUTHENTICATIONFAILED" || c == "AUTHORIZATIONFAILED" || c == "EXPIRED" || c == "CONTACTADMIN") return false;
  const std::string text = base::lower(line.text);
  return is_busy_code(c) || text.find("maximum number of connections") != std::string::npos ||
         text.find("too many") != std::string::npos || text.find("try again") != std::string::npos ||
         base::stated_pause(line.text);
}

}  // namespace

Session::Session(SessionOptions options, std::unique_ptr<Transport> transport)
    : options_(std::move(options)),
      transport_(std::move(transport)),
      engine_(options_.access, random_tag_prefix()),
      who_(fmt::format("{} on {} {}:{}", base::printable(options_.user), options_.endpoint.side, options_.endpoint.host,
                       options_.endpoint.port)),
      inbox_(64 * 1024) {}

asio::awaitable<std::unique_ptr<Session>> Session::open(Dialer& dialer, SessionOptions options) {
  const base::Endpoint endpoint = options.endpoint;
  refuse_cleartext(endpoint);
  auto transport = co_await dialer.dial(endpoint);
  std::unique_ptr<Session> session(new Session(std::move(options), std::move(transport)));
  session->begin_patience();
  co_await session->begin();
  co_await session->log_in();
  co_return session;
}

asio::awaitable<void> Session::greet(Dialer& dialer, SessionOptions options) {
  const base::Endpoint endpoint = options.endpoint;
  refuse_cleartext(endpoint);
  auto transport = co_await dialer.dial(endpoint);
  std::unique_ptr<Session> session(new Session(std::move(options), std::move(transport)));
  session->begin_patience();
  co_await session->begin();
  session->transport_->close();
}

base::Failed Session::lost(std::string text) const {
  if (!bye_.empty()) text += fmt::format(" The server had said {}.", bye_);
  return base::Failed(
      {Scope::account, Remedy::reconnect,
       fmt::format("{} ({}).", base::trim(text).ends_with('.') ? text.substr(0, text.size() - 1) : text, who_)});
}

// A server that hangs up on a log-in may repeat it, too.
void Session::note(StatusLine line) {
  if (line.status != Status::bye) return;
  mask(line);
  bye_ = line.verbatim();
}

void Session::submit(Command command) {
  if (options_.trace) options_.trace("C: " + command.trace());
  // Given up in the middle of a message: whatever came next would be taken for the rest of it.
  if (ready_for_body_ && !dead_) end(std::make_exception_ptr(lost("A message was given up before its end.")));
  if (dead_) std::rethrow_exception(dead_);
  if (engine_.idle()) begin_patience();
  engine_.submit(std::move(command));
}

asio::awaitable<void> Session::rest() {
  const auto pause = std::exchange(pause_, std::chrono::milliseconds(0));
  if (pause.count() > 0 && options_.rest) co_await options_.rest(pause);
}

void Session::hear_pause(const StatusLine& line) {
  if (const auto pause = base::stated_pause(line.text)) pause_ = std::max(pause_, *pause);
}

void Session::begin_patience() {
  waiting_since_ = clock().now();
  progress_ = 0;
}

void Session::mind_patience() {
  const auto patience = kPatience * options_.endpoint.silence;
  if (progress_ >= kProgress) begin_patience();
  else if (clock().now() - waiting_since_ >= patience)
    throw lost(
        fmt::format("The server sends something now and then, but has not got on within {}; the connection is "
                    "given up.",
                    base::human_duration(patience)));
}

void Session::feed(std::size_t octets, bool progress) {
  engine_.feed({inbox_.data(), octets});
  fed_ += octets;
  if (progress) progress_ += static_cast<std::int64_t>(octets);
}

asio::awaitable<void> Session::begin() {
  // The greeting: exactly one untagged OK (S4, S5).
  std::optional<StatusLine> greeting;
  while (!greeting) {
    auto event = base::or_throw(engine_.next());
    if (!event) {
      mind_patience();
      const auto n = co_await transport_->read_some(asio::buffer(inbox_));
      feed(n, false);
      continue;
    }
    auto* u = std::get_if<Untagged>(&*event);
    if (u == nullptr || !std::holds_alternative<StatusLine>(*u))
      throw base::Failed({Scope::run, Remedy::ask_admin,
                          fmt::format("{}:{} did not greet as an IMAP server does. Check host and port.",
                                      options_.endpoint.host, options_.endpoint.port)});
    greeting = std::get<StatusLine>(*u);
  }
  if (greeting->status != Status::ok) {
    const bool bye = greeting->status == Status::bye;
    throw base::Failed(
        {bye ? Scope::account : Scope::run, bye ? Remedy::reconnect : Remedy::ask_admin,
         fmt::format("{}:{} answered {} instead of a greeting{}.", options_.endpoint.host, options_.endpoint.port,
                     greeting->verbatim(), bye ? "" : "; a connection that is already logged in is not used")});
  }
  greeting_ = greeting->text;
  // Of one in clear that is to become a safe one nothing said before counts (RFC 3501 §6.2.1).
  if (greeting->code.name == "CAPABILITY" && options_.endpoint.tls != base::TlsMode::starttls)
    greeted_ = parse_capabilities(greeting->code.arguments);
  if (options_.endpoint.tls == base::TlsMode::starttls) {
    const auto answer = co_await run(Command(Verb::starttls));
    if (!answer.ok())
      throw base::Failed(
          {Scope::run, Remedy::ask_admin,
           fmt::format("{}:{} refused STARTTLS: {}. No password was sent. Use --{}-tls tls with its TLS port, "
                       "usually 993.",
                       options_.endpoint.host, options_.endpoint.port, answer.tagged.verbatim(),
                       options_.endpoint.side)});
    // RFC 3501 §6.2.1; S2: whatever came along in clear after that OK could be somebody else's.
    if (engine_.holds_octets())
      throw base::Failed({Scope::run, Remedy::ask_admin,
                          fmt::format("{}:{} sent more octets in clear after STARTTLS. The connection was closed; no "
                                      "password was sent.",
                                      options_.endpoint.host, options_.endpoint.port)});
    co_await transport_->start_tls();
  }
}

std::string Session::without_password(std::string text) const {
  const std::string plain(options_.password.reveal());
  std::string quoted;
  for (const char c : plain) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  const std::string sasl = std::string("\0", 1) + options_.user + std::string("\0", 1) + plain;
  for (const auto& form : {quoted, plain, base::base64_encode(sasl), base::base64_encode(plain),
                           std::string(options_.master_password.reveal()), std::string(digest_.reveal())})
    text = base::masked(std::move(text), form);
  return text;
}

void Session::mask(StatusLine& line) const {
  line.text = without_password(std::move(line.text));
  line.code.arguments = without_password(std::move(line.code.arguments));
}

asio::awaitable<Answer> Session::run_challenged(Command command, std::function<std::string(std::string_view)> reply) {
  co_await rest();
  submit(std::move(command));
  Ignore ignore;
  challenge_.reset();
  bool answered_challenge = false;
  co_await write_output();
  while (!engine_.idle()) {
    co_await read_answers(ignore, false);
    if (!challenge_) continue;
    if (std::exchange(answered_challenge, true))
      throw lost("The server asks for the password again and again. The connection is dropped.");
    std::string text = reply(*std::exchange(challenge_, std::nullopt));
    engine_.reply_to_challenge(text);
    OPENSSL_cleanse(text.data(), text.size());
    co_await write_output();
  }
  Answer answer = std::move(answers_.back());
  answers_.clear();
  co_return answer;
}

asio::awaitable<Answer> Session::present_password() {
  // Capabilities before log-in serve one question only: may LOGIN be used?
  Capabilities offered;
  if (greeted_) {
    offered = *greeted_;
  } else {
    Collect<Capabilities> before;
    co_await run(Command(Verb::capability), before);
    if (!before.items.empty()) offered = before.items.back();
  }
  logging_in_ = true;
  if (!(offered.has("LOGINDISABLED") && offered.has("AUTH=PLAIN")))
    co_return co_await run(std::move(Command(Verb::login).string(options_.user).string(options_.password.reveal())));
  std::function<std::string(std::string_view)> reply = [this](std::string_view) {
    std::string message("\0", 1);
    message += options_.user;
    message += '\0';
    message += options_.password.reveal();
    std::string coded = base::base64_encode(message);
    OPENSSL_cleanse(message.data(), message.size());
    return coded;
  };
  co_return co_await run_challenged(Command(Verb::authenticate_plain), std::move(reply));
}

// Not a SASL mechanism but two commands of Kerio Connect's own (vendor article "IMAP Master Authentication").
asio::awaitable<Answer> Session::present_master_password() {
  if (!transport_->encrypted() && !base::is_loopback(options_.endpoint.host))
    throw base::Failed({Scope::run, Remedy::ask_admin,
                        "The master password is only sent inside TLS: its challenge is a weak one. Leave --target-tls "
                        "at its default."});
  logging_in_ = true;
  std::function<std::string(std::string_view)> reply = [this](std::string_view challenge) {
    std::string message(base::trim(challenge));
    message += options_.master_password.reveal();
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    EVP_Digest(message.data(), message.size(), digest, &n, EVP_md5(), nullptr);
    OPENSSL_cleanse(message.data(), message.size());
    std::string text = base::hex({reinterpret_cast<char*>(digest), n});
    digest_ = base::Secret(text);
    return text;
  };
  Answer answer = co_await run_challenged(Command(Verb::x_masterauth), std::move(reply));
  mask(answer.tagged);
  if (is_transient(answer.tagged)) co_return answer;
  if (!answer.ok())
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("The target refused the master password (X-MASTERAUTH): server said {}. Check it, and "
                     "that master authentication is on and allowed from this machine; or leave it out, and "
                     "each account's own password is used.",
                     answer.tagged.verbatim()),
         Exit::login_refused});
  co_return co_await run(std::move(Command(Verb::x_setuser).string(options_.user)));
}

asio::awaitable<void> Session::log_in() {
  Answer answer;
  if (options_.master_password.empty()) answer = co_await present_password();
  else answer = co_await present_master_password();
  // Some servers repeat the command in their refusal: the password must not get into a log, the state or a report
  // (S23).
  mask(answer.tagged);
  logging_in_ = false;
  if (!answer.ok()) {
    const bool busy = is_transient(answer.tagged);
    throw base::Failed(
        {Scope::account, busy ? Remedy::retry_later : Remedy::ask_admin,
         busy ? fmt::format("Log-in as {} was put off: server said {}.", who_, answer.tagged.verbatim())
              : fmt::format("Log-in as {} was refused: server said {}. It is not tried again in this run. "
                            "Check user name and password, then run again.",
                            who_, answer.tagged.verbatim()),
         busy ? Exit::failed : Exit::login_refused});
  }
  // What counts is what is offered after log-in (S1, F52).
  if (answer.tagged.code.name == "CAPABILITY") {
    capabilities_ = parse_capabilities(answer.tagged.code.arguments);
  } else {
    Collect<Capabilities> after;
    co_await run(Command(Verb::capability), after);
    if (!after.items.empty()) capabilities_ = after.items.back();
  }
  engine_.use_literals(has("LITERAL+")   ? LiteralMode::plus
                       : has("LITERAL-") ? LiteralMode::minus
                                         : LiteralMode::synchronising);
}

asio::awaitable<void> Session::write_pieces() {
  // In parts: each that has left shows that the server still takes what it is given.
  std::vector<std::string_view> part;
  std::int64_t octets = 0;
  auto pieces = engine_.output();
  for (auto piece : pieces) {
    while (!piece.empty()) {
      part.push_back(piece.substr(0, static_cast<std::size_t>(kProgress - octets)));
      octets += static_cast<std::int64_t>(part.back().size());
      piece.remove_prefix(part.back().size());
      if (octets < kProgress) continue;
      co_await transport_->write_all(std::move(part));
      begin_patience();
      part.clear();
      octets = 0;
    }
  }
  if (!part.empty()) {
    co_await transport_->write_all(std::move(part));
    begin_patience();
  }
  engine_.written();
}

asio::awaitable<void> Session::read_responses(Sink& sink, bool until_idle) {
  for (;;) {
    auto event = engine_.next();
    if (!event) throw lost(event.error().text);
    if (!*event) {
      if (engine_.idle() || ready_for_body_ || challenge_ || (!until_idle && engine_.output_pending())) co_return;
      mind_patience();
      std::size_t n = 0;
      try {
        n = co_await transport_->read_some(asio::buffer(inbox_));
      } catch (const base::Failed& f) {
        throw lost(f.error.text);
      }
      if (dead_) std::rethrow_exception(dead_);  // meanwhile, on another coroutine
      feed(n, sink.carries_mail());
      continue;
    }
    // What the sink does meanwhile, such as wait for the store or for another server, is not this server's delay.
    const auto began = clock().now();
    if (auto* u = std::get_if<Untagged>(&**event)) {
      const auto position = fed_ - engine_.unread();
      const auto size = position - std::exchange(response_began_, position);
      if (sink.carries_mail() && !sink.asked_for(*u)) progress_ -= static_cast<std::int64_t>(size);
      if (auto* line = std::get_if<StatusLine>(u)) {
        hear_pause(*line);
        note(*line);
      }
      if (auto* e = std::get_if<Exists>(u)) exists_ = e->count;
      sink.untagged(std::move(*u));
      if (sink.full()) co_await sink.drain();
    } else if (auto* a = std::get_if<Answer>(&**event)) {
      if (options_.trace)
        options_.trace("S: " + (logging_in_ ? std::string(a->ok() ? "OK" : "NO") + " ***" : a->tagged.verbatim()));
      response_began_ = fed_ - engine_.unread();
      hear_pause(a->tagged);
      begin_patience();
      if (sharing_.empty()) {
        co_await sink.answered(*a);
        answers_.push_back(std::move(*a));
      } else {
        Part* part = sharing_.front();
        part->answers.push_back(std::move(*a));
        if (--part->left == 0) {
          sharing_.pop_front();
          shared_.notify();
          if (part == leader_) co_return;
        }
      }
      // What stands behind the last answer belongs to the next command - or, behind that of STARTTLS, to nobody (S2).
      if (engine_.idle()) co_return;
    } else if (auto* large = std::get_if<LargeLiteral>(&**event)) {
      co_await sink.large_begin(large->size);
    } else if (auto* chunk = std::get_if<LargeLiteralChunk>(&**event)) {
      co_await sink.large_chunk(chunk->octets);
    } else if (std::holds_alternative<ReadyForBody>(**event)) {
      ready_for_body_ = true;
    } else {
      challenge_ = std::move(std::get<Challenge>(**event).text);
    }
    waiting_since_ += clock().now() - began;
  }
}

// Whoever comes later, on another coroutine, must not take what is left of these answers for his own.
asio::awaitable<void> Session::write_output() {
  try {
    co_await write_pieces();
  } catch (...) {
    end(std::current_exception());
    throw;
  }
}

asio::awaitable<void> Session::read_answers(Sink& sink, bool until_idle) {
  try {
    co_await read_responses(sink, until_idle);
  } catch (...) {
    end(std::current_exception());
    throw;
  }
}

asio::awaitable<std::vector<Answer>> Session::exchange(Sink& sink) {
  if (engine_.needs_continuation()) {
    while (!engine_.idle()) {
      co_await write_output();
      co_await read_answers(sink, false);
      if (ready_for_body_) break;
    }
  } else {
    // Read while writing: if both ends only wrote, both buffers would fill and nobody would read.
    const auto ended = co_await base::run_both(write_output(), read_answers(sink, true));
    if (ended.second) std::rethrow_exception(ended.second);
    if (ended.first) std::rethrow_exception(ended.first);
  }
  co_return std::exchange(answers_, {});
}

asio::awaitable<void> Session::write_part(std::vector<Command>* commands, Part* part) {
  try {
    const auto hold = co_await writing_.alone();
    co_await rest();
    for (auto& c : *commands) submit(std::move(c));
    sharing_.push_back(part);
    part->queued = true;
    shared_.notify();
    co_await write_output();
  } catch (...) {
    end(std::current_exception());
    throw;
  }
}

// One of those who wait reads for all.
asio::awaitable<void> Session::read_part(Part* part) {
  Ignore ignore;
  while (part->left > 0) {
    if (dead_) std::rethrow_exception(dead_);
    if (leader_ != nullptr || !part->queued) {
      co_await shared_.wait();
      continue;
    }
    leader_ = part;
    try {
      co_await read_answers(ignore, true);
    } catch (...) {
      leader_ = nullptr;
      throw;
    }
    leader_ = nullptr;
    shared_.notify();
  }
}

// Everybody who waits for an answer here, or asks for one later, learns why none comes; a blocked write ends.
void Session::end(const std::exception_ptr& why) {
  if (!dead_) dead_ = why;
  transport_->close();
  shared_.notify();
}

asio::awaitable<std::vector<Answer>> Session::exchange_shared(std::vector<Command> commands) {
  Part part;
  part.left = commands.size();
  const auto ended = co_await base::run_both(write_part(&commands, &part), read_part(&part));
  if (ended.second) std::rethrow_exception(ended.second);
  if (ended.first) std::rethrow_exception(ended.first);
  co_return std::move(part.answers);
}

asio::awaitable<Answer> Session::run(Command command, Sink& sink) {
  if (command.verb() != Verb::logout) co_await rest();
  submit(std::move(command));
  co_await write_output();
  co_await read_answers(sink, false);
  while (!engine_.idle()) {
    co_await write_output();
    co_await read_answers(sink, false);
  }
  auto answers = std::exchange(answers_, {});
  co_return std::move(answers.back());
}

asio::awaitable<Answer> Session::run(Command command) {
  Ignore ignore;
  co_return co_await run(std::move(command), ignore);
}

std::optional<base::Octets> Session::append_limit() const {
  for (const auto& c : capabilities_.names)
    if (c.starts_with("APPENDLIMIT="))
      if (const auto n = parse_number(std::string_view(c).substr(12))) return *n;
  return std::nullopt;
}

namespace {

// Without what is only above one that is subscribed (RFC 3501 §6.3.9); Courier says so without being asked for it.
std::set<std::string> subscribed_names(const std::vector<ListItem>& items) {
  std::set<std::string> out;
  for (const auto& i : items)
    if (!i.has("\\noselect")) out.insert(i.name);
  return out;
}

Command everything(Verb verb) { return std::move(Command(verb).string("").string("*")); }

// A mailbox that cannot be read from the list would be a mailbox left behind without a word. INBOX has one spelling
// only.
std::vector<ListItem> whole_list(const Answer& answer, Collect<ListItem>& sink, const char* what,
                                 const std::string& who) {
  if (!answer.ok() || !sink.unreadable.empty())
    throw base::Failed({Scope::account, Remedy::ask_admin,
                        fmt::format("Could not list the {} of {}: {}.", what, who,
                                    answer.ok() ? "a response is malformed (" + sink.unreadable + ")"
                                                : "server said " + answer.tagged.verbatim())});
  for (auto& i : sink.items)
    if (base::iequals(i.name, "INBOX")) i.name = "INBOX";
  return std::move(sink.items);
}

constexpr const char* kMailboxes = "mailboxes";
constexpr const char* kSubscriptions = "subscriptions";

}  // namespace

asio::awaitable<std::vector<ListItem>> Session::list_all(Verb verb, const char* what) {
  Collect<ListItem> sink;
  const auto answer = co_await run(everything(verb), sink);
  co_return whole_list(answer, sink, what, who_);
}

asio::awaitable<std::vector<ListItem>> Session::list() { co_return co_await list_all(Verb::list, kMailboxes); }
asio::awaitable<std::set<std::string>> Session::lsub() {
  co_return subscribed_names(co_await list_all(Verb::lsub, kSubscriptions));
}

asio::awaitable<Listing> Session::listing() {
  Listing out;
  Collect<Namespaces> spaces;
  Collect<ListItem> items;
  std::vector<Command> commands;
  std::vector<Sink*> sinks;
  if (has("NAMESPACE")) {
    commands.emplace_back(Verb::namespaces);
    sinks.push_back(&spaces);
  }
  const bool extended = has("LIST-EXTENDED");
  if (extended)
    commands.push_back(std::move(
        everything(Verb::list).word("RETURN").word(has("SPECIAL-USE") ? "(SUBSCRIBED SPECIAL-USE)" : "(SUBSCRIBED)")));
  else commands.push_back(everything(Verb::lsub));
  sinks.push_back(&items);
  const auto answers = co_await run_each(std::move(commands), std::move(sinks));
  if (!spaces.items.empty()) out.namespaces = spaces.items.back();
  if (extended && answers.back().ok()) {
    out.mailboxes = whole_list(answers.back(), items, kMailboxes, who_);
    for (const auto& i : out.mailboxes)
      if (i.has("\\subscribed")) out.subscribed.insert(i.name);
    // None at all may also mean that the server did not heed what it was asked for.
    if (out.subscribed.empty()) out.subscribed = co_await lsub();
    co_return out;
  }
  if (extended) out.subscribed = co_await lsub();
  else out.subscribed = subscribed_names(whole_list(answers.back(), items, kSubscriptions, who_));
  // Only now: Dovecot begins a LIST while the lines of a long LSUB wait for its client to read, and those of both mix.
  out.mailboxes = co_await list();
  co_return out;
}

namespace {
const StatusItem* status_of(const std::string& mailbox, const std::vector<StatusItem>& items) {
  const auto found = std::find_if(items.begin(), items.end(), [&](const auto& i) {
    return i.name == mailbox || (base::iequals(i.name, "INBOX") && base::iequals(mailbox, "INBOX"));
  });
  return found == items.end() ? nullptr : &*found;
}
}  // namespace

asio::awaitable<std::vector<base::Result<StatusItem>>> Session::statuses(std::vector<std::string> mailboxes,
                                                                         bool modseq) {
  const char* items = modseq ? "(MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ)" : "(MESSAGES UIDNEXT UIDVALIDITY)";
  std::vector<Command> commands;
  std::vector<Collect<StatusItem>> said(mailboxes.size());
  std::vector<Sink*> sinks;
  for (std::size_t i = 0; i < mailboxes.size(); ++i) {
    commands.push_back(std::move(Command(Verb::status).string(mailboxes[i]).word(items)));
    sinks.push_back(&said[i]);
  }
  const auto answers = co_await run_each(std::move(commands), std::move(sinks));
  std::vector<base::Result<StatusItem>> out;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!answers[i].ok()) out.emplace_back(refused(answers[i]));
    else if (const auto* item = status_of(mailboxes[i], said[i].items)) out.emplace_back(*item);
    else out.emplace_back(base::fail(Scope::mailbox, Remedy::skip, "the server said OK to STATUS, but not the status"));
  }
  co_return out;
}

asio::awaitable<base::Result<StatusItem>> Session::status(const std::string& mailbox, bool modseq) {
  std::vector<std::string> one(1, mailbox);  // named: g++ 12 miscompiles a braced list inside co_await
  auto all = co_await statuses(std::move(one), modseq);
  co_return std::move(all.front());
}

asio::awaitable<base::Result<Opened>> Session::open_mailbox(Verb verb, const std::string& mailbox, bool modseq) {
  OpenedSink sink;
  mailbox_.clear();
  const auto answer = co_await run(opening(verb, mailbox, modseq), sink);
  if (!answer.ok()) co_return refused(answer);
  mailbox_ = mailbox;
  exists_ = sink.opened.exists;
  Opened& o = sink.opened;
  if (!o.uid_next) {
    // Courier says it in STATUS only. Else the highest UID there is, plus one, is a lower bound as good (RFC 3501
    // §2.3.1.1).
    o.uid_next = base::Uid(1);
    const auto said = co_await status(mailbox, false);
    if (said && said->uid_next && *said->uid_next <= UINT32_MAX && said->uid_validity == o.uid_validity.value)
      o.uid_next = std::max(o.uid_next, base::Uid(static_cast<std::uint32_t>(*said->uid_next)));
    if (o.exists > 0) {
      Collect<Fetched> fetched;
      const auto last = co_await run(std::move(Command(Verb::uid_fetch).word("*").word("(UID)")), fetched);
      for (const auto& f : fetched.items)
        if (last.ok() && f.uid && f.uid->value >= o.uid_next.value) o.uid_next = base::Uid(f.uid->value + 1);
    }
  }
  co_return o;
}

asio::awaitable<base::Result<Opened>> Session::examine(const std::string& mailbox, bool modseq) {
  co_return co_await open_mailbox(Verb::examine, mailbox, modseq);
}

asio::awaitable<base::Result<Opened>> Session::select(const std::string& mailbox) {
  co_return co_await open_mailbox(Verb::select, mailbox);
}

namespace {
base::Result<Opened> opened_as(const Answer& answer, const Opened& said) {
  if (!answer.ok()) return refused(answer);
  if (!said.uid_next) return base::fail(Scope::mailbox, Remedy::skip, "the server did not say UIDNEXT");
  return said;
}
}  // namespace

asio::awaitable<std::vector<base::Result<Opened>>> Session::select_each(std::vector<std::string> mailboxes) {
  std::vector<OpenedSink> each(mailboxes.size());
  std::vector<Sink*> sinks;
  for (auto& s : each) sinks.push_back(&s);
  std::vector<base::Result<Opened>> out;
  mailbox_.clear();
  const auto answers = co_await run_each(for_each_name(Verb::select, mailboxes), std::move(sinks));
  for (std::size_t i = 0; i < answers.size(); ++i) {
    out.push_back(opened_as(answers[i], each[i].opened));
    mailbox_ = answers[i].ok() ? mailboxes[i] : std::string();
    exists_ = each[i].opened.exists;
  }
  co_return out;
}

// The FETCH of a visit. Where EXAMINE was refused, whatever the server may answer it with is about another mailbox.
class Session::VisitSink final : public Sink {
 public:
  VisitSink(Session& session, Visit& visit, const OpenedSink& opened)
      : session_(session), visit_(visit), opened_(opened) {}
  void untagged(Untagged&& response) override {
    if (inside()) visit_.sink->untagged(std::move(response));
  }
  bool carries_mail() const override { return true; }
  bool asked_for(const Untagged& response) const override { return is_open() && visit_.sink->asked_for(response); }
  bool full() const override { return visit_.sink->full(); }
  asio::awaitable<void> drain() override { return visit_.sink->drain(); }
  asio::awaitable<void> answered(const Answer& answer) override {
    if (!inside()) co_return;
    visit_.fetched = answer.ok() ? base::Result<void>{} : refused(answer);
    co_await visit_.sink->answered(answer);
  }
  asio::awaitable<void> large_begin(std::uint64_t octets) override {
    if (inside()) co_await visit_.sink->large_begin(octets);
  }
  asio::awaitable<void> large_chunk(std::string_view octets) override {
    if (inside()) co_await visit_.sink->large_chunk(octets);
  }

 private:
  bool is_open() const { return began_ ? visit_.opened.has_value() : session_.answers_.back().ok(); }
  bool inside() {
    if (!began_) {  // the last answer is that of EXAMINE
      began_ = true;
      visit_.opened = opened_as(session_.answers_.back(), opened_.opened);
      session_.mailbox_ = session_.answers_.back().ok() ? visit_.mailbox : std::string();
    }
    return visit_.opened.has_value();
  }
  Session& session_;
  Visit& visit_;
  const OpenedSink& opened_;
  bool began_ = false;
};

asio::awaitable<void> Session::visit_each(std::vector<Visit>& visits) {
  if (!pipelines()) {
    for (auto& v : visits) {
      v.opened = co_await examine(v.mailbox, v.modseq);
      if (v.opened) v.fetched = co_await uid_fetch(v.set, v.items, *v.sink);
    }
    co_return;
  }
  std::vector<OpenedSink> opened(visits.size());
  std::vector<VisitSink> inside;
  inside.reserve(visits.size());
  std::vector<Command> commands;
  std::vector<Sink*> sinks;
  for (std::size_t i = 0; i < visits.size(); ++i) {
    auto& v = visits[i];
    commands.push_back(opening(Verb::examine, v.mailbox, v.modseq));
    sinks.push_back(&opened[i]);
    commands.push_back(std::move(Command(Verb::uid_fetch).word(v.set.text()).word(v.items)));
    sinks.push_back(&inside.emplace_back(*this, v, opened[i]));
  }
  mailbox_.clear();
  co_await run_each(std::move(commands), std::move(sinks));
}

asio::awaitable<base::Result<void>> Session::uid_fetch(const UidSet& set, std::string_view items, Sink& sink) {
  const auto answer = co_await run(std::move(Command(Verb::uid_fetch).word(set.text()).word(items)), sink);
  if (!answer.ok()) co_return refused(answer);
  co_return base::Result<void>{};
}

asio::awaitable<Answer> Session::noop() { co_return co_await run(Command(Verb::noop)); }

asio::awaitable<Answer> Session::create(const std::string& mailbox) {
  co_return co_await run(std::move(Command(Verb::create).string(mailbox)));
}

asio::awaitable<std::vector<Answer>> Session::run_each(std::vector<Command> commands, std::vector<Sink*> sinks) {
  InTurn sink(std::move(sinks), answers_);
  const std::size_t at_once = pipelines() ? kPipelined : 1;
  std::vector<Answer> out;
  for (std::size_t i = 0; i < commands.size(); i += at_once) {
    co_await rest();
    sink.begin(i);
    for (std::size_t k = i; k < std::min(commands.size(), i + at_once); ++k) submit(std::move(commands[k]));
    auto answers = co_await exchange(sink);
    std::move(answers.begin(), answers.end(), std::back_inserter(out));
  }
  co_return out;
}

asio::awaitable<std::vector<Answer>> Session::run_each(std::vector<Command> commands) {
  Ignore ignore;
  std::vector<Sink*> sinks(commands.size(), &ignore);
  co_return co_await run_each(std::move(commands), std::move(sinks));
}

asio::awaitable<std::vector<Answer>> Session::create_each(const std::vector<std::string>& mailboxes) {
  co_return co_await run_each(for_each_name(Verb::create, mailboxes));
}

asio::awaitable<std::vector<Answer>> Session::subscribe_each(const std::vector<std::string>& mailboxes) {
  co_return co_await run_each(for_each_name(Verb::subscribe, mailboxes));
}

asio::awaitable<Answer> Session::change_flags(base::Uid uid, char sign, std::vector<std::string> flags) {
  Command command(Verb::uid_store);
  command.word(std::to_string(uid.value)).word(std::string(1, sign) + "FLAGS.SILENT").flags(flags);
  co_return co_await run(std::move(command));
}

asio::awaitable<Answer> Session::expunge_one(base::Uid uid) {
  std::vector<std::string> deleted(1, "\\Deleted");
  auto answer = co_await change_flags(uid, '+', std::move(deleted));
  if (answer.ok()) answer = co_await run(std::move(Command(Verb::uid_expunge).word(std::to_string(uid.value))));
  co_return answer;
}

namespace {
void add_item(Command& command, const AppendItem& item) {
  if (!item.flags.empty()) command.flags(item.flags);
  if (!item.internal_date.empty()) command.word("\"" + item.internal_date + "\"");
}
}  // namespace

asio::awaitable<std::vector<Answer>> Session::append_all(std::vector<Command> commands) {
  if (pipelines()) co_return co_await exchange_shared(std::move(commands));
  co_return co_await run_each(std::move(commands));
}

asio::awaitable<Answer> Session::append_multi(const std::string& mailbox, const std::vector<AppendItem>& items) {
  std::vector<Command> commands(1, Command(Verb::append));
  commands[0].string(mailbox);
  for (const auto& item : items) {
    add_item(commands[0], item);
    commands[0].body(item.octets);
  }
  auto answers = co_await append_all(std::move(commands));
  co_return std::move(answers.back());
}

asio::awaitable<std::vector<Answer>> Session::append_each(const std::string& mailbox,
                                                          const std::vector<AppendItem>& items) {
  std::vector<Command> commands;
  for (const auto& item : items) {
    commands.emplace_back(Verb::append);
    commands.back().string(mailbox);
    add_item(commands.back(), item);
    commands.back().body(item.octets);
  }
  co_return co_await append_all(std::move(commands));
}

asio::awaitable<std::optional<Answer>> Session::append_begin(const std::string& mailbox, const AppendItem& item,
                                                             std::uint64_t octets) {
  Command command(Verb::append);
  command.string(mailbox);
  add_item(command, item);
  command.streamed_body(octets);
  co_await rest();
  submit(std::move(command));
  Ignore ignore;
  auto answers = co_await exchange(ignore);
  if (ready_for_body_) co_return std::nullopt;
  co_return std::move(answers.back());
}

asio::awaitable<void> Session::append_write(std::string_view piece) {
  std::vector<std::string_view> pieces(1, piece);
  co_await transport_->write_all(std::move(pieces));
}

asio::awaitable<Answer> Session::append_finish() {
  ready_for_body_ = false;
  engine_.body_complete();
  Ignore ignore;
  co_await write_output();
  co_await read_answers(ignore, true);
  auto answers = std::exchange(answers_, {});
  co_return std::move(answers.back());
}

asio::awaitable<void> Session::logout() {
  try {
    if (engine_.idle()) co_await run(Command(Verb::logout));
  } catch (const base::Failed&) {
    // The server may close first; nothing is owed any more.
  }
  transport_->close();
}

}  // namespace imap
