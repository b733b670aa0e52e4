// The Administration API client against a server played in memory: what it sends, what it never sends, and what it
// makes of every kind of answer.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>
#include <deque>

#include "load/kerio/provision.hpp"
#include "tests/support/model_server.hpp"
#include "tests/support/world.hpp"

namespace load::kerio {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

struct Exchange {
  std::string method;
  json::object params;
  std::string raw;  // the whole request
};

// Answers one request after the other; on_call makes the "result" or a whole HTTP response.
class Played : public imap::Dialer {
 public:
  std::function<std::string(const Exchange&)> http;  // not empty text: sent as it is instead
  std::function<json::object(const Exchange&)> result = [](const Exchange&) { return json::object(); };
  std::vector<Exchange> seen;
  int connections = 0;
  bool lose_next = false;  // carried out, no answer
  std::function<void()> on_read;

  std::string answer(const std::string& raw) {
    const auto body = raw.substr(raw.find("\r\n\r\n") + 4);
    const auto o = json::parse(body).as_object();
    Exchange e{std::string(o.at("method").as_string()), {}, raw};
    if (const auto* p = o.if_contains("params")) e.params = p->as_object();
    seen.push_back(e);
    if (http)
      if (auto text = http(e); !text.empty()) return text;
    json::object reply;
    reply["jsonrpc"] = "2.0";
    reply["id"] = o.at("id");
    if (e.method == "Session.login") reply["result"] = json::object{{"token", "abcd"}};
    else {
      auto r = result(e);
      if (r.contains("error")) reply["error"] = r["error"];
      else reply["result"] = r;
    }
    return ok(json::serialize(reply));
  }
  static std::string ok(const std::string& body, const std::string& extra = "") {
    return "HTTP/1.1 200 OK\r\nSet-Cookie: SESSION_CONNECT_WEBADMIN=s1; path=/; HttpOnly\r\n" + extra +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  std::vector<std::string> methods() const {
    std::vector<std::string> out;
    for (const auto& e : seen) out.push_back(e.method);
    return out;
  }

  asio::awaitable<std::unique_ptr<imap::Transport>> dial(base::Endpoint) override {
    ++connections;
    co_return std::make_unique<Connection>(*this);
  }

 private:
  class Connection final : public imap::Transport {
   public:
    explicit Connection(Played& server) : s_(server) {}
    asio::awaitable<std::size_t> read_some(asio::mutable_buffer into) override {
      if (s_.on_read) s_.on_read();
      if (out_.empty()) throw base::Failed({base::Scope::account, base::Remedy::reconnect, "The connection was lost."});
      const auto n = std::min<std::size_t>({into.size(), out_.size(), 7});
      std::memcpy(into.data(), out_.data(), n);
      out_.erase(0, n);
      co_return n;
    }
    asio::awaitable<void> write_all(std::vector<std::string_view> pieces) override {
      std::string raw;
      for (const auto p : pieces) raw += p;
      const std::string reply = s_.answer(raw);
      if (std::exchange(s_.lose_next, false)) co_return;
      out_ = reply;
    }
    asio::awaitable<void> start_tls() override { co_return; }
    bool encrypted() const override { return true; }
    void close() override {}

   private:
    Played& s_;
    std::string out_;
  };
};

class KerioApi : public ::testing::Test {
 protected:
  Played server;
  test::VirtualClock clock;

