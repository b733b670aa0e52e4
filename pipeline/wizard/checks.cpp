#include "pipeline/wizard/checks.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "imap/client/session.hpp"
#include "load/kerio/admin.hpp"

namespace pipeline::wizard {

namespace asio = boost::asio;
namespace kerio = load::kerio;

namespace {

constexpr std::chrono::seconds kPatience{15};  // a person waits in front of the page

struct Met {
  std::string certificate;
};

// Of a failure: whether it was the certificate, that is, one was met and nobody had said that it is good.
void explain(Check& check, const base::Endpoint& endpoint, const base::Error& error, const Met& met) {
  check.failed = error.text;
  check.where = fmt::format("{}:{}", endpoint.host, endpoint.port);
  check.log_in_refused = error.exit == base::Exit::login_refused;
  const bool pinned = std::any_of(endpoint.pins.begin(), endpoint.pins.end(),
                                  [&](const auto& p) { return base::iequals(p, met.certificate); });
  if (error.scope == base::Scope::run && !check.log_in_refused && !pinned) check.certificate = met.certificate;
  check.changed = !endpoint.pins.empty();
}

asio::awaitable<Check> greet(base::Endpoint endpoint, imap::Dialer& dialer) {
  Check out;
  Met met;
  endpoint.silence = std::min(endpoint.silence, kPatience);
  endpoint.on_certificate = [&met](const std::string& fingerprint) { met.certificate = fingerprint; };
  imap::SessionOptions options;
  options.endpoint = endpoint;
  std::optional<base::Error> error;
  try {
    co_await imap::Session::greet(dialer, std::move(options));
  } catch (const base::Failed& f) {
    error = f.error;
  }
  if (error) explain(out, endpoint, *error, met);
  co_return out;
}

}  // namespace

asio::awaitable<Check> check_source(Settings settings, imap::Dialer& dialer) {
  base::Endpoint endpoint = settings.source;
  if (endpoint.port == 0) endpoint.port = endpoint.tls == base::TlsMode::tls ? 993 : 143;
  co_return co_await greet(endpoint, dialer);
}

asio::awaitable<Check> check_target(Settings settings, imap::Dialer& dialer, base::Clock& clock) {
  if (settings.target_kind == TargetKind::imap) co_return co_await greet(settings.target, dialer);
  Check out;
  Met met;
  kerio::ApiClient::Settings s;
  s.endpoint = settings.api;
  s.endpoint.silence = std::min(s.endpoint.silence, kPatience);
  s.endpoint.on_certificate = [&met](const std::string& fingerprint) { met.certificate = fingerprint; };
  s.user = settings.target_user;
  s.password = settings.target_password;
  s.access = imap::Access::read_only;
  const base::Endpoint endpoint = s.endpoint;
  std::optional<base::Error> error;
  kerio::Server server;
  bool primary = false;
  try {
    auto api = co_await kerio::ApiClient::open(dialer, clock, std::move(s));
    kerio::Admin admin(*api);
    server = co_await admin.server();
    const auto domains = co_await admin.domains();
    primary = std::any_of(domains.begin(), domains.end(), [](const auto& d) { return d.primary; });
    co_await api->logout();
  } catch (const base::Failed& f) {
    error = f.error;
  }
  if (error) {
    explain(out, endpoint, *error, met);
    co_return out;
  }
  const bool tls = settings.target.tls == base::TlsMode::tls;
  if (settings.target.port == 0) settings.target.port = tls ? server.imaps_port : server.imap_port;
  if (!primary) out.failed = "The target has no primary domain (R14). Create one that is none of the source's.";
  else if (settings.target.port == 0)
    out.failed = fmt::format(
        "The service \"{}\" does not run on the target. Start it in its administration "
        "(Configuration, Services).",
        tls ? "Secure IMAP" : "IMAP");
  else out = co_await greet(settings.target, dialer);
  out.found = server.version;
  co_return out;
}

}  // namespace pipeline::wizard
