// Sessions against a server that is played from a script: what is sent before, during and after log-in, and what never
// is.
#include "imap/client/session.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>

#include "base/text.hpp"
#include "imap/client/reader.hpp"

namespace imap {
namespace {

namespace asio = boost::asio;

// Answers by rule: for a command whose text after the tag begins with `verb`, `reply` with %t replaced by the tag. A
// line of one word answers a challenge: it has no tag of its own, and %t is that of its command.
struct Rule {
  std::string verb, reply;
};

class Ticking final : public base::Clock {
 public:
  std::chrono::milliseconds now() override { return at; }
  std::int64_t unix_seconds() override { return 0; }
  asio::awaitable<void> sleep(std::chrono::milliseconds d) override {
    at += d;
    co_return;
  }
  std::chrono::milliseconds at{0};
};

struct Wire {
  std::string greeting = "* OK ready\r\n";
  std::vector<Rule> rules;
  bool in_turn = false;  // each rule serves one command
  std::string sent;      // all octets of the client
  std::string early;     // the lines of it that came while an earlier answer was not read to its end
  bool tls = false;
  std::string after_tls_asked;  // extra octets right behind the OK of STARTTLS
  std::size_t piece = 3;        // octets of one read
  std::string for_ever;         // when there is nothing else to say
  Ticking* clock = nullptr;     // moves by `each` with every read
  std::chrono::milliseconds each{1000};
};

class Scripted final : public Transport {
 public:
  explicit Scripted(Wire& wire) : w_(wire) { out_ = w_.greeting; }
  asio::awaitable<std::size_t> read_some(asio::mutable_buffer into) override {
    if (w_.clock != nullptr) w_.clock->at += w_.each;
    if (out_.empty() && (w_.clock == nullptr || w_.clock->at < std::chrono::hours(48))) out_ = w_.for_ever;
    if (out_.empty())
      throw base::Failed(
          {base::Scope::account, base::Remedy::reconnect, "The connection was lost: nothing was heard."});
    const auto n = std::min<std::size_t>({into.size(), out_.size(), w_.piece});
    // What arrives in one segment with the OK of STARTTLS must arrive together.
    const auto take = w_.after_tls_asked.empty() ? n : std::min(into.size(), out_.size());
    std::memcpy(into.data(), out_.data(), take);
    out_.erase(0, take);
    co_return take;
  }
  asio::awaitable<void> write_all(std::vector<std::string_view> pieces) override {
    for (const auto p : pieces) {
      w_.sent += p;
      line_ += p;
    }
    for (std::size_t lf = 0; (lf = line_.find("\r\n")) != std::string::npos;) {
      const std::string line = line_.substr(0, lf);
      line_.erase(0, lf + 2);
      const auto space = line.find(' ');
      const std::string rest = space == std::string::npos ? line : line.substr(space + 1);
      if (space != std::string::npos) tag_ = line.substr(0, space);
      if (!out_.empty()) w_.early += rest + '\n';
      for (auto r = w_.rules.begin(); r != w_.rules.end(); ++r) {
        if (!rest.starts_with(r->verb)) continue;
        std::string reply = r->reply;
        if (w_.in_turn) w_.rules.erase(r);
        for (std::size_t at; (at = reply.find("%t")) != std::string::npos;) reply.replace(at, 2, tag_);
        out_ += reply;
        break;
      }
    }
    co_return;
  }
  asio::awaitable<void> start_tls() override {
    w_.tls = true;
    co_return;
  }
  bool encrypted() const override { return w_.tls; }
  void close() override {}

 private:
  Wire& w_;
  std::string out_, line_, tag_;
};

class ScriptedDialer final : public Dialer {
 public:
  explicit ScriptedDialer(Wire& wire) : wire_(wire) {}
  asio::awaitable<std::unique_ptr<Transport>> dial(base::Endpoint) override {
    co_return std::make_unique<Scripted>(wire_);
  }