  ApiClient::Settings settings(imap::Access access = imap::Access::read_write) {
    ApiClient::Settings s;
    s.endpoint.host = "kerio.example";
    s.endpoint.port = 4040;
    s.endpoint.side = "target";
    s.user = "admin";
    s.password = base::Secret("pä\"ss");
    s.access = access;
    return s;
  }
  template <class F>
  base::Error run(F work, imap::Access access = imap::Access::read_write) {
    base::Error error;
    error.text.clear();
    asio::io_context io;
    asio::co_spawn(io, body(&work, access), [&](std::exception_ptr e) {
      try {
        if (e) std::rethrow_exception(e);
      } catch (const base::Failed& f) {
        error = f.error;
      }
    });
    io.run();
    return error;
  }
  template <class F>
  asio::awaitable<void> body(F* work, imap::Access access) {
    auto api = co_await ApiClient::open(server, clock, settings(access));
    co_await (*work)(api.get());
  }
};

TEST_F(KerioApi, LogsInWithAnObjectAndSendsCookieAndTokenBothAfterwards) {
  const auto e = run([](ApiClient* api) -> asio::awaitable<void> {
    json::object none;
    (void)co_await api->call(Call::server_get_version, none);
  });
  EXPECT_EQ(e.text, "");
  ASSERT_EQ(server.seen.size(), 2u);
  EXPECT_EQ(server.seen[0].params.at("password").as_string(), "pä\"ss");
  EXPECT_TRUE(server.seen[0].params.at("application").is_object()) << "a string there gives -32602";
  EXPECT_EQ(server.seen[0].raw.find("X-Token"), std::string::npos);
  EXPECT_NE(server.seen[1].raw.find("X-Token: abcd"), std::string::npos);
  EXPECT_NE(server.seen[1].raw.find("SESSION_CONNECT_WEBADMIN=s1"), std::string::npos);
  EXPECT_NE(server.seen[1].raw.find("\"token\":\"abcd\""), std::string::npos);
  EXPECT_EQ(server.seen[1].raw.find("\"params\""), std::string::npos) << "left out where there are none";
  EXPECT_EQ(server.connections, 1) << "kept alive";
}

TEST_F(KerioApi, ARefusedLogInIsTriedOnceAndThePasswordIsNotRepeated) {
  server.http = [](const Exchange&) {
    return Played::ok(R"({"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no: pä\"ss"}})");
  };
  const auto e = run([](ApiClient*) -> asio::awaitable<void> { co_return; });
  EXPECT_EQ(e.exit, base::Exit::login_refused);
  EXPECT_EQ(server.seen.size(), 1u);
  EXPECT_EQ(e.text.find("pä\"ss"), std::string::npos) << e.text;
  EXPECT_NE(e.text.find("admin"), std::string::npos);
}

TEST_F(KerioApi, AnExpiredSessionIsOpenedAnewOnce) {
  int expired = 1;
  server.result = [&](const Exchange&) {
    if (expired-- > 0) return json::object{{"error", json::object{{"code", -32001}, {"message", "Session expired."}}}};
    return json::object{{"version", "1"}};
  };
  auto work = [](ApiClient* api) -> asio::awaitable<void> {
    std::vector<std::pair<std::string, std::string>> one;
    one.emplace_back("a.example", "");
    Admin admin(*api);
    (void)co_await admin.create_domains(std::move(one));
  };
  EXPECT_EQ(run(work).text, "");
  EXPECT_EQ(server.methods(),
            (std::vector<std::string>{"Session.login", "Domains.create", "Session.login", "Domains.create"}));
  server.seen.clear();
  expired = 1000;
  run(work);
  EXPECT_EQ(server.seen.size(), 4u) << "not for ever";
}

// A server that forgets every session: once for each call, a page of a list is one.
TEST_F(KerioApi, ASessionThatExpiresWithEveryCallEndsInASentence) {
  int left = 50;  // if it were asked for ever
  server.result = [&](const Exchange&) {
    if (left-- == 0) return json::object();
    return json::object{{"error", json::object{{"code", -32001}, {"message", "Session expired."}}}};
  };
  const auto e = run([](ApiClient* api) -> asio::awaitable<void> {
    Admin admin(*api);
    (void)co_await admin.domains();
  });
  EXPECT_EQ(server.methods(),
            (std::vector<std::string>{"Session.login", "Domains.get", "Session.login", "Domains.get"}));
  EXPECT_EQ(e.scope, base::Scope::run);
  EXPECT_EQ(
      e.text,
      "the administration of kerio.example:4040 could not be asked for domains, aliases, password policy, quotas, "
      "clean-out rules, our marks (Domains.get): server said Session expired. (error -32001). Run again; what was "
      "done is on record.");
}

