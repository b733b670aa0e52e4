#include "load/kerio/api_client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <sstream>

#include "base/text.hpp"

namespace load::kerio {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace json = boost::json;
using base::Exit;
using base::Remedy;
using base::Scope;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kLargestReply = 64 * 1024 * 1024;
constexpr int kTries = 4;  // of a reading call
constexpr std::int64_t kPage = 1000, kMostRows = 1'000'000;
constexpr int kSessionExpired = -32001, kTimeout = -32002, kTooLarge = 413;

json::string text_of(std::string_view s) { return json::string(s); }

}  // namespace

const CallInfo& describe(Call c) {
  static constexpr CallInfo kTable[kCalls] = {
      {"Session.login", "opens the session of the administrator", false},
      {"Session.logout", "ends it", false},
      {"Server.getVersion", "product and version, for the plan and the report", false},
      {"Server.getProductInfo", "operating system: which characters a mailbox name can hold", false},
      {"Services.get", "whether IMAP runs, and on which port", false},
      {"SecurityPolicy.get", "the log-in guard that could lock the migration out", false},
      {"AdvancedOptions.get", "master authentication; the limits of the disk watchdog", false},
      {"Statistics.get", "free space of the message store", false},
      {"Server.getAboutInfo", "how many accounts the licence allows", false},
      {"Server.getConnections", "whether a connection we lost still works on an APPEND, before anything is sent again",
       false},
      {"Domains.get", "domains, aliases, password policy, quotas, clean-out rules, our marks", false},
      {"Users.get", "accounts of a domain, quotas, clean-out rules, our marks", false},
      {"Server.findEntityByEmail", "whether an address is taken by an alias, a group, a list or a resource", false},
      {"Aliases.check", "where mail for an address is delivered: verification", false},
      {"Domains.generatePassword", "a password that the domain's policy takes (--on-refused-password generate)", false},
      {"Domains.create", "a target domain for each Post Office (R1)", true},
      {"Domains.set", "its aliases, on domains that we created (R2)", true},
      {"Users.create", "an account for each user, with the same password (R5)", true},
  };
  return kTable[static_cast<int>(c)];
}

std::string fill_in(std::string_view message, const json::value* parameters) {
  const json::array* list = nullptr;
  if (parameters != nullptr && parameters->is_object())
    if (const auto* p = parameters->as_object().if_contains("positionalParameters"); p != nullptr && p->is_array())
      list = &p->as_array();
  std::string out;
  for (std::size_t i = 0; i < message.size(); ++i) {
    const bool place = message[i] == '%' && i + 1 < message.size() && message[i + 1] >= '1' && message[i + 1] <= '9';
    const auto n = place ? static_cast<std::size_t>(message[i + 1] - '1') : 0;
    if (!place || list == nullptr || n >= list->size() || !(*list)[n].is_string()) {
      out += message[i];
      continue;
    }
    out += std::string_view((*list)[n].as_string());
    ++i;
  }
  return base::printable(out);
}

ApiClient::ApiClient(imap::Dialer& dialer, base::Clock& clock, Settings settings)
    : dialer_(dialer), clock_(clock), settings_(std::move(settings)) {}

std::string ApiClient::where() const {
  return fmt::format("the administration of {}:{}", settings_.endpoint.host, settings_.endpoint.port);
}

asio::awaitable<std::unique_ptr<ApiClient>> ApiClient::open(imap::Dialer& dialer, base::Clock& clock,
                                                            Settings settings) {
  std::unique_ptr<ApiClient> client(new ApiClient(dialer, clock, std::move(settings)));
  co_await client->log_in();
  co_return client;
}