 private:
  Wire& wire_;
};

const Rule kCapability{"CAPABILITY", "* CAPABILITY IMAP4rev1\r\n%t OK done\r\n"};
const Rule kLogin{"LOGIN", "%t OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n"};
const Rule kPipelines{"LOGIN", "%t OK [CAPABILITY IMAP4rev1 LITERAL+ NAMESPACE] in\r\n"};

SessionOptions options(base::TlsMode tls = base::TlsMode::none) {
  SessionOptions o;
  o.endpoint.host = "localhost";
  o.endpoint.side = "source";
  o.endpoint.tls = tls;
  o.user = "jane";
  o.password = base::Secret("s3cret");
  return o;
}

struct Result {
  std::unique_ptr<Session> session;
  std::optional<base::Error> error;
};

template <class F>
Result with_session(Wire& wire, SessionOptions o, F after) {
  Result r;
  ScriptedDialer dialer(wire);
  asio::io_context io;
  auto task = [](ScriptedDialer* d, SessionOptions so, Result* out, F* f) -> asio::awaitable<void> {
    try {
      out->session = co_await Session::open(*d, std::move(so));
      co_await (*f)(*out->session);
    } catch (const base::Failed& e) {
      out->error = e.error;
    }
  };
  asio::co_spawn(io, task(&dialer, std::move(o), &r, &after), [](std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  });
  io.run();
  return r;
}

Result open(Wire& wire, SessionOptions o = options()) {
  return with_session(wire, std::move(o), [](Session&) -> asio::awaitable<void> { co_return; });
}

// MD5 of "<1.2@kerio>m4ster".
constexpr const char* kDigest = "2d98f4fc04e2fd78db0811dfe21378a5";

// The challenge is what stands behind "+ ", without blanks around it; the answer has no tag.
TEST(Session, MasterPasswordOpensAnyAccountWithoutItsOwn) {
  Wire wire;
  wire.rules = {{"X-MASTERAUTH", "+ <1.2@kerio> \r\n"},
                {kDigest, "%t OK X-MASTERAUTH Welcome to server, master\r\n"},
                {"X-SETUSER \"jane\"", "%t OK X-SETUSER completed\r\n"},
                kCapability};
  auto o = options();
  o.master_password = base::Secret("m4ster");
  const auto r = open(wire, o);
  ASSERT_FALSE(r.error) << r.error->text;
  EXPECT_NE(wire.sent.find(std::string(kDigest) + "\r\n"), std::string::npos) << wire.sent;
  EXPECT_EQ(wire.sent.find("s3cret"), std::string::npos);
  EXPECT_EQ(wire.sent.find("m4ster"), std::string::npos);
}

TEST(Session, ARefusedMasterPasswordEndsTheRunSinceItIsNotOneAccountsFault) {
  Wire wire;
  wire.rules = {{"X-MASTERAUTH", "%t BAD Unknown command 'X-MASTERAUTH'\r\n"}};
  auto o = options();
  o.master_password = base::Secret("m4ster");
  const auto r = open(wire, o);
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->scope, base::Scope::run);
  EXPECT_EQ(r.error->exit, base::Exit::login_refused);
  EXPECT_NE(r.error->text.find("Unknown command"), std::string::npos) << r.error->text;
}

TEST(Session, NeitherMasterPasswordNorDigestIsToldByWhateverTheServerRepeats) {  // S23
  const std::string both = std::string(kDigest) + " of m4ster";
  const std::string ok = "%t OK in\r\n";
  for (const auto& [to_digest, to_setuser] :
       std::vector<std::pair<std::string, std::string>>{{"%t NO " + both + " is wrong\r\n", ""},
                                                        {"%t NO [X " + both + "] wrong\r\n", ""},
                                                        {"%t BAD what is " + both + "?\r\n", ""},
                                                        {"%t NO [UNAVAILABLE] later, " + both + "\r\n", ""},
                                                        {"%t NO [LIMIT " + both + "] later\r\n", ""},
                                                        {"* BYE " + both + " is wrong\r\n", ""},
                                                        {"* BYE [X " + both + "] wrong\r\n", ""},
                                                        {"+ " + both + "\r\n", ""},
                                                        {ok, "%t NO no jane, " + both + "\r\n"},
                                                        {ok, "* BYE no jane, " + both + "\r\n"}}) {
    Wire wire;
    wire.rules = {{"X-MASTERAUTH", "+ <1.2@kerio>\r\n"}, {kDigest, to_digest}, {"X-SETUSER", to_setuser}, kCapability};
    auto o = options();
    o.master_password = base::Secret("m4ster");
    std::string said;
    o.trace = [&said](const std::string& line) { said += line + "\n"; };
    const auto r = open(wire, o);
    ASSERT_TRUE(r.error) << to_digest;
    EXPECT_NE(wire.sent.find(kDigest), std::string::npos);
    for (const auto& text : {r.error->text, said}) {
      EXPECT_EQ(text.find(kDigest), std::string::npos) << text;
      EXPECT_EQ(text.find("m4ster"), std::string::npos) << text;
    }
  }
}

TEST(Session, APasswordThatTheServerRepeatsInItsByeIsNotTold) {  // S23
  Wire w;
  w.rules = {kCapability, {"LOGIN", "* BYE who is jane s3cret?\r\n"}};
  const auto r = open(w);
  ASSERT_TRUE(r.error);
  EXPECT_NE(r.error->text.find("who is jane ***"), std::string::npos) << r.error->text;
}

// Only what the server says of the password itself ends the run (F24).
TEST(Session, AMasterLogInThatIsPutOffIsNoWrongPassword) {
  for (const char* busy : {"%t NO [UNAVAILABLE] later\r\n", "%t NO [INUSE] busy\r\n", "%t NO Too many connections\r\n"})
    for (const bool challenged : {false, true}) {
      Wire wire;
      wire.rules = {{"X-MASTERAUTH", challenged ? "+ <1.2@kerio>\r\n" : busy}, {kDigest, busy}};
      auto o = options();
      o.master_password = base::Secret("m4ster");
      const auto r = open(wire, o);
      ASSERT_TRUE(r.error);
      EXPECT_EQ(r.error->remedy, base::Remedy::retry_later) << busy;
      EXPECT_EQ(r.error->scope, base::Scope::account) << busy;
      EXPECT_NE(r.error->exit, base::Exit::login_refused) << busy;
      EXPECT_EQ(r.error->text.find("master password"), std::string::npos) << r.error->text;
    }
}

TEST(Session, CapabilityAfterLogInDecides) {
  Wire w;
  w.rules = {{"CAPABILITY", "* CAPABILITY IMAP4rev1 LITERAL+ MULTIAPPEND\r\n%t OK done\r\n"}, kLogin};
  const auto r = open(w);
  ASSERT_FALSE(r.error) << r.error->text;
  EXPECT_TRUE(r.session->has("UIDPLUS"));
  EXPECT_FALSE(r.session->has("MULTIAPPEND")) << "offered before log-in only";
}

TEST(Session, CapabilityIsAskedForWhereLogInDoesNotTell) {  // Courier, 4D
  Wire w;
  w.greeting = "* OK WebSTAR Mail ready\r\n";
  w.rules = {{"CAPABILITY", "* CAPABILITY IMAP4rev1 CHILDREN\r\n%t OK done\r\n"}, {"LOGIN", "%t OK\r\n"}};
  const auto r = open(w);
  ASSERT_FALSE(r.error) << r.error->text;
  EXPECT_TRUE(r.session->has("CHILDREN"));
}

// RFC 3501 §7.1: a greeting may carry them. One that is not safe yet cannot.
TEST(Session, CapabilitiesOfTheGreetingNeedNotBeAskedFor) {
  for (const auto tls : {base::TlsMode::none, base::TlsMode::starttls}) {
    Wire w;
    w.greeting = "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN] ready\r\n";
    w.rules = {
        kCapability, kLogin, {"STARTTLS", "%t OK go\r\n"}, {"AUTHENTICATE", "+ \r\n"}, {"AGphbmU", "%t OK in\r\n"}};
    const auto r = open(w, options(tls));
    ASSERT_FALSE(r.error) << r.error->text;
    const bool believed =
        w.sent.find("LOGIN jane") == std::string::npos && w.sent.find("LOGIN \"") == std::string::npos;
    EXPECT_EQ(believed, tls == base::TlsMode::none) << w.sent;
  }
}

// What an account has comes in one round trip, and each list is its own command's.
TEST(Session, ListingWaitsForTheEndOfLsub) {
  Wire w;
  w.rules = {kCapability,
             kPipelines,
             {"NAMESPACE", "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n%t OK\r\n"},
             {"LSUB", "* LSUB () \".\" \"a\"\r\n%t OK\r\n"},
             {"LIST", "* LIST () \".\" \"a\"\r\n* LIST () \".\" \"b\"\r\n%t OK\r\n"}};
  Listing got;
  auto r = with_session(w, options(), [&got](Session& s) -> asio::awaitable<void> { got = co_await s.listing(); });
  ASSERT_FALSE(r.error) << r.error->text;
  EXPECT_EQ(got.namespaces.personal.front().prefix, "INBOX.");
  EXPECT_EQ(got.mailboxes.size(), 2u);
  EXPECT_EQ(got.subscribed.size(), 1u);
  // Dovecot mixes the lines of two of them where the first are not read at once: a mailbox would be overlooked.
  EXPECT_NE(w.early.find("LSUB"), std::string::npos) << "NAMESPACE and LSUB share a round trip";
  EXPECT_EQ(w.early.find("LIST"), std::string::npos);
}

// RFC 5258: one LIST tells both. Returns what was sent.
std::string listed_at_once(const std::string& answer, Listing& got) {
  Wire w;
  w.rules = {kCapability,
             {"LOGIN", "%t OK [CAPABILITY IMAP4rev1 LIST-EXTENDED SPECIAL-USE] in\r\n"},
             {"LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE)", answer},
             {"LSUB", "* LSUB () \".\" \"a\"\r\n%t OK\r\n"},
             {"LIST", "* LIST () \".\" \"a\"\r\n* LIST () \".\" \"b\"\r\n%t OK\r\n"}};
  auto r = with_session(w, options(), [&got](Session& s) -> asio::awaitable<void> { got = co_await s.listing(); });
  EXPECT_FALSE(r.error) << r.error->text;
  EXPECT_EQ(got.mailboxes.size(), 2u);
  EXPECT_EQ(got.subscribed, std::set<std::string>{"a"});
  return w.sent;
}

TEST(Session, ListingAsksOnceWhereListTellsSubscriptionsToo) {
  Listing got;
  const auto sent =
      listed_at_once("* LIST (\\Sent \\Subscribed) \".\" \"a\"\r\n* LIST () \".\" \"b\"\r\n%t OK\r\n", got);
  EXPECT_EQ(sent.find("LSUB"), std::string::npos) << sent;
  EXPECT_EQ(got.mailboxes.front().attributes.front(), "\\sent");
}

TEST(Session, ListingDoesNotTrustAServerThatPassesOverSubscriptions) {
  Listing got;
  // Refused, in spite of the capability; or answered as if nothing but LIST had been asked for.
  for (const char* answer : {"%t BAD what\r\n", "* LIST () \".\" \"a\"\r\n* LIST () \".\" \"b\"\r\n%t OK\r\n"})
    EXPECT_NE(listed_at_once(answer, got).find("LSUB"), std::string::npos) << answer;
}

// What is told of three mailboxes that are listed together.
std::string listed_together(const std::string& examine_b, const std::string& fetch_b, const Rule& login) {
  Wire w;
  w.in_turn = true;
  const std::string a = "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 9] .\r\n%t OK\r\n";
  const std::string c = "* 0 EXISTS\r\n* OK [UIDVALIDITY 8] .\r\n* OK [UIDNEXT 1] .\r\n%t OK\r\n";
  w.rules = {kCapability,
             login,
             {"EXAMINE", a},
             {"UID FETCH", "* 1 FETCH (UID 5 FLAGS () RFC822.SIZE 1)\r\n%t OK\r\n"},
             {"EXAMINE", examine_b},
             {"UID FETCH", fetch_b},
             {"EXAMINE", c},
             {"UID FETCH", "%t OK\r\n"}};
  std::string story;
  auto r = with_session(w, options(), [&](Session& s) -> asio::awaitable<void> {
    std::vector<MailboxToList> all;
    for (const char* name : {"a", "b", "c"})
      all.push_back({name,
                     [&story, name](const Opened&, std::vector<Envelope> some) -> asio::awaitable<void> {
                       for (const auto& e : some) story += std::string(name) + std::to_string(e.uid.value) + " ";
                       co_return;
                     },
                     [&story, name](const Opened& o, std::uint64_t n) -> asio::awaitable<void> {
                       story += std::string(name) + "=" + std::to_string(n) + "/" + std::to_string(o.exists) + " ";
                       co_return;
                     }});
    co_await list_mailboxes(s, std::move(all), false, "(UID FLAGS RFC822.SIZE)", 100);
  });
  return r.error ? r.error->text : story;
}

TEST(Session, MailboxesListedInOneRoundTripAreToldApart) {
  const std::string b = "* 2 EXISTS\r\n* OK [UIDVALIDITY 9] .\r\n* OK [UIDNEXT 4] .\r\n%t OK\r\n";
  const std::string two =
      "* 1 FETCH (UID 2 FLAGS () RFC822.SIZE 1)\r\n* 2 FETCH (UID 3 FLAGS () RFC822.SIZE 1)\r\n%t OK\r\n";
  for (const auto& login : {kLogin, kPipelines})
    EXPECT_EQ(listed_together(b, two, login), "a5 a=1/1 b2 b3 b=2/2 c=0/0 ");
  // What is answered inside a mailbox that was refused is about another one.
  EXPECT_EQ(listed_together("%t NO no such mailbox\r\n", two, kPipelines), "a5 a=1/1 c=0/0 ");
  EXPECT_EQ(listed_together(b, "%t NO not now\r\n", kPipelines), "a5 a=1/1 c=0/0 ");
  // Cut off in the middle: what came is not all, and nobody is told that it was.
  EXPECT_EQ(listed_together(b, "* 1 FETCH (UID 2 FLAGS () RFC822.SIZE 1)\r\n%t NO not now\r\n", kPipelines),
            "a5 a=1/1 c=0/0 ");
}

TEST(Session, OpenedAndReadInOneRoundTripOrByHalvesWhereOneMessageSpoilsIt) {
  const std::string opened = "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 9] .\r\n%t OK\r\n";
  const auto body = [](int uid) { return "* 1 FETCH (UID " + std::to_string(uid) + " FLAGS () BODY[] {2}\r\nhi)\r\n"; };
  for (const bool spoilt : {false, true}) {
    Wire w;
    w.in_turn = true;
    w.rules = {kCapability, kPipelines, {"EXAMINE", opened}};
    if (spoilt)
      for (const auto& answer : {body(1) + "%t NO broken\r\n", body(1) + "%t OK\r\n", std::string("%t NO broken\r\n"),
                                 std::string("%t NO UID 2 is broken\r\n"), body(3) + "%t OK\r\n"})
        w.rules.push_back({"UID FETCH", answer});
    else w.rules.push_back({"UID FETCH", body(1) + body(2) + body(3) + "%t OK\r\n"});
    ReadMailbox got;
    auto r = with_session(w, options(), [&got](Session& s) -> asio::awaitable<void> {
      std::vector<base::Uid> uids;
      for (int i = 1; i <= 3; ++i) uids.emplace_back(i);
      got = co_await open_and_read(s, "a", std::move(uids), Keep::octets, base::Fingerprinter::E1x::if_8bit);
    });
    ASSERT_FALSE(r.error) << r.error->text;
    ASSERT_TRUE(got.opened);
    ASSERT_EQ(got.messages.size(), 3u);
    EXPECT_EQ(got.messages[0].octets, "hi");
    EXPECT_EQ(got.messages[1].found, spoilt ? BodyFound::refused : BodyFound::whole);
    EXPECT_EQ(got.messages[2].octets, "hi");
  }
}

TEST(Session, NoselectInLsubIsNoSubscription) {  // Courier, unasked
  Wire w;
  w.rules = {kCapability,
             kLogin,
             {"LSUB",
              "* LSUB (\\Noselect \\HasChildren) \".\" \"INBOX.top\"\r\n* LSUB (\\HasNoChildren) \".\" "
              "\"INBOX.top.below\"\r\n%t OK\r\n"}};
  std::set<std::string> got;
  auto r = with_session(w, options(), [&got](Session& s) -> asio::awaitable<void> { got = co_await s.lsub(); });
  ASSERT_FALSE(r.error) << r.error->text;
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(*got.begin(), "INBOX.top.below");
}

// RFC 3501 §5.1: its name is case-insensitive, so it must not look like two mailboxes.
TEST(Session, InboxHasOneSpelling) {
  Wire w;
  w.rules = {kCapability,
             kPipelines,
             {"NAMESPACE", "%t OK\r\n"},
             {"LSUB", "* LSUB () \".\" Inbox\r\n%t OK\r\n"},
             {"LIST", "* LIST () \".\" \"inBOX\"\r\n* LIST () \".\" inbox2\r\n%t OK\r\n"}};
  Listing got;
  auto r = with_session(w, options(), [&got](Session& s) -> asio::awaitable<void> { got = co_await s.listing(); });
  ASSERT_FALSE(r.error) << r.error->text;
  ASSERT_EQ(got.mailboxes.size(), 2u);
  EXPECT_EQ(got.mailboxes[0].name, "INBOX");
  EXPECT_EQ(got.mailboxes[1].name, "inbox2");
  EXPECT_EQ(got.subscribed, std::set<std::string>{"INBOX"});
}

// What was announced sizes a request; what comes is bounded all the same (S10).
TEST(Session, BodiesBeyondWhatARequestMayHoldAreReadLaterOneByOne) {
  const std::string body(1'000'000, 'x');
  Wire w;
  w.piece = 64 * 1024;
  std::string answer;
  std::vector<base::Uid> uids;
  for (int i = 1; i <= 20; ++i) {
    uids.emplace_back(i);
    answer += "* " + std::to_string(i) + " FETCH (UID " + std::to_string(i) + " FLAGS () BODY[] {1000000}\r\n" + body +
              ")\r\n";
  }
  w.rules = {kCapability, kLogin, {"UID FETCH", answer + "%t OK\r\n"}};
  std::vector<ReadMessage> got;
  auto r = with_session(w, options(), [&](Session& s) -> asio::awaitable<void> {
    got = co_await read_messages(s, uids, Keep::octets, base::Fingerprinter::E1x::if_8bit);
  });
  ASSERT_FALSE(r.error) << r.error->text;
  base::Octets held = 0;
  for (const auto& m : got) {
    held += m.octets.size();
    EXPECT_EQ(m.found, m.octets.empty() ? BodyFound::too_large : BodyFound::whole);
    EXPECT_EQ(m.print.e1, base::fingerprint(body).e1);
  }
  EXPECT_EQ(held, 8'000'000u);
}

// Nor does one that spoils its answers make us hold that for each half.
TEST(Session, HalvesOfARequestHoldNoMoreThanItMay) {
  const std::string body(1'000'000, 'x');
  const auto answer = [&](int from, int to) {
    std::string out;
    for (int i = from; i <= to; ++i)
      out += "* 1 FETCH (UID " + std::to_string(i) + " FLAGS () BODY[] {1000000}\r\n" + body + ")\r\n";
    return out;
  };
  for (const bool visiting : {false, true}) {
    Wire w;
    w.piece = 64 * 1024;
    w.in_turn = true;
    w.rules = {kCapability, kLogin};
    if (visiting)
      w.rules.push_back({"EXAMINE", "* 20 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 99] .\r\n%t OK\r\n"});
    for (const auto& said :
         {answer(1, 20) + "%t NO broken\r\n", answer(1, 10) + "%t OK\r\n", answer(11, 20) + "%t OK\r\n"})
      w.rules.push_back({"UID FETCH", said});
    std::vector<base::Uid> uids;
    for (int i = 1; i <= 20; ++i) uids.emplace_back(i);
    std::vector<ReadMessage> got;
    auto r = with_session(w, options(), [&](Session& s) -> asio::awaitable<void> {
      if (visiting) {
        auto read = co_await open_and_read(s, "a", uids, Keep::octets, base::Fingerprinter::E1x::if_8bit);
        got = std::move(read.messages);
      } else {
        got = co_await read_messages(s, uids, Keep::octets, base::Fingerprinter::E1x::if_8bit);
      }
    });
    ASSERT_FALSE(r.error) << r.error->text;
    base::Octets held = 0;
    for (const auto& m : got) held += m.octets.size();
    EXPECT_EQ(got.size(), 20u);
    EXPECT_EQ(held, 8'000'000u);
  }
}

TEST(Session, AStatusOfAnotherMailboxIsNotTakenForThisOnes) {
  Wire w;
  w.rules = {kCapability, kLogin, {"STATUS", "* STATUS b (UIDNEXT 9)\r\n* STATUS inbox (UIDNEXT 5)\r\n%t OK\r\n"}};
  std::uint64_t next = 0;
  bool other = true;
  auto r = with_session(w, options(), [&](Session& s) -> asio::awaitable<void> {
    const auto inbox = co_await s.status("INBOX", false);
    next = inbox ? inbox->uid_next.value_or(0) : 0;
    const auto a = co_await s.status("a", false);
    other = a.has_value();
  });
  ASSERT_FALSE(r.error) << r.error->text;
  EXPECT_EQ(next, 5u);
  EXPECT_FALSE(other);
}

TEST(Session, PreauthAndOddGreetingsAreNotUsed) {  // S4, S5
  for (const char* greeting :
       {"* PREAUTH welcome\r\n", "* BYE too busy\r\n", "220 smtp\r\n", "* 5 EXISTS\r\n", "A1 OK\r\n"}) {
    Wire w;
    w.greeting = greeting;
    w.rules = {kCapability, kLogin};
    EXPECT_TRUE(open(w).error.has_value()) << greeting;
    EXPECT_EQ(w.sent, "") << "nothing is sent after " << greeting;
  }
}

TEST(Session, StarttlsThatIsRefusedSendsNoPassword) {  // S1
  for (const char* reply : {"%t NO no\r\n", "%t BAD what\r\n", "+ \r\n"}) {
    Wire w;
    w.rules = {{"STARTTLS", reply}, kCapability, kLogin};
    EXPECT_TRUE(open(w, options(base::TlsMode::starttls)).error.has_value());
    EXPECT_EQ(w.sent.find("s3cret"), std::string::npos);
    EXPECT_FALSE(w.tls);
  }
}

TEST(Session, OctetsInjectedBehindStarttlsEndTheConnection) {  // S2
  Wire w;
  w.after_tls_asked = "yes";
  w.rules = {{"STARTTLS", "%t OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"}, kCapability, kLogin};
  const auto r = open(w, options(base::TlsMode::starttls));
  ASSERT_TRUE(r.error);
  EXPECT_NE(r.error->text.find("in clear after STARTTLS"), std::string::npos) << r.error->text;
  EXPECT_EQ(w.sent.find("s3cret"), std::string::npos);
}

TEST(Session, StarttlsThenLogIn) {
  Wire w;
  w.rules = {{"STARTTLS", "%t OK begin\r\n"}, kCapability, kLogin};
  const auto r = open(w, options(base::TlsMode::starttls));
  EXPECT_FALSE(r.error) << r.error->text;
  EXPECT_LT(w.sent.find("STARTTLS"), w.sent.find("LOGIN"));
}

TEST(Session, CleartextBeyondLoopbackIsRefusedBeforeDialling) {
  Wire w;
  auto o = options();
  o.endpoint.host = "mail.example.org";
  const auto r = open(w, o);
  ASSERT_TRUE(r.error);
  EXPECT_NE(r.error->text.find("--allow-cleartext"), std::string::npos);
}

TEST(Session, LogindisabledUsesAuthenticatePlain) {
  Wire w;
  w.rules = {{"CAPABILITY", "* CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN\r\n%t OK done\r\n"},
             {"AUTHENTICATE PLAIN", "+ \r\n"}};
  // The answer's tag is that of AUTHENTICATE; the reply line has none of its own.
  std::string seen;
  auto r = open(w);
  EXPECT_NE(w.sent.find("AGphbmUAczNjcmV0\r\n"), std::string::npos) << "\\0jane\\0s3cret in base64";
  EXPECT_EQ(w.sent.find("LOGIN "), std::string::npos);
}

TEST(Session, RefusedAndBusyLogInsAreToldApart) {  // F24, F26
  Wire w;
  w.rules = {kCapability, {"LOGIN", "%t NO [AUTHENTICATIONFAILED] wrong\r\n"}};
  auto r = open(w);
  EXPECT_EQ(r.error->exit, base::Exit::login_refused);
  EXPECT_EQ(r.error->text.find("s3cret"), std::string::npos);
  for (const char* busy :
       {"%t NO [UNAVAILABLE] later\r\n", "%t NO Maximum number of connections from user+IP exceeded\r\n",
        "%t NO [ALERT] Too many simultaneous connections\r\n"}) {
    Wire b;
    b.rules = {kCapability, {"LOGIN", busy}};
    const auto e = open(b);
    EXPECT_NE(e.error->exit, base::Exit::login_refused) << busy;
    EXPECT_EQ(e.error->remedy, base::Remedy::retry_later) << busy;
  }
}

TEST(Reader, WhatDoesNotAddUpIsNeverUsed) {  // F42-F44
  const auto read = [](const std::string& reply) {
    Wire w;
    w.rules = {kCapability, kLogin, {"UID FETCH", reply}};
    std::vector<ReadMessage> got;
    auto r = with_session(w, options(), [&got](Session& s) -> asio::awaitable<void> {
      std::vector<base::Uid> uids{base::Uid(5), base::Uid(6)};
      got = co_await read_messages(s, std::move(uids), Keep::octets, base::Fingerprinter::E1x::if_8bit);
    });
    return std::make_pair(std::move(got), r.error);
  };
  auto [good, e1] = read("* 1 FETCH (UID 5 BODY[] {1}\r\na)\r\n* 2 FETCH (UID 6 BODY[] {0}\r\n)\r\n%t OK\r\n");
  ASSERT_FALSE(e1) << e1->text;
  EXPECT_EQ(good[0].found, BodyFound::whole);
  EXPECT_EQ(good[1].found, BodyFound::empty);
  auto [gone, e2] = read("* 1 FETCH (UID 5 BODY[] NIL)\r\n%t OK [EXPUNGEISSUED] some are gone\r\n");
  EXPECT_EQ(gone[0].found, BodyFound::vanished);
  EXPECT_EQ(gone[1].found, BodyFound::vanished);
  EXPECT_TRUE(read("* 1 FETCH (UID 7 BODY[] {1}\r\na)\r\n%t OK\r\n").second) << "another UID";
  EXPECT_TRUE(read("* 1 FETCH (UID 5 BODY[] {1}\r\na)\r\n* 1 FETCH (UID 5 BODY[] {1}\r\nb)\r\n%t OK\r\n").second)
      << "twice";
  EXPECT_TRUE(read("* 1 FETCH (UID 5 BODY[] {3}\r\na)\r\n%t OK\r\n").second) << "a literal that swallows what follows";
  EXPECT_TRUE(read("* 1 FETCH (UID 5 BODY[] {1}\r\na)\r\n").second) << "no tagged OK";
  auto [refused, e3] = read("%t NO cannot\r\n");
  ASSERT_FALSE(e3);
  EXPECT_EQ(refused[0].found, BodyFound::refused);
}

TEST(Reader, ListsAreClosedAscendingAndWithinWhatWasAsked) {
  const auto list = [](const std::string& reply, std::string* sent) {
    Wire w;
    w.rules = {kCapability, kLogin, {"UID FETCH", reply}};
    std::vector<Envelope> got;
    auto r = with_session(w, options(), [&got](Session& s) -> asio::awaitable<void> {
      got = base::or_throw(co_await list_messages(s, base::Uid(3), base::Uid(10)));
    });
    *sent = w.sent;
    return std::make_pair(got, r.error);
  };
  std::string sent;
  auto [good, e] = list(
      "* 1 FETCH (UID 3 RFC822.SIZE 7 FLAGS ())\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 9 RFC822.SIZE 8 FLAGS "
      "() INTERNALDATE \"30-Feb-2020 00:00:00 +0000\")\r\n%t OK\r\n",
      &sent);
  ASSERT_FALSE(e) << e->text;
  EXPECT_EQ(good.size(), 2u);
  EXPECT_FALSE(good[1].date) << "no date is no date";
  EXPECT_NE(sent.find("UID FETCH 3:9 "), std::string::npos) << "a closed range";
  EXPECT_TRUE(list("* 1 FETCH (UID 10 RFC822.SIZE 7)\r\n%t OK\r\n", &sent).second) << "beyond the range";
  EXPECT_TRUE(list("* 1 FETCH (UID 5 RFC822.SIZE 7)\r\n* 2 FETCH (UID 5 RFC822.SIZE 7)\r\n%t OK\r\n", &sent).second)
      << "twice";
}

// ---- F18: a server that only shows that it lives ----

constexpr auto kPatienceNow = std::chrono::seconds(300 * kPatience);

struct Slow {
  Slow() {
    wire.rules = {
        kCapability, kLogin, {"EXAMINE", "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] v\r\n* OK [UIDNEXT 9] n\r\n%t OK in\r\n"}};
    wire.clock = &clock;
    wire.each = std::chrono::milliseconds(1);
    settings.clock = &clock;
    settings.access = Access::read_write;
  }
  // What a FETCH of UID 8 ends with: an error, or what was found.
  std::string fetch() {
    std::string found;
    const auto r = with_session(wire, settings, [&](Session& s) -> asio::awaitable<void> {
      auto opened = co_await s.examine("INBOX");
      wire.each = each;
      began = clock.at;
      std::vector<base::Uid> uids(1, base::Uid(8));
      auto got = co_await read_messages(s, std::move(uids), Keep::octets, base::Fingerprinter::E1x::if_8bit);
      found = std::to_string(got.front().octets.size());
    });
    took = clock.at - began;
    return r.error ? r.error->text : found;
  }
  Ticking clock;
  Wire wire;
  SessionOptions settings = options();
  std::chrono::milliseconds each{1000}, began{0}, took{0};
};

TEST(Session, NothingIsSaidBehindAMessageThatWasGivenUpInItsMiddle) {
  Wire w;
  w.rules = {kCapability, kLogin, {"APPEND", "+ go on\r\n"}, {"NOOP", "%t OK done\r\n"}};
  SessionOptions o = options();
  o.access = Access::read_write;
  const auto r = with_session(w, std::move(o), [&](Session& s) -> asio::awaitable<void> {
    const AppendItem item;
    const auto refusal = co_await s.append_begin("INBOX", item, 100);
    EXPECT_FALSE(refusal);
    co_await s.append_write("half of it");
    co_await s.noop();
  });
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->remedy, base::Remedy::reconnect);
  EXPECT_TRUE(w.sent.ends_with("half of it")) << "it would have been stored as the rest of that message";
}