// RFC 9112 §6.3: without a length it ends with the connection.
TEST_F(KerioApi, AnAnswerWithoutALengthIsReadToTheEndOfTheConnection) {
  const auto made_one = [this](const std::string& header, const std::string& body) {
    server.http = [=, this](const Exchange& e) {
      if (e.method != "Session.login" && header.empty()) server.lose_next = true;
      return e.method == "Session.login" ? std::string() : header + body;
    };
    server.seen.clear();
    server.connections = 0;
    std::vector<Made> made;
    const auto e = run([&made](ApiClient* api) -> asio::awaitable<void> {
      std::vector<std::pair<std::string, std::string>> one;
      one.emplace_back("a.example", "");
      Admin admin(*api);
      made = co_await admin.create_domains(one);
      json::object none;
      (void)co_await api->call(Call::server_get_version, none);
    });
    EXPECT_EQ(e.text, "");
    return made.front().id.empty() ? made.front().error.text : "made";
  };
  const std::string answer = R"({"jsonrpc":"2.0","id":2,"result":{"result":[{"inputIndex":0,"id":"d"}],"errors":[]}})";
  EXPECT_EQ(made_one("HTTP/1.1 200 OK\r\n\r\n", answer), "made");
  EXPECT_GT(server.connections, 1) << "the connection is over, and a new one is opened";
  EXPECT_EQ(made_one("HTTP/1.0 200 OK\r\n\r\n", answer), "made");
  EXPECT_EQ(made_one("HTTP/1.1 413 x\r\n\r\n", ""), "HTTP 413: the request is too large");
  EXPECT_EQ(made_one("HTTP/1.1 200 OK\r\n\r\n", answer.substr(0, answer.size() - 1)), "the answer is no JSON");
  for (const char* short_of_it : {"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "HTTP/1.1 200 OK\r\nX: ", ""})
    EXPECT_EQ(made_one(short_of_it, std::string_view(short_of_it).ends_with("\n") ? answer : ""),
              "The connection was lost.")
        << short_of_it;
}

TEST_F(KerioApi, ReadingIsRepeatedWhenTheReplyIsLostAndWritingNever) {
  int lost = 1;
  server.http = [&](const Exchange& e) {
    if (e.method != "Session.login" && lost-- > 0) server.lose_next = true;
    return std::string();
  };
  EXPECT_EQ(run([](ApiClient* api) -> asio::awaitable<void> {
              json::object none;
              (void)co_await api->ask(Call::server_get_version, none);
            }).text,
            "");
  EXPECT_EQ(server.methods().size(), 3u);
  server.seen.clear();
  lost = 1;
  run([](ApiClient* api) -> asio::awaitable<void> {
    std::vector<std::pair<std::string, std::string>> one;
    one.emplace_back("a.example", "");
    Admin admin(*api);
    const auto made = co_await admin.create_domains(std::move(one));
    EXPECT_EQ(made.front().error.kind, ApiError::unknown);
  });
  EXPECT_EQ(server.methods(), (std::vector<std::string>{"Session.login", "Domains.create"}));
}

TEST_F(KerioApi, ServerErrorsAndGarbageOfAWritingCallAreUnknownAnd413IsTooLarge) {
  for (const auto& [reply, kind] : std::vector<std::pair<std::string, ApiError::Kind>>{
           {"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", ApiError::unknown},
           {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", ApiError::unknown},
           {Played::ok(R"({"jsonrpc":"2.0","id":77,"result":{"result":[{"inputIndex":0,"id":"d"}],"errors":[]}})"),
            ApiError::unknown},
           {"nonsense\r\n\r\n", ApiError::unknown},
           {"HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n", ApiError::too_large}}) {
    server.http = [&, text = reply](const Exchange& e) { return e.method == "Session.login" ? std::string() : text; };
    const auto e = run([want = kind](ApiClient* api) -> asio::awaitable<void> {
      std::vector<std::pair<std::string, std::string>> one;
      one.emplace_back("a.example", "");
      Admin admin(*api);
      const auto made = co_await admin.create_domains(std::move(one));
      EXPECT_EQ(made.front().error.kind, want) << made.front().error.text;
      EXPECT_EQ(made.front().id, "");
    });
    EXPECT_EQ(e.text, "") << reply;
  }
}

TEST_F(KerioApi, RedirectsAreNotFollowed) {
  server.http = [](const Exchange&) {
    return std::string("HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\r\n");
  };
  const auto e = run([](ApiClient*) -> asio::awaitable<void> { co_return; });
  EXPECT_NE(e.text.find("evil.example"), std::string::npos) << e.text;
  EXPECT_EQ(server.seen.size(), 1u);
}

TEST_F(KerioApi, ADryRunCannotChangeAnything) {
  EXPECT_THROW(run(
                   [](ApiClient* api) -> asio::awaitable<void> {
                     Admin admin(*api);
                     (void)co_await admin.set_aliases("d", {});
                   },
                   imap::Access::read_only),
               std::logic_error);
  EXPECT_EQ(server.methods(), (std::vector<std::string>{"Session.login"}));
}

TEST_F(KerioApi, ListsAreReadToTheirEndAndAShortOneIsNoList) {
  server.result = [](const Exchange& e) {
    const auto& q = e.params.at("query").as_object();
    for (const char* member : {"fields", "conditions", "combining", "start", "limit", "orderBy"})
      EXPECT_TRUE(q.contains(member)) << member;
    const auto start = q.at("start").as_int64();
    json::array rows;
    for (auto i = start; i < std::min<std::int64_t>(start + 400, 1000); ++i)  // a safety cap
      rows.push_back(json::object{{"id", "u" + std::to_string(i)}, {"loginName", "User" + std::to_string(i)}});
    return json::object{{"list", rows}, {"totalItems", 1000}};
  };
  EXPECT_EQ(run([](ApiClient* api) -> asio::awaitable<void> {
              Admin admin(*api);
              const auto users = co_await admin.users("d");
              EXPECT_EQ(users.size(), 1000u);
              EXPECT_EQ(users.back().login, "user999");
            }).text,
            "");
  server.result = [](const Exchange& e) {
    json::array rows;
    if (e.params.at("query").as_object().at("start").as_int64() == 0)
      rows.push_back(json::object{{"id", "u1"}, {"loginName", "a"}});
    return json::object{{"list", rows}, {"totalItems", 5}};
  };
  EXPECT_NE(run([](ApiClient* api) -> asio::awaitable<void> {
              Admin admin(*api);
              (void)co_await admin.users("d");
            }).text,
            "");
}

TEST_F(KerioApi, AReplyThatTricklesForEverIsGivenUp) {
  server.http = [](const Exchange& e) {
    return e.method == "Session.login"
               ? std::string()
               : "HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n" + std::string(100'000, ' ');
  };
  server.on_read = [this] { clock.pass(std::chrono::seconds(1)); };
  const auto e = run([](ApiClient* api) -> asio::awaitable<void> {
    json::object none;
    (void)co_await api->ask(Call::server_get_version, none);
  });
  EXPECT_NE(e.text.find("did not end within 300 s"), std::string::npos) << e.text;
}

TEST_F(KerioApi, OddAnswersEndInASentence) {
  for (const char* answer :
       {R"({"list":[],"totalItems":1e300})", R"({"list":[],"totalItems":-1})", R"({"list":[],"totalItems":1.5})",
        R"({"list":{},"totalItems":1})", R"({"list":[]})", R"({"list":[1,null,"x"],"totalItems":"3"})"}) {
    server.result = [answer](const Exchange&) { return json::parse(answer).as_object(); };
    const auto e = run([](ApiClient* api) -> asio::awaitable<void> {
      Admin admin(*api);
      (void)co_await admin.domains();
    });
    EXPECT_NE(e.text, "") << answer;
  }
  // Types that are not what the reference says are as good as missing.
  server.result = [](const Exchange&) {
    return json::parse(R"({"services":[1,{"name":"IMAP","isRunning":"yes","listeners":[7]},
      {"name":"Secure IMAP","isRunning":true,"listeners":[{"port":1e20}]}],"options":{"antiHammering":[]},
      "statistics":{"storage":{"total":"x","occupied":-5}},"aboutInformation":{"currentUsers":1e300,"allowedUsers":{}}})")
        .as_object();
  };
  EXPECT_EQ(run([](ApiClient* api) -> asio::awaitable<void> {
              Admin admin(*api);
              const auto s = co_await admin.server();
              EXPECT_EQ(s.imap_port, 0);
              EXPECT_EQ(s.imaps_port, 993);
              EXPECT_FALSE(s.licence_left);
              EXPECT_FALSE(s.disk_free);
            }).text,
            "");
}

TEST_F(KerioApi, BatchAnswersAreMatchedByIndexAndWhatIsMissingIsUnknown) {
  server.result = [](const Exchange&) {
    return json::parse(
               R"({"errors":[{"inputIndex":2,"code":1001,"message":"User %1 already exists.","messageParameters":{"positionalParameters":["bob"],"plurality":1}}],
                "result":[{"inputIndex":1,"id":"u2"},{"inputIndex":99,"id":"?"}]})")
        .as_object();
  };
  run([](ApiClient* api) -> asio::awaitable<void> {
    std::vector<NewUser> users(3);
    Admin admin(*api);
    const auto made = co_await admin.create_users("d", users);
    EXPECT_EQ(made.size(), 3u);
    EXPECT_EQ(made[0].error.kind, ApiError::unknown);
    EXPECT_EQ(made[1].id, "u2");
    EXPECT_EQ(made[2].error.code, 1001);
    EXPECT_EQ(made[2].error.text, "User bob already exists. (error 1001)");
  });
}

TEST_F(KerioApi, OurConnectionsAreThoseFromTheHostOfTheYoungest) {
  server.result = [](const Exchange& e) {
    if (e.method != "Server.getConnections") return json::object();
    return json::parse(R"({"totalItems":7,"list":[
      {"proto":"protocolImap","user":"Bob@North.example","from":"192.0.2.7:40312","time":"0"},
      {"proto":"protocolImaps","user":"bob","from":"192.0.2.7","time":"12"},
      {"proto":"protocolImap","user":"bob@north.example","from":"192.0.2.9","time":"9000"},
      {"proto":"protocolHttp","user":"bob@north.example","from":"192.0.2.7","time":"3"},
      {"proto":"protocolImap","user":"carl@north.example","from":"192.0.2.7","time":"3"},
      {"proto":"protocolImap","user":"bob@north.example","from":"[2001:db8::7]:993","time":"0"},
      {"proto":"protocolImap","user":"bob@north.example","from":"2001:db8::8","time":"5"}]})")
        .as_object();
  };
  run([](ApiClient* api) -> asio::awaitable<void> {
    Admin admin(*api);
    const auto all = co_await admin.imap_connections("bob@north.example");
    EXPECT_EQ(all.size(), 5u);
    if (all.size() == 5) {
      EXPECT_EQ(all[0].host, "192.0.2.7");
      EXPECT_EQ(all[3].host, "[2001:db8::7]");
      EXPECT_EQ(all[4].host, "2001:db8::8");
    }
    EXPECT_EQ(from_our_host(all), 3u) << "two are the youngest, and an old one comes from the host of one";
    EXPECT_EQ(from_our_host({}), 0u);
  });
}