// One POST. Throws Failed with Remedy::reconnect when the connection failed before or during the reply.
asio::awaitable<ApiClient::Reply> ApiClient::post(std::string body) {
  http::request<http::string_body> request(http::verb::post, "/admin/api/jsonrpc/", 11);
  request.set(http::field::host, fmt::format("{}:{}", settings_.endpoint.host, settings_.endpoint.port));
  request.set(http::field::accept, "application/json-rpc");
  request.set(http::field::content_type, "application/json-rpc; charset=UTF-8");
  request.set(http::field::user_agent, "4d2kms");
  if (!token_.empty()) request.set("X-Token", token_);
  std::string cookies;
  for (const auto& [name, value] : cookies_) cookies += (cookies.empty() ? "" : "; ") + name + "=" + value;
  if (!cookies.empty()) request.set(http::field::cookie, cookies);
  request.body() = std::move(body);
  request.prepare_payload();
  std::ostringstream head;
  head << request.base();
  const std::string header = head.str();

  std::optional<base::Error> lost;
  Reply reply;
  try {
    if (!transport_) {
      transport_ = co_await dialer_.dial(settings_.endpoint);
      unread_.clear();
    }
    std::vector<std::string_view> pieces;
    pieces.emplace_back(header);
    pieces.emplace_back(request.body());
    co_await transport_->write_all(std::move(pieces));
    http::response_parser<http::string_body> parser;
    parser.body_limit(kLargestReply);
    parser.eager(true);
    std::vector<char> inbox(64 * 1024);
    const auto began = clock_.now();
    while (!parser.is_done()) {
      // Silence is the transport's matter; a reply that trickles for ever is ended here.
      if (clock_.now() - began > settings_.endpoint.silence)
        throw base::Failed(
            {Scope::run, Remedy::reconnect,
             fmt::format("The reply of {} did not end within {} s.", where(), settings_.endpoint.silence.count())});
      boost::system::error_code ec;
      if (unread_.empty()) {
        try {
          const auto n = co_await transport_->read_some(asio::buffer(inbox));
          unread_.assign(inbox.data(), n);
        } catch (const base::Failed&) {
          // A body without a length ends with the connection (RFC 9112 §6.3); one that was cut short is no JSON.
          if (!parser.need_eof()) throw;
          parser.put_eof(ec);
          break;
        }
      }
      const auto used = parser.put(asio::buffer(unread_), ec);
      unread_.erase(0, used);
      if (ec == http::error::need_more) {
        const auto n = co_await transport_->read_some(asio::buffer(inbox));
        unread_.append(inbox.data(), n);
        if (unread_.size() > 1024 * 1024) ec = http::error::header_limit;
        else ec = {};
      }
      if (ec)
        throw base::Failed(
            {Scope::run, Remedy::reconnect,
             fmt::format("{} did not answer in HTTP ({}). Check --target-api-port.", where(), ec.message())});
    }
    const auto& m = parser.get();
    reply.status = m.result_int();
    reply.location = std::string(m[http::field::location]);
    for (const auto& f : m)
      if (f.name() == http::field::set_cookie) {
        const auto pair = f.value().substr(0, f.value().find(';'));
        const auto equals = pair.find('=');
        if (equals != std::string_view::npos)
          cookies_[std::string(base::trim(pair.substr(0, equals)))] = std::string(base::trim(pair.substr(equals + 1)));
      }
    const bool stays = m.keep_alive();
    reply.body = std::move(parser.get().body());
    if (!stays) transport_.reset();
  } catch (const base::Failed& f) {
    lost = f.error;
  }
  if (lost) {
    transport_.reset();
    throw base::Failed(*lost);
  }
  co_return reply;
}