TEST(Session, WhoeverComesAfterALostConnectionLearnsItAtOnce) {
  Wire w;
  w.rules = {kCapability, kLogin};  // and no answer to anything else
  std::string again;
  const auto r = with_session(w, options(), [&](Session& s) -> asio::awaitable<void> {
    bool lost = false;
    try {
      co_await s.examine("INBOX");
    } catch (const base::Failed&) {
      lost = true;
    }
    EXPECT_TRUE(lost);
    const auto sent = w.sent.size();
    w.rules.push_back({"NOOP", "%t OK done\r\n"});  // another connection's luck
    try {
      co_await s.noop();
    } catch (const base::Failed& f) {
      again = f.error.text;
    }
    EXPECT_EQ(w.sent.size(), sent) << "nothing is said on it any more";
  });
  EXPECT_NE(again.find("nothing was heard"), std::string::npos) << again;
}

TEST(Session, ACommandThatNeverEndsIsGivenUpHoweverMuchTheServerTalks) {
  for (const char* talk : {"* OK Still here\r\n", "* 1 EXISTS\r\n", "* 1 FETCH (FLAGS (\\Seen))\r\n", "x",
                           "* 1 FETCH (UID 8 BODY[HEADER] {5}\r\nabcde)\r\n"}) {
    Slow w;
    w.wire.piece = 1000;
    for (int i = 0; i < 20; ++i) w.wire.for_ever += talk;  // octets enough, were they wanted
    const auto error = w.fetch();
    EXPECT_NE(error.find("has not got on within 30 min"), std::string::npos) << talk << ": " << error;
    EXPECT_LE(w.took, 2 * kPatienceNow) << talk;
  }
  Slow listing;  // a list of mailboxes carries no mail: it has to end
  listing.wire.piece = 1000;
  for (int i = 0; i < 20; ++i) listing.wire.for_ever += "* LIST () \"/\" a\r\n";
  const auto r = with_session(listing.wire, listing.settings, [&](Session& s) -> asio::awaitable<void> {
    listing.wire.each = std::chrono::seconds(1);
    co_await s.list();
  });
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->remedy, base::Remedy::reconnect);
  EXPECT_NE(r.error->text.find("has not got on"), std::string::npos) << r.error->text;
}