TEST(KerioCalls, OnlyThreeChangeAnything) {
  std::vector<std::string> writing;
  for (int i = 0; i < kCalls; ++i) {
    const auto& info = describe(static_cast<Call>(i));
    ASSERT_NE(info.method, nullptr);
    if (info.writes) writing.emplace_back(info.method);
  }
  EXPECT_EQ(writing, (std::vector<std::string>{"Domains.create", "Domains.set", "Users.create"}));
}

TEST(KerioMark, IsValidOnItsOwnObjectOnly) {
  const auto d = with_mark("4D Post Office North", "north.example");
  EXPECT_TRUE(is_marked(d, "North.example"));
  EXPECT_TRUE(is_marked(d + "  ", "north.example"));
  EXPECT_FALSE(is_marked(d, "south.example"));
  EXPECT_FALSE(is_marked(d + " edited", "north.example"));
  EXPECT_FALSE(is_marked("", "north.example"));
}

TEST(KerioPassword, PolicyIsToldBeforeTheServerIsAsked) {
  const PasswordPolicy off, on{true, 8};
  EXPECT_EQ(password_problem(off, "a", "anna", "north.example", "Anna Berg"), "");
  EXPECT_EQ(password_problem(on, "Winter-2003", "anna", "north.example", "Anna Berg"), "");
  EXPECT_NE(password_problem(on, "Wi-2003", "anna", "north.example", ""), "");
  EXPECT_NE(password_problem(on, "winterabend", "anna", "north.example", ""), "");
  EXPECT_NE(password_problem(on, "xAnna-2003", "anna", "north.example", ""), "");
  EXPECT_NE(password_problem(on, "x-Berg-2003", "anna", "north.example", "Anna Berg"), "");
  EXPECT_EQ(password_problem(on, "Jo-20032003", "anna", "north.example", "Jo Li"), "")
      << "parts of two letters do not count";
}