asio::awaitable<ApiResult<json::object>> ApiClient::once(Call c, const json::object& params) {
  json::object envelope;
  envelope["jsonrpc"] = "2.0";
  const auto id = next_id_++;
  envelope["id"] = id;
  envelope["method"] = describe(c).method;
  if (!params.empty()) envelope["params"] = params;
  if (!token_.empty()) envelope["token"] = token_;
  std::optional<base::Error> lost;
  Reply reply;
  try {
    reply = co_await post(json::serialize(envelope));
  } catch (const base::Failed& f) {
    lost = f.error;
  }
  if (lost) {
    // A certificate or a closed door is no lost reply: nothing was sent.
    if (lost->remedy != Remedy::reconnect) throw base::Failed(*lost);
    co_return tl::unexpected(ApiError{ApiError::unknown, 0, lost->text});
  }
  if (reply.status == kTooLarge)
    co_return tl::unexpected(ApiError{ApiError::too_large, kTooLarge, "HTTP 413: the request is too large"});
  if (reply.status >= 300 && reply.status < 400)
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("{} wants to send us elsewhere (HTTP {} to \"{}\"). Nothing is sent there: a password "
                     "could go astray. Check --target-host and --target-api-port.",
                     where(), reply.status, base::printable(reply.location.substr(0, 200)))});
  if (reply.status >= 400 && reply.status < 500)
    throw base::Failed({Scope::run, Remedy::ask_admin,
                        fmt::format("{} answers HTTP {} to {}: this is not the port of Kerio Connect's administration, "
                                    "or remote administration is not allowed from here. Check --target-api-port.",
                                    where(), reply.status, describe(c).method)});
  if (reply.status != 200)
    co_return tl::unexpected(ApiError{ApiError::unknown, reply.status, fmt::format("HTTP {}", reply.status)});
  boost::system::error_code ec;
  const auto value = json::parse(reply.body, ec);
  if (ec || !value.is_object()) co_return tl::unexpected(ApiError{ApiError::unknown, 0, "the answer is no JSON"});
  const auto& o = value.as_object();
  if (const auto* error = o.if_contains("error"); error != nullptr && error->is_object()) {
    const auto& e = error->as_object();
    ApiError out;
    const auto* code = e.if_contains("code");
    if (code != nullptr && code->is_number()) out.code = code->to_number<int>(ec);
    const auto* message = e.if_contains("message");
    const json::value* parameters = nullptr;
    if (const auto* data = e.if_contains("data"); data != nullptr && data->is_object())
      parameters = data->as_object().if_contains("messageParameters");
    if (message != nullptr && message->is_string())
      out.text = fill_in(std::string_view(message->as_string()), parameters);
    out.text = fmt::format("{} (error {})", out.text.empty() ? "no reason given" : out.text, out.code);
    out.kind = out.code == kTooLarge  ? ApiError::too_large
               : out.code == kTimeout ? ApiError::unknown
                                      : ApiError::refused;
    co_return tl::unexpected(std::move(out));
  }
  const auto* answered = o.if_contains("id");
  if (answered == nullptr || !answered->is_number() || answered->to_number<std::int64_t>(ec) != id) {
    transport_.reset();  // out of step: somebody else's answer
    co_return tl::unexpected(ApiError{ApiError::unknown, 0, "the answer belongs to another question"});
  }
  const auto* result = o.if_contains("result");
  if (result == nullptr) co_return tl::unexpected(ApiError{ApiError::unknown, 0, "the answer has no result"});
  if (!result->is_object()) co_return json::object{};
  co_return result->as_object();
}

asio::awaitable<void> ApiClient::log_in() {
  token_.clear();
  cookies_.clear();
  json::object params, application;
  application["name"] = "4d2kms";
  application["vendor"] = "4d2kms";
  application["version"] = "1";
  params["userName"] = settings_.user;
  params["password"] = text_of(settings_.password.reveal());
  params["application"] = std::move(application);
  if (settings_.trace) settings_.trace("Session.login");
  auto answer = co_await once(Call::session_login, params);
  for (int attempt = 1; !answer && answer.error().kind == ApiError::unknown && attempt < kTries; ++attempt) {
    co_await clock_.sleep(500ms * (1 << attempt));
    answer = co_await once(Call::session_login, params);
  }
  if (!answer) {
    const auto& e = answer.error();
    if (e.kind == ApiError::unknown)
      throw base::Failed({Scope::run, Remedy::retry_later, fmt::format("Could not log in to {}: {}", where(), e.text)});
    // Some servers repeat what they were given.
    const std::string words = base::masked(e.text, settings_.password.reveal());
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("Log-in as {} to {} was refused: server said {}. It is not tried again. Check "
                     "--target-user (some servers want the whole address, such as admin@example.com) and "
                     "the password, then run again.",
                     base::printable(settings_.user), where(), words),
         Exit::login_refused});
  }
  const auto* token = answer->if_contains("token");
  const auto plain = [](std::string_view s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  };
  if (token == nullptr || !token->is_string() || !plain(std::string_view(token->as_string())))
    throw base::Failed({Scope::run, Remedy::ask_admin,
                        fmt::format("{} took the log-in but gave no session token. Is it Kerio Connect?", where())});
  token_ = std::string(token->as_string());
}