// Nobody asked for what a server sends inside a mailbox that it would not open.
TEST(Session, MailOfAMailboxThatWasRefusedIsNoProgress) {
  Slow w;
  w.wire.piece = 1000;
  w.wire.rules = {kCapability, kPipelines, {"EXAMINE", "%t NO no such mailbox\r\n"}};
  for (int i = 0; i < 20; ++i) w.wire.for_ever += "* 1 FETCH (UID 8 FLAGS () BODY[] {5}\r\nabcde)\r\n";
  const auto r = with_session(w.wire, w.settings, [&](Session& s) -> asio::awaitable<void> {
    w.wire.each = std::chrono::seconds(1);
    std::vector<base::Uid> uids(1, base::Uid(8));
    co_await open_and_read(s, "a", std::move(uids), Keep::octets, base::Fingerprinter::E1x::if_8bit);
  });
  ASSERT_TRUE(r.error);
  EXPECT_NE(r.error->text.find("has not got on"), std::string::npos) << r.error->text;
}

TEST(Session, AGreetingThatDripsIsGivenUp) {
  Slow w;
  w.wire.each = std::chrono::seconds(20);
  w.wire.greeting = "* OK " + std::string(1000, 'x');
  w.wire.for_ever = "x";
  const auto r = open(w.wire, w.settings);
  ASSERT_TRUE(r.error);
  EXPECT_NE(r.error->text.find("has not got on"), std::string::npos) << r.error->text;
}