// ---- exactly once, object by object ----

// A server with domains and users that carries out what it is told, and fails as it is told.
class Provisioning : public KerioApi {
 protected:
  test::TempFolder folder;
  std::vector<std::pair<std::string, std::string>> domains;  // name, description
  std::map<std::string, std::vector<std::string>> aliases;
  std::vector<std::pair<std::string, std::string>> users;  // login, description
  std::function<std::string(const Exchange&)> fault;       // "lost", "500", "" ...
  std::map<std::string, std::string> errors;
  int licence = 1000;
  std::size_t most_items = 1000;

  Provisioning() {
    server.http = [this](const Exchange& e) -> std::string {
      const std::string f = fault ? fault(e) : "";
      if (f == "500") return "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n";
      if (f == "lost") server.lose_next = true;
      for (const char* list : {"users", "domains"})
        if (const auto* items = e.params.if_contains(list); items != nullptr && items->as_array().size() > most_items)
          return "HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n";
      return {};
    };
    server.result = [this](const Exchange& e) { return carry_out(e); };
  }

  json::object carry_out(const Exchange& e) {
    json::array result, failed, list;
    const auto refuse = [&](std::size_t i, int code, const char* text) {
      failed.push_back(json::object{{"inputIndex", i}, {"code", code}, {"message", text}});
    };
    if (e.method == "Domains.get") {
      for (const auto& [n, d] : domains) {
        json::array a;
        for (const auto& x : aliases[n]) a.emplace_back(x);
        list.push_back(json::object{{"id", "d:" + n}, {"name", n}, {"description", d}, {"aliasList", a}});
      }
    } else if (e.method == "Users.get") {
      for (const auto& [n, d] : users)
        list.push_back(json::object{{"id", "u:" + n}, {"loginName", n}, {"description", d}});
    } else if (e.method == "Domains.create") {
      std::size_t i = 0;
      for (const auto& v : e.params.at("domains").as_array()) {
        const std::string n(v.at("name").as_string());
        const bool there = std::any_of(domains.begin(), domains.end(), [&](const auto& d) { return d.first == n; });
        if (there) refuse(i, 1001, "exists");
        else {
          domains.emplace_back(n, std::string(v.at("description").as_string()));
          result.push_back(json::object{{"inputIndex", i}, {"id", "d:" + n}});
        }
        ++i;
      }
    } else if (e.method == "Users.create") {
      std::size_t i = 0;
      for (const auto& v : e.params.at("users").as_array()) {
        const std::string n(v.at("loginName").as_string());
        const bool there = std::any_of(users.begin(), users.end(), [&](const auto& d) { return d.first == n; });
        if (there) refuse(i, 1001, "exists");
        else if (static_cast<int>(users.size()) >= licence) refuse(i, 1003, "licence");
        else if (v.at("password").as_string() == "bad") refuse(i, 1000, "password");
        else {
          users.emplace_back(n, std::string(v.at("description").as_string()));
          result.push_back(json::object{{"inputIndex", i}, {"id", "u:" + n}});
        }
        ++i;
      }
    } else if (e.method == "Domains.set") {
      const std::string id(e.params.at("domainIds").as_array()[0].as_string());
      std::vector<std::string> wanted;
      for (const auto& a : e.params.at("pattern").at("aliasList").as_array()) wanted.emplace_back(a.as_string());
      if (std::find(wanted.begin(), wanted.end(), "taken.example") != wanted.end()) refuse(0, 1001, "taken");
      else aliases[id.substr(2)] = wanted;
    } else if (e.method == "Domains.generatePassword") {
      return json::object{{"password", "Generated-1"}};
    }
    return json::object{{"result", result}, {"errors", failed}, {"list", list}, {"totalItems", list.size()}};
  }

