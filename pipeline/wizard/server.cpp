#include "pipeline/wizard/server.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>
#include <list>

#include "base/result.hpp"
#include "base/text.hpp"
#include "pipeline/wizard/texts.hpp"

namespace pipeline::wizard {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace json = boost::json;
using asio::ip::tcp;
using boost::system::error_code;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kLongestHead = 16 * 1024;
constexpr std::size_t kLongestBody = 1024 * 1024;
constexpr std::size_t kMostConnections = 32;
constexpr auto kHeadTakes = 10s, kBodyTakes = 20s, kAnswerTakes = 60s, kEventTakes = 10s;
constexpr auto kBetweenEvents = 500ms;
constexpr int kSilentEvents = 30;  // until a sign of life, by which a browser that is gone is noticed

// No script but our own, nothing from elsewhere, no frame, nothing kept (S29, S30).
constexpr std::pair<const char*, const char*> kHeaders[] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
     "form-action 'none'; frame-ancestors 'none'"},
    {"X-Frame-Options", "DENY"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

std::string percent_decoded(std::string_view s, bool query) {
  std::string out;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '%' && i + 2 < s.size() && digit(s[i + 1]) >= 0 && digit(s[i + 2]) >= 0) {
      out += static_cast<char>(digit(s[i + 1]) * 16 + digit(s[i + 2]));
      i += 2;
    } else {
      out += query && s[i] == '+' ? ' ' : s[i];
    }
  }
  return out;
}

Request request_of(const Gate::Header& header) {
  Request out;
  const std::string_view target = header.target();
  const auto question = target.find('?');
  out.method = header.method_string();
  out.path = percent_decoded(target.substr(0, question), false);
  if (question != std::string_view::npos)
    for (const auto& pair : base::split(target.substr(question + 1), '&')) {
      const auto equals = std::min(pair.find('='), pair.size());
      out.query[percent_decoded(std::string_view(pair).substr(0, equals), true)] =
          equals < pair.size() ? percent_decoded(std::string_view(pair).substr(equals + 1), true) : std::string();
    }
  std::string chosen;
  if (const auto cookies = header.find("Cookie"); cookies != header.end())
    for (const auto& part : base::split(cookies->value(), ';'))
      if (const auto c = base::trim(part); c.starts_with("4d2kms-language=")) chosen = c.substr(16);
  const auto accepted = header.find("Accept-Language");
  out.language =
      language_for(chosen, accepted == header.end() ? std::string_view() : std::string_view(accepted->value()));
  return out;
}

Reply refusal(int status, std::string_view why) {
  Reply out;
  out.status = status;
  out.type = "text/plain; charset=utf-8";
  out.body = fmt::format("4d2kms: {}.\n", why);
  return out;
}

template <class Body>
void add_headers(http::response<Body>& response, const Reply& reply, bool keep_alive) {
  response.version(11);
  response.result(static_cast<unsigned>(reply.status));
  for (const auto& [name, value] : kHeaders) response.set(name, value);
  response.set(http::field::content_type, reply.type);
  for (const auto& [name, value] : reply.headers) response.insert(name, value);
  response.keep_alive(keep_alive);
}

}  // namespace

struct Server::Shared : std::enable_shared_from_this<Shared> {
  Shared(asio::io_context& io, std::uint16_t port, base::Clock& clock, Site what)
      : v4(io), v6(io), gate(bind(port), clock), site(std::move(what)) {}

  struct Connection {
    explicit Connection(tcp::socket socket) : stream(std::move(socket)) {}
    beast::tcp_stream stream;
    bool waits = true;  // for a request: nobody is hurt when it goes
  };

  // In the list for as long as it is served, whatever ends that.
  struct Listed {
    std::list<Connection*>& all;
    Connection* connection;
    ~Listed() { all.remove(connection); }
    void to_the_end() const {
      all.remove(connection);
      all.push_back(connection);
    }
  };

  std::uint16_t bind(std::uint16_t port);
  static asio::awaitable<void> accept(std::shared_ptr<Shared> self, tcp::acceptor* acceptor);
  static asio::awaitable<void> serve(std::shared_ptr<Shared> self, std::shared_ptr<Connection> connection);
  asio::awaitable<bool> serve_one(Connection& c, beast::flat_buffer& buffer);
  asio::awaitable<Reply> reply_to(Connection& c, beast::flat_buffer& buffer, Request* request, bool* keep_alive);
  asio::awaitable<bool> send(Connection& c, Reply reply, Request request, bool keep_alive);
  asio::awaitable<void> send_events(Connection& c, Reply reply, Request request);
  void make_room();

  tcp::acceptor v4, v6;
  Gate gate;
  Site site;
  std::list<Connection*> connections;  // the one that was heard of last at the end
};