asio::awaitable<ApiResult<json::object>> ApiClient::call(Call c, json::object params) {
  const auto& info = describe(c);
  if (info.writes && settings_.access == imap::Access::read_only)
    throw std::logic_error(std::string(info.method) + " on a read-only session");  // I8: our bug, never a server's
  if (settings_.trace) settings_.trace(info.method);
  bool logged_in_anew = false;
  for (int attempt = 1;; ++attempt) {
    auto answer = co_await once(c, params);
    if (answer) co_return answer;
    const auto& e = answer.error();
    if (e.kind == ApiError::refused && e.code == kSessionExpired && !logged_in_anew) {
      logged_in_anew = true;  // nothing was done: asked once more
      co_await log_in();
      continue;
    }
    // What only reads may be asked again; what writes is looked at by the caller first.
    if (e.kind != ApiError::unknown || info.writes || attempt >= kTries) co_return answer;
    co_await clock_.sleep(500ms * (1 << attempt));
  }
}

base::Failed ApiClient::failed(Call c, const ApiError& error) const {
  return base::Failed({Scope::run, error.kind == ApiError::unknown ? Remedy::retry_later : Remedy::ask_admin,
                       fmt::format("{} could not be asked for {} ({}): server said {}. Run again; what was done is on "
                                   "record.",
                                   where(), describe(c).purpose, describe(c).method, error.text)});
}

asio::awaitable<json::object> ApiClient::ask(Call c, json::object params) {
  auto answer = co_await call(c, std::move(params));
  if (!answer) throw failed(c, answer.error());
  co_return *std::move(answer);
}

asio::awaitable<json::array> ApiClient::list(Call c, std::vector<std::string> fields, std::string domain_id) {
  json::array out;
  boost::system::error_code ec;
  for (std::int64_t start = 0;;) {
    json::object query, params;
    json::array names;
    for (const auto& f : fields) names.emplace_back(text_of(f));
    json::object order;
    order["columnName"] = text_of(fields[1]);
    order["direction"] = "Asc";
    order["caseSensitive"] = false;
    json::array orders;
    orders.push_back(std::move(order));
    query["fields"] = std::move(names);
    query["conditions"] = json::array();
    query["combining"] = "And";
    query["start"] = start;
    query["limit"] = kPage;
    query["orderBy"] = std::move(orders);
    params["query"] = std::move(query);
    if (!domain_id.empty()) params["domainId"] = text_of(domain_id);
    const auto answer = co_await ask(c, std::move(params));
    const auto* rows = answer.if_contains("list");
    const auto* total = answer.if_contains("totalItems");
    if (rows == nullptr || !rows->is_array() || total == nullptr || !total->is_number())
      throw failed(c, {ApiError::refused, 0, "an answer without a list"});
    for (const auto& r : rows->as_array())
      if (r.is_object()) out.push_back(r);
    const auto got = static_cast<std::int64_t>(rows->as_array().size());
    start += got;
    const auto all = total->to_number<std::int64_t>(ec);
    if (ec || all < 0 || all > kMostRows) throw failed(c, {ApiError::refused, 0, "a list without a believable length"});
    if (start >= all) co_return out;
    // A list that ends early must not be taken for the whole: what is missing from it would be created anew.
    if (got == 0) throw failed(c, {ApiError::unknown, 0, fmt::format("only {} of {} rows", start, all)});
  }
}

asio::awaitable<void> ApiClient::logout() {
  if (token_.empty()) co_return;
  try {
    json::object none;
    (void)co_await once(Call::session_logout, none);
  } catch (const base::Failed&) {
    // It expires by itself.
  }
  transport_.reset();
}

}  // namespace load::kerio