  std::vector<std::string> kept;
  base::Error provision(std::vector<WantedDomain> wanted_domains, std::vector<WantedAccount> accounts) {
    state::Store store(folder.path() + "/state", state::Store::Mode::create);
    errors.clear();
    return run([&](ApiClient* api) { return work(api, &store, std::move(wanted_domains), std::move(accounts)); });
  }
  asio::awaitable<void> work(ApiClient* api, state::Store* store, std::vector<WantedDomain> wanted_domains,
                             std::vector<WantedAccount> accounts) {
    Admin admin(*api);
    Provisioner::Context context{*store, clock, std::chrono::milliseconds(1000), {}, {}, {}, {}};
    context.event = [](const std::string&, const std::string&) {};
    context.stopping = [] { return false; };
    context.keep_new_password = [this](const std::string& a, const base::Secret& p) {
      kept.push_back(a + " " + std::string(p.reveal()));
    };
    context.drop_new_password = [this](const std::string& a) {
      ASSERT_TRUE(!kept.empty() && kept.back().starts_with(a + " ")) << "the one kept last";
      kept.pop_back();
    };
    Provisioner p(admin, std::move(context));
    errors.merge(co_await p.domains(std::move(wanted_domains)));
    const auto id = p.domain_ids().find("north.example");
    if (id != p.domain_ids().end()) errors.merge(co_await p.accounts("north.example", id->second, std::move(accounts)));
  }
  std::string states() {
    state::Store store(folder.path() + "/state", state::Store::Mode::existing);
    std::string out;
    for (const auto& o : state::target_objects(store.db()))
      out += o.kind + " " + o.name + " " + std::to_string(static_cast<int>(o.state)) + " " + o.target_id + "\n";
    return out;
  }
  static std::vector<WantedAccount> people(int n) {
    std::vector<WantedAccount> out;
    for (int i = 0; i < n; ++i)
      out.push_back(
          {"u" + std::to_string(i) + "@north.example", "u" + std::to_string(i), "", base::Secret("Ok-12345")});
    return out;
  }
  static WantedDomain north() { return {"north.example", {}, "North", {"nord.example"}}; }
  std::size_t calls(const std::string& method) const {
    const auto m = server.methods();
    return static_cast<std::size_t>(std::count(m.begin(), m.end(), method));
  }
};

