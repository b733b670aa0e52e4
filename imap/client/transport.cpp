#include "imap/client/transport.hpp"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "base/result.hpp"
#include "base/text.hpp"

namespace imap {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using base::Exit;
using base::Remedy;
using base::Scope;

// One timer for the whole connection: it fires only when nothing moved in either direction for the limit, so a slow
// line is never mistaken for a dead one (F17) and costs nothing per operation.
class Watchdog : public std::enable_shared_from_this<Watchdog> {
 public:
  Watchdog(const asio::any_io_executor& ex, std::chrono::seconds limit, tcp::socket& socket)
      : timer_(ex), limit_(limit), socket_(&socket) {}
  void progress() { last_ = std::chrono::steady_clock::now(); }
  void begin() {
    if (busy_++ == 0) progress();
    if (!armed_) arm();
  }
  void end() {
    --busy_;
    progress();
  }
  void stop() {
    socket_ = nullptr;
    timer_.cancel();
  }
  bool fired() const { return fired_; }

 private:
  void arm() {
    armed_ = true;
    timer_.expires_at(last_ + limit_);
    timer_.async_wait([self = shared_from_this()](boost::system::error_code) {
      self->armed_ = false;
      if (self->socket_ == nullptr || self->busy_ == 0) return;
      if (std::chrono::steady_clock::now() >= self->last_ + self->limit_) {
        self->fired_ = true;
        boost::system::error_code ignored;
        self->socket_->close(ignored);
      } else {
        self->arm();
      }
    });
  }
  asio::steady_timer timer_;
  std::chrono::seconds limit_;
  tcp::socket* socket_;
  std::chrono::steady_clock::time_point last_{};
  int busy_ = 0;
  bool armed_ = false, fired_ = false;
};

struct Busy {
  explicit Busy(Watchdog& w) : watchdog(w) { watchdog.begin(); }
  ~Busy() { watchdog.end(); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
  Watchdog& watchdog;
};

std::string fingerprint_of(X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int n = 0;
  if (certificate == nullptr || X509_digest(certificate, EVP_sha256(), digest, &n) != 1) return {};
  return "sha256:" + base::hex({reinterpret_cast<char*>(digest), n});
}

// One for each CA file: reading a system's CA certificates takes longer than a handshake.
using TlsContext = std::shared_ptr<asio::ssl::context>;
TlsContext tls_context(const std::string& ca_file) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  context->set_options(asio::ssl::context::no_compression | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  boost::system::error_code ec;
  if (ca_file.empty()) {
    context->set_default_verify_paths(ec);
  } else {
    context->load_verify_file(ca_file, ec);
    if (ec)
      throw base::Failed({Scope::run, Remedy::ask_admin,
                          fmt::format("Could not read the CA certificates from \"{}\": {}.", ca_file, ec.message())});
  }
  return context;
}

class NetworkTransport final : public Transport {
 public:
  NetworkTransport(const asio::any_io_executor& ex, base::Endpoint endpoint, std::function<TlsContext()> context)
      : endpoint_(std::move(endpoint)),
        socket_(ex),
        watchdog_(std::make_shared<Watchdog>(ex, endpoint_.silence, socket_)),
        make_context_(std::move(context)) {}
  ~NetworkTransport() override { watchdog_->stop(); }