TEST(Session, ABodyThatComesSlowlyButComesIsWaitedFor) {     // F17
  for (const std::size_t octets : {300'000u, 3'000'000u}) {  // kept, and in chunks
    Slow w;
    w.wire.piece = 300;
    w.each = std::chrono::seconds(6);  // 50 octets a second
    w.wire.rules.push_back({"UID FETCH", "* 1 FETCH (UID 8 FLAGS () BODY[] {" + std::to_string(octets) + "}\r\n" +
                                             std::string(octets, 'a') + ")\r\n%t OK done\r\n"});
    EXPECT_EQ(w.fetch(), octets > 1'000'000 ? "0" : std::to_string(octets));
    EXPECT_GT(w.took, 2 * kPatienceNow);
  }
  Slow dripping;  // the same at an octet a second
  dripping.wire.piece = 300;
  dripping.each = std::chrono::seconds(300);
  dripping.wire.rules.push_back({"UID FETCH", "* 1 FETCH (UID 8 FLAGS () BODY[] {300000}\r\n" +
                                                  std::string(300'000, 'a') + ")\r\n%t OK done\r\n"});
  EXPECT_NE(dripping.fetch().find("has not got on"), std::string::npos);
}

// What a receiver does with a piece may take as long as it likes.
class Sleeper final : public BodyReceiver {
 public:
  explicit Sleeper(Ticking& clock) : clock_(clock) {}
  asio::awaitable<bool> begin(base::Octets) override { co_return true; }
  asio::awaitable<void> chunk(std::string_view) override {
    clock_.at += std::chrono::minutes(1);
    co_return;
  }

 private:
  Ticking& clock_;
};

TEST(Session, TimeThatTheOtherServerTakesIsNotThisOnes) {
  Slow w;
  w.wire.rules.push_back(
      {"UID FETCH", "* 1 FETCH (UID 8 BODY[] {1200000}\r\n" + std::string(1'200'000, 'a') + ")\r\n%t OK done\r\n"});
  w.wire.piece = 1000;
  Sleeper receiver(w.clock);
  auto found = BodyFound::vanished;
  const auto r = with_session(w.wire, w.settings, [&](Session& s) -> asio::awaitable<void> {
    auto opened = co_await s.examine("INBOX");
    const auto got = co_await stream_message(s, base::Uid(8), receiver, base::Fingerprinter::E1x::if_8bit);
    found = got.found;
  });
  EXPECT_FALSE(r.error) << r.error->text;
  EXPECT_EQ(found, BodyFound::whole);
}

TEST(Session, TheAnswerToAnAppendIsWaitedForAsLongAsAnyOtherFromItsLastOctetOn) {
  Slow w;
  w.wire.for_ever = "* OK Scanning for viruses\r\n";
  const std::string body(300'000, 'b');
  std::chrono::milliseconds began{0};
  const auto r = with_session(w.wire, w.settings, [&](Session& s) -> asio::awaitable<void> {
    w.wire.rules.push_back({"APPEND", "+ go\r\n"});
    AppendItem item;
    const auto refused = co_await s.append_begin("INBOX", item, body.size());
    EXPECT_FALSE(refused);
    co_await s.append_write(body);
    w.clock.at += std::chrono::hours(5);  // the source was slow
    began = w.clock.at;
    w.wire.each = std::chrono::seconds(1);
    co_await s.append_finish();
  });
  ASSERT_TRUE(r.error);
  EXPECT_GE(w.clock.at - began, kPatienceNow);
  EXPECT_LE(w.clock.at - began, kPatienceNow + std::chrono::seconds(10));
}

// ---- F25 ----

TEST(Session, APauseThatTheServerAsksForIsMadeBeforeTheNextCommandAndNotBeforeLogout) {
  std::vector<std::chrono::milliseconds> rested;
  auto o = options();
  std::size_t sent_before = 0;
  Wire wire;
  o.rest = [&](std::chrono::milliseconds d) -> asio::awaitable<void> {
    rested.push_back(d);
    sent_before = wire.sent.size();
    co_return;
  };
  wire.rules = {kCapability,
                kLogin,
                {"NOOP", "%t OK [THROTTLED] done. Suggested Backoff Time: 299961 milliseconds\r\n"},
                {"LIST", "%t OK done\r\n"},
                {"LOGOUT", "%t OK\r\n"}};
  std::size_t after_noop = 0;
  const auto r = with_session(wire, o, [&](Session& s) -> asio::awaitable<void> {
    co_await s.noop();
    after_noop = wire.sent.size();
    co_await s.list();
    co_await s.list();
    co_await s.noop();
    co_await s.logout();
  });
  ASSERT_FALSE(r.error) << r.error->text;
  EXPECT_EQ(rested, std::vector<std::chrono::milliseconds>(1, std::chrono::milliseconds(299961)));
  EXPECT_EQ(sent_before, after_noop);
}

TEST(Session, ALogInThatIsPutOffForAStatedTimeIsNoWrongPassword) {
  Wire wire;
  wire.rules = {kCapability, {"LOGIN", "%t NO Request is throttled. Suggested Backoff Time: 1000 milliseconds\r\n"}};
  const auto r = open(wire);
  ASSERT_TRUE(r.error);
  EXPECT_EQ(r.error->remedy, base::Remedy::retry_later);
  EXPECT_EQ(base::stated_pause(r.error->text), std::chrono::seconds(1));
}

}  // namespace
}  // namespace imap