TEST_F(Provisioning, MakesDomainsAliasesAndAccountsInBatches) {
  EXPECT_EQ(provision({north()}, people(120)).text, "");
  EXPECT_TRUE(errors.empty());
  EXPECT_EQ(domains.size(), 1u);
  EXPECT_EQ(aliases["north.example"], (std::vector<std::string>{"nord.example"}));
  EXPECT_EQ(users.size(), 120u);
  EXPECT_EQ(calls("Users.create"), 3u);
  EXPECT_TRUE(is_marked(users[0].second, "u0@north.example"));
  const auto s = states();
  EXPECT_NE(s.find("domain north.example 1 d:north.example"), std::string::npos) << s;
  EXPECT_NE(s.find("alias nord.example 1"), std::string::npos) << s;
  EXPECT_NE(s.find("account u7@north.example 1 u:u7"), std::string::npos) << s;
}

TEST_F(Provisioning, ALostReplyOrAnErrorOfTheServerIsLookedAtAndNothingIsMadeTwice) {
  for (const std::string kind : {"lost", "500"}) {
    domains.clear();
    users.clear();
    aliases.clear();
    std::filesystem::remove_all(folder.path() + "/state");
    std::map<std::string, int> struck;
    fault = [&](const Exchange& e) {
      return describe(Call::domains_create).method == e.method || e.method == "Users.create" ||
                     e.method == "Domains.set"
                 ? struck[e.method]++ == 0 ? kind : std::string()
                 : std::string();
    };
    const auto before = clock.now();
    EXPECT_EQ(provision({north()}, people(3)).text, "");
    EXPECT_TRUE(errors.empty()) << errors.begin()->second;
    EXPECT_EQ(domains.size(), 1u) << kind;
    EXPECT_EQ(users.size(), 3u) << kind;
    EXPECT_EQ(aliases["north.example"].size(), 1u) << kind;
    EXPECT_GE((clock.now() - before).count(), 3000) << "the settle comes before the verdict";
  }
}

TEST_F(Provisioning, WithTheStateLostTheMarkTellsOursFromTheirs) {
  EXPECT_EQ(provision({north()}, people(2)).text, "");
  users.emplace_back("u2", "somebody else's");
  std::filesystem::remove_all(folder.path() + "/state");
  server.seen.clear();
  EXPECT_EQ(provision({north()}, people(3)).text, "");
  EXPECT_EQ(domains.size(), 1u);
  EXPECT_EQ(users.size(), 3u);
  EXPECT_EQ(calls("Domains.create") + calls("Users.create"), 0u);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors["u2@north.example"].find("not ours"), std::string::npos) << errors.begin()->second;
}

TEST_F(Provisioning, TheLicenceGivesUpTheRestAndSaysSo) {
  licence = 2;
  EXPECT_EQ(provision({north()}, people(4)).text, "");
  EXPECT_EQ(users.size(), 2u);
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_NE(errors["u3@north.example"].find("licence"), std::string::npos);
  EXPECT_TRUE(kept.empty()) << "no new password for want of a licence";
}

TEST_F(Provisioning, ARefusedPasswordIsReplacedAfterItIsOnDisk) {
  auto p = people(2);
  p[1].password = base::Secret("bad");
  EXPECT_EQ(provision({north()}, std::move(p)).text, "");
  EXPECT_TRUE(errors.empty());
  EXPECT_EQ(users.size(), 2u);
  EXPECT_EQ(kept, (std::vector<std::string>{"u1@north.example Generated-1"}));
}

TEST_F(Provisioning, AFailureThatIsNotThePasswordsCostsNoPassword) {
  int internal = 1;
  const auto honest = server.result;
  server.result = [&](const Exchange& e) {
    if (e.method == "Users.create" && internal-- > 0)
      return json::parse(
                 R"({"result":[],"errors":[{"inputIndex":0,"code":1000,"message":"Internal error, Ok-12345"}]})")
          .as_object();
    return honest(e);
  };
  EXPECT_EQ(provision({north()}, people(1)).text, "");
  EXPECT_TRUE(errors.empty());
  EXPECT_EQ(users.size(), 1u);
  EXPECT_TRUE(kept.empty()) << "its own password is good";
}