  asio::awaitable<void> connect();
  asio::awaitable<std::size_t> read_some(asio::mutable_buffer into) override;
  asio::awaitable<void> write_all(std::vector<std::string_view> pieces) override;
  asio::awaitable<void> start_tls() override;
  bool encrypted() const override { return tls_.has_value(); }
  void close() override {
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

 private:
  std::string where() const { return fmt::format("{}:{}", endpoint_.host, endpoint_.port); }
  [[noreturn]] void lost(const char* doing, const boost::system::error_code& ec) {
    std::string why = ec == asio::error::eof ? "the server closed the connection" : ec.message();
    if (ec.category() == asio::error::get_ssl_category() || ec == asio::ssl::error::stream_truncated)
      why = "the server closed the connection without ending TLS";
    if (watchdog_->fired()) why = fmt::format("nothing was heard for {} s", endpoint_.silence.count());
    throw base::Failed({Scope::account, Remedy::reconnect,
                        fmt::format("The connection to {} was lost while {}: {}.", where(), doing, why)});
  }

  base::Endpoint endpoint_;
  tcp::socket socket_;
  std::shared_ptr<Watchdog> watchdog_;
  std::function<TlsContext()> make_context_;
  TlsContext context_;
  std::optional<asio::ssl::stream<tcp::socket&>> tls_;
};

asio::awaitable<void> NetworkTransport::connect() {
  auto ex = co_await asio::this_coro::executor;
  tcp::resolver resolver(ex);
  boost::system::error_code ec;
  auto found = co_await resolver.async_resolve(endpoint_.host, std::to_string(endpoint_.port),
                                               asio::redirect_error(asio::use_awaitable, ec));
  if (ec)
    throw base::Failed(
        {Scope::account, Remedy::reconnect,
         fmt::format("Could not find the address of \"{}\": {}. Check the name and the DNS, then run again.",
                     base::printable(endpoint_.host), ec.message())});
  {
    Busy busy(*watchdog_);
    co_await asio::async_connect(socket_, found, asio::redirect_error(asio::use_awaitable, ec));
  }
  if (ec)
    throw base::Failed(
        {Scope::account, Remedy::reconnect,
         fmt::format("Could not connect to {}: {}. Check that the server runs, the port and the firewall, "
                     "then run again.",
                     where(), watchdog_->fired() ? "no answer" : ec.message())});
  socket_.set_option(tcp::no_delay(true), ec);
  socket_.set_option(asio::socket_base::keep_alive(true), ec);
  if (endpoint_.tls == base::TlsMode::tls) co_await start_tls();
}

asio::awaitable<void> NetworkTransport::start_tls() {
  boost::system::error_code ec;
  context_ = make_context_();
  tls_.emplace(socket_, *context_);
  SSL* ssl = tls_->native_handle();
  const auto address = asio::ip::make_address(endpoint_.host, ec);
  if (ec) {
    SSL_set_tlsext_host_name(ssl, endpoint_.host.c_str());
    SSL_set1_host(ssl, endpoint_.host.c_str());
  } else {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address.to_string().c_str());
  }
  // The verdict is ours: the chain's result is noted here and judged after the handshake, where a pin may overrule it.
  tls_->set_verify_mode(asio::ssl::verify_peer);
  long first_error = X509_V_OK;
  tls_->set_verify_callback([&first_error](bool, asio::ssl::verify_context& context) {
    const int error = X509_STORE_CTX_get_error(context.native_handle());
    if (error != X509_V_OK && first_error == X509_V_OK) first_error = error;
    return true;
  });
  {
    Busy busy(*watchdog_);
    co_await tls_->async_handshake(asio::ssl::stream_base::client, asio::redirect_error(asio::use_awaitable, ec));
  }
  if (ec)
    throw base::Failed({Scope::account, Remedy::reconnect,
                        fmt::format("The TLS handshake with {} failed: {}. Check that this port speaks TLS.", where(),
                                    watchdog_->fired() ? "no answer" : ec.message())});
  X509* certificate = SSL_get1_peer_certificate(ssl);
  const std::string fingerprint = fingerprint_of(certificate);
  X509_free(certificate);
  if (endpoint_.on_certificate) endpoint_.on_certificate(fingerprint);
  for (const auto& pin : endpoint_.pins)
    if (base::iequals(pin, fingerprint)) co_return;
  if (!endpoint_.pins.empty())
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("The certificate of {} is {}, not the pinned one. Somebody may be in between, or the "
                     "certificate was renewed: ask whoever runs that server before you change the pin. "
                     "No password was sent.",
                     where(), fingerprint)});
  if (first_error == X509_V_OK) co_return;
  const bool nameless = first_error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
                        first_error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
                        first_error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
                        first_error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE;
  if (nameless && endpoint_.accept_unknown && endpoint_.accept_unknown(fingerprint)) co_return;
  throw base::Failed(
      {Scope::run, Remedy::ask_admin,
       fmt::format("The certificate of {} cannot be trusted: {}. Its fingerprint is {}. No password was sent. "
                   "If that is the right server's fingerprint, run again with --{}-pin {}; or give the CA "
                   "with --{}-ca FILE.",
                   where(), X509_verify_cert_error_string(first_error), fingerprint, endpoint_.side, fingerprint,
                   endpoint_.side)});
}

asio::awaitable<std::size_t> NetworkTransport::read_some(asio::mutable_buffer into) {
  Busy busy(*watchdog_);
  boost::system::error_code ec;
  std::size_t n = 0;
  if (tls_) n = co_await tls_->async_read_some(into, asio::redirect_error(asio::use_awaitable, ec));
  else n = co_await socket_.async_read_some(into, asio::redirect_error(asio::use_awaitable, ec));
  if (ec) lost("waiting for its answer", ec);
  co_return n;
}

asio::awaitable<void> NetworkTransport::write_all(std::vector<std::string_view> pieces) {
  Busy busy(*watchdog_);
  boost::system::error_code ec;
  // Small pieces are joined: one system call, one TLS record. Large ones go out from where they are.
  std::string joined;
  std::size_t i = 0;
  while (i < pieces.size()) {
    std::string_view now;
    if (pieces[i].size() >= 64 * 1024) {
      now = pieces[i++];
    } else {
      joined.clear();
      while (i < pieces.size() && joined.size() + pieces[i].size() <= 64 * 1024) joined += pieces[i++];
      now = joined;
    }
    while (!now.empty()) {
      const auto part = asio::buffer(now.data(), std::min<std::size_t>(now.size(), 64 * 1024));
      std::size_t n = 0;
      if (tls_) n = co_await asio::async_write(*tls_, part, asio::redirect_error(asio::use_awaitable, ec));
      else n = co_await asio::async_write(socket_, part, asio::redirect_error(asio::use_awaitable, ec));
      if (ec) lost("sending to it", ec);
      watchdog_->progress();
      now.remove_prefix(n);
    }
  }
}

class NetworkDialer final : public Dialer {
 public:
  asio::awaitable<std::unique_ptr<Transport>> dial(base::Endpoint endpoint) override {
    std::function<TlsContext()> context = [this, ca = endpoint.ca_file] {
      auto& known = contexts_[ca];
      if (!known) known = tls_context(ca);
      return known;
    };
    auto t =
        std::make_unique<NetworkTransport>(co_await asio::this_coro::executor, std::move(endpoint), std::move(context));
    co_await t->connect();
    co_return t;
  }

 private:
  std::map<std::string, TlsContext> contexts_;
};

}  // namespace

void refuse_cleartext(const base::Endpoint& endpoint) {
  if (endpoint.tls != base::TlsMode::none || base::is_loopback(endpoint.host) || endpoint.allow_cleartext) return;
  throw base::Failed(
      {Scope::run, Remedy::ask_admin,
       fmt::format("The connection to {}:{} would send passwords and mail readable for anyone on the way. "
                   "Use --{}-tls starttls or tls; or, if the line is safe, add --allow-cleartext.",
                   endpoint.host, endpoint.port, endpoint.side),
       Exit::usage});
}

std::unique_ptr<Dialer> network_dialer() { return std::make_unique<NetworkDialer>(); }

}  // namespace imap