// Loopback only; the same port on both families where there are both.
std::uint16_t Server::Shared::bind(std::uint16_t port) {
  error_code ec;
  for (int tries = 0; tries < 20; ++tries) {
    v4 = tcp::acceptor(v4.get_executor());
    v4.open(tcp::v4(), ec);
    if (!ec && port != 0) v4.set_option(asio::socket_base::reuse_address(true), ec);
    if (!ec) v4.bind({asio::ip::address_v4::loopback(), port}, ec);
    if (!ec) v4.listen(asio::socket_base::max_listen_connections, ec);
    if (ec) break;
    const auto chosen = v4.local_endpoint().port();
    error_code six;
    v6 = tcp::acceptor(v6.get_executor());
    v6.open(tcp::v6(), six);
    if (!six) v6.set_option(asio::ip::v6_only(true), six);
    if (!six && port != 0) v6.set_option(asio::socket_base::reuse_address(true), six);
    if (!six) v6.bind({asio::ip::address_v6::loopback(), chosen}, six);
    if (!six) v6.listen(asio::socket_base::max_listen_connections, six);
    if (!six) return chosen;
    error_code ignored;
    v6.close(ignored);
    // Somebody else's on ::1 would be met by "localhost": another port, unless this one was asked for.
    if (six != asio::error::address_in_use) return chosen;
    if (port != 0) {
      ec = six;
      break;
    }
  }
  throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                      fmt::format("Could not listen on port {} of this machine: {}. Give another one with --port.",
                                  port, ec.message())});
}

void Server::Shared::make_room() {
  if (connections.size() < kMostConnections) return;
  auto it = std::find_if(connections.begin(), connections.end(), [](const Connection* c) { return c->waits; });
  if (it == connections.end()) it = connections.begin();
  (*it)->stream.close();
  connections.erase(it);
}

asio::awaitable<void> Server::Shared::accept(std::shared_ptr<Shared> self, tcp::acceptor* acceptor) {
  while (acceptor->is_open()) {
    error_code ec;
    tcp::socket socket = co_await acceptor->async_accept(asio::redirect_error(asio::use_awaitable, ec));
    if (!acceptor->is_open()) co_return;
    if (ec) {
      // Out of file descriptors, most likely: a moment, not a busy loop.
      asio::steady_timer pause(acceptor->get_executor(), 1s);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
      continue;
    }
    self->make_room();
    auto connection = std::make_shared<Connection>(std::move(socket));
    self->connections.push_back(connection.get());
    asio::co_spawn(acceptor->get_executor(), serve(self, connection), asio::detached);
  }
}

asio::awaitable<void> Server::Shared::serve(std::shared_ptr<Shared> self, std::shared_ptr<Connection> connection) {
  const Listed listed{self->connections, connection.get()};
  beast::flat_buffer buffer(kLongestHead);
  bool again = true;
  while (again) {
    connection->waits = true;
    listed.to_the_end();
    again = co_await self->serve_one(*connection, buffer);
  }
  error_code ignored;
  connection->stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  connection->stream.close();
}

// One request, one answer; whether another may follow.
asio::awaitable<bool> Server::Shared::serve_one(Connection& c, beast::flat_buffer& buffer) {
  Request request;
  bool keep_alive = true;
  Reply reply = co_await reply_to(c, buffer, &request, &keep_alive);
  if (reply.status == 0) co_return false;  // it is gone
  co_return co_await send(c, std::move(reply), std::move(request), keep_alive);
}