TEST_F(Provisioning, AGeneratedPasswordThatIsRefusedTooIsNobodysPassword) {
  server.result = [honest = server.result](const Exchange& e) {
    const auto* list = e.method == "Users.create" ? e.params.if_contains("users") : nullptr;
    if (list == nullptr || list->as_array().front().at("loginName").as_string() != "u1") return honest(e);
    return json::parse(R"({"result":[],"errors":[{"inputIndex":0,"code":1000,"message":"never"}]})").as_object();
  };
  auto p = people(3);
  for (const int i : {0, 2}) p[static_cast<std::size_t>(i)].password = base::Secret("bad");
  most_items = 1;
  EXPECT_EQ(provision({north()}, std::move(p)).text, "");
  EXPECT_EQ(users.size(), 2u);
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors["u1@north.example"].find("never"), std::string::npos) << errors.begin()->second;
  EXPECT_EQ(kept, (std::vector<std::string>{"u0@north.example Generated-1", "u2@north.example Generated-1"}));
}

TEST_F(Provisioning, AnAccountThatWasMadeAfterAllKeepsItsOwnPassword) {
  int failures = 1;
  server.result = [honest = server.result, &failures](const Exchange& e) {
    auto answer = honest(e);
    if (e.method != "Users.create" || failures-- <= 0) return answer;
    return json::parse(R"({"result":[],"errors":[{"inputIndex":0,"code":1000,"message":"carried out, in truth"}]})")
        .as_object();
  };
  EXPECT_EQ(provision({north()}, people(1)).text, "");
  EXPECT_TRUE(errors.empty()) << errors.begin()->second;
  EXPECT_EQ(users.size(), 1u);
  EXPECT_TRUE(kept.empty()) << "it was made with its own";
  EXPECT_EQ(calls("Domains.generatePassword"), 0u);
  EXPECT_NE(states().find("account u0@north.example 1 u:u0"), std::string::npos) << states();
}

TEST_F(Provisioning, APasswordThatTheServerRepeatsIsNotWrittenDown) {
  server.result = [honest = server.result](const Exchange& e) {
    if (e.method == "Users.create")
      return json::parse(R"({"result":[],"errors":[{"inputIndex":0,"code":1003,"message":"%1 is weak",
        "messageParameters":{"positionalParameters":["Ok-12345"]}}]})")
          .as_object();
    return honest(e);
  };
  EXPECT_EQ(provision({north()}, people(1)).text, "");
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors.begin()->second.find("Ok-12345"), std::string::npos) << errors.begin()->second;
  EXPECT_NE(errors.begin()->second.find("*** is weak"), std::string::npos) << errors.begin()->second;
}

TEST_F(Provisioning, TooLargeBatchesAreSplitDownToOne) {
  most_items = 1;
  EXPECT_EQ(provision({north()}, people(7)).text, "");
  EXPECT_TRUE(errors.empty()) << errors.begin()->second;
  EXPECT_EQ(users.size(), 7u);
}

TEST_F(Provisioning, OneAliasThatIsTakenDoesNotSpoilTheOthers) {
  auto d = north();
  d.aliases = {"taken.example", "nord.example"};
  EXPECT_EQ(provision({d}, {}).text, "");
  EXPECT_EQ(aliases["north.example"], (std::vector<std::string>{"nord.example"}));
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors["taken.example"].find("server said taken"), std::string::npos) << errors["taken.example"];
}

TEST_F(Provisioning, AliasesThatAreThereStay) {
  domains.emplace_back("north.example", with_mark("North", "north.example"));
  aliases["north.example"] = {"by-hand.example"};
  EXPECT_EQ(provision({north()}, {}).text, "");
  EXPECT_EQ(aliases["north.example"], (std::vector<std::string>{"by-hand.example", "nord.example"}));
}

TEST_F(Provisioning, AServerThatLosesEveryReplyEndsInASentence) {
  fault = [](const Exchange& e) { return e.method == "Domains.create" ? std::string("500") : std::string(); };
  EXPECT_EQ(provision({north()}, people(1)).text, "");
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_NE(errors["north.example"].find("HTTP 500"), std::string::npos) << errors["north.example"];
}

}  // namespace
}  // namespace load::kerio