asio::awaitable<Reply> Server::Shared::reply_to(Connection& c, beast::flat_buffer& buffer, Request* request,
                                                bool* keep_alive) {
  *keep_alive = false;  // after whatever is refused here nobody knows where the next request would begin
  const Reply gone{0, {}, {}, {}, {}, false};
  c.stream.expires_after(kHeadTakes);
  std::size_t looked = 0;
  for (;;) {
    const std::string_view head(static_cast<const char*>(buffer.data().data()), buffer.size());
    bool whole = false;
    for (; looked < head.size() && !whole; ++looked) {
      if (head[looked] != '\n') continue;
      if (looked == 0 || head[looked - 1] != '\r') co_return refusal(400, "a line must end with CR LF");
      whole = looked >= 3 && head.substr(looked - 3, 4) == "\r\n\r\n";
    }
    if (whole) break;
    if (buffer.size() >= kLongestHead) co_return refusal(431, "the head of the request is too long");
    error_code ec;
    const auto into = buffer.prepare(std::min<std::size_t>(4096, kLongestHead - buffer.size()));
    const auto n = co_await c.stream.async_read_some(into, asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return gone;  // too slow: then the stream is closed already
    buffer.commit(n);
  }
  c.waits = false;
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(kLongestHead));
  parser.body_limit(kLongestBody);
  error_code ec;
  buffer.consume(parser.put(buffer.data(), ec));
  if (ec == http::error::need_more) ec = {};
  if (ec == http::error::body_limit) co_return refusal(413, "a body may have 1 MiB");
  if (ec || !parser.is_header_done()) co_return refusal(400, "that is no HTTP request");
  const Gate::Header& header = parser.get();
  // What two readers could understand in two ways (S32).
  if (header.count(http::field::transfer_encoding) > 0) co_return refusal(400, "Transfer-Encoding is not taken");
  if (header.count(http::field::content_length) > 1) co_return refusal(400, "one Content-Length, please");
  if (header.count(http::field::expect) > 0) co_return refusal(417, "Expect is not taken");
  if (const auto v = gate.address(header); v.status != 200) co_return refusal(v.status, v.why);
  const auto method = header.method();
  if (method != http::verb::get && method != http::verb::post) co_return refusal(405, "GET and POST only");
  const auto length = parser.content_length().value_or(0);
  if (method == http::verb::get && length > 0) co_return refusal(400, "a GET has no body");
  *request = request_of(header);
  if (request->path == "/launch" && method == http::verb::get) {
    if (!gate.launch(request->query["token"])) co_return refusal(403, text_of(request->language, "refused.launch"));
    Reply out;
    out.status = 303;
    out.headers = {{"Location", "/"}, {"Set-Cookie", gate.cookie()}};
    co_return out;
  }
  if (!gate.has_session(header)) co_return refusal(403, text_of(request->language, "refused.session"));
  Request asked = *request;  // the body goes to whoever answers and stays nowhere else: a password may be in it
  if (method == http::verb::post) {
    if (const auto v = gate.change(header); v.status != 200) co_return refusal(v.status, v.why);
    if (length > kLongestBody) co_return refusal(413, "a body may have 1 MiB");
    c.stream.expires_after(kBodyTakes);
    if (!parser.is_done())
      co_await http::async_read(c.stream, buffer, parser, asio::redirect_error(asio::use_awaitable, ec));
    if (ec == http::error::body_limit) co_return refusal(413, "a body may have 1 MiB");
    if (ec) co_return gone;
    std::string& body = parser.get().body();
    error_code bad;
    json::value value = json::parse(body, bad);
    OPENSSL_cleanse(body.data(), body.size());  // a password may have been in it
    if (bad || !value.is_object()) co_return refusal(400, "a JSON object is needed");
    asked.body = std::move(value.as_object());
  }
  *keep_alive = parser.get().keep_alive();
  c.stream.expires_never();
  co_return co_await site.answer(std::move(asked));
}

asio::awaitable<bool> Server::Shared::send(Connection& c, Reply reply, Request request, bool keep_alive) {
  error_code ec;
  if (reply.events) {
    co_await send_events(c, std::move(reply), std::move(request));
    co_return false;
  }
  c.stream.expires_after(kAnswerTakes);
  if (!reply.file.empty()) {
    http::response<http::file_body> response;
    beast::file_posix file;
    const int fd = ::open(reply.file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
      file.native_handle(fd);
      response.body().reset(std::move(file), ec);
    }
    if (fd >= 0 && !ec) {
      add_headers(response, reply, keep_alive);
      response.prepare_payload();
      co_await http::async_write(c.stream, response, asio::redirect_error(asio::use_awaitable, ec));
      co_return !ec && keep_alive;
    }
    reply = refusal(404, "that file is not there any more");
  }
  http::response<http::string_body> response;
  response.body() = std::move(reply.body);
  add_headers(response, reply, keep_alive);
  response.prepare_payload();
  co_await http::async_write(c.stream, response, asio::redirect_error(asio::use_awaitable, ec));
  co_return !ec && keep_alive;
}

asio::awaitable<void> Server::Shared::send_events(Connection& c, Reply reply, Request request) {
  error_code ec;
  reply.type = "text/event-stream";
  http::response<http::empty_body> response;
  add_headers(response, reply, false);
  http::response_serializer<http::empty_body> head(response);
  c.stream.expires_after(kEventTakes);
  co_await http::async_write_header(c.stream, head, asio::redirect_error(asio::use_awaitable, ec));
  asio::steady_timer timer(c.stream.get_executor());
  std::string last;
  for (int silent = 0; !ec;) {
    const std::string now = site.event(request);
    std::string out;
    if (now != last) out = fmt::format("data: {}\n\n", now);
    else if (++silent >= kSilentEvents) out = ":\n\n";
    if (!out.empty()) {
      silent = 0;
      last = now;
      c.stream.expires_after(kEventTakes);
      co_await asio::async_write(c.stream, asio::buffer(out), asio::redirect_error(asio::use_awaitable, ec));
    }
    timer.expires_after(kBetweenEvents);
    error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    if (!c.stream.socket().is_open()) co_return;
  }
}

Server::Server(asio::io_context& io, std::uint16_t port, base::Clock& clock, Site site)
    : shared_(std::make_shared<Shared>(io, port, clock, std::move(site))) {
  asio::co_spawn(io, Shared::accept(shared_, &shared_->v4), asio::detached);
  if (shared_->v6.is_open()) asio::co_spawn(io, Shared::accept(shared_, &shared_->v6), asio::detached);
}

Server::~Server() {
  error_code ignored;
  shared_->v4.close(ignored);
  shared_->v6.close(ignored);
  for (auto* c : shared_->connections) c->stream.close();
}

Gate& Server::gate() { return shared_->gate; }

}  // namespace pipeline::wizard
