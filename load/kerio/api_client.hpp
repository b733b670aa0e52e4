// Kerio Connect's Administration API: JSON-RPC 2.0 over HTTPS, one call at a time.
//
//   auto api = co_await ApiClient::open(dialer, settings);          // connects, checks the certificate, logs in
//   auto answer = co_await api->call(Call::domains_get, params);    // its "result", or why there is none
//
// Guarantees: a read-only client refuses every call that could change something; a reading call whose reply was lost is
// repeated, a changing one never: its outcome is `unknown`, and the caller looks before it repeats. An expired session
// (-32001) is opened anew once. Redirects are not followed. What ends the run is thrown as base::Failed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "base/secret.hpp"
#include "imap/client/transport.hpp"
#include "imap/protocol/engine.hpp"

namespace load::kerio {

// Every call this program can make, with what it is for: describe().
enum class Call : std::uint8_t {
  session_login,
  session_logout,
  server_get_version,
  server_get_product_info,
  services_get,
  security_policy_get,
  advanced_options_get,
  statistics_get,
  server_get_about_info,
  server_get_connections,
  domains_get,
  users_get,
  server_find_entity_by_email,
  aliases_check,
  domains_generate_password,
  // From here on calls change something on the server.
  domains_create,
  domains_set,
  users_create,
};
struct CallInfo {
  const char* method;
  const char* purpose;
  bool writes;
};
const CallInfo& describe(Call c);
inline constexpr int kCalls = static_cast<int>(Call::users_create) + 1;

struct ApiError {
  enum Kind : std::uint8_t {
    refused,    // the server said no; nothing was done
    too_large,  // 413: nothing was done, smaller pieces may pass
    unknown,    // the reply was lost: it may have been done
  } kind = refused;
  int code = 0;
  std::string text;  // the server's words, placeholders filled in
};
template <class T>
using ApiResult = tl::expected<T, ApiError>;

// "%1" ... of a message, filled in from {"positionalParameters": [...]}.
std::string fill_in(std::string_view message, const boost::json::value* parameters);

class ApiClient {
 public:
  struct Settings {
    base::Endpoint endpoint;
    std::string user;
    base::Secret password;
    imap::Access access = imap::Access::read_only;
    std::function<void(const std::string&)> trace;  // "Domains.create (3 items)"; never a parameter
  };
  // Throws base::Failed: cannot be reached, certificate, log-in refused (tried once).
  static boost::asio::awaitable<std::unique_ptr<ApiClient>> open(imap::Dialer& dialer, base::Clock& clock,
                                                                 Settings settings);

  boost::asio::awaitable<ApiResult<boost::json::object>> call(Call c, boost::json::object params);
  // Of a reading call: there must be an answer, or the run ends with a sentence.
  boost::asio::awaitable<boost::json::object> ask(Call c, boost::json::object params);
  // All rows of a "get" with the full query object, page by page.
  boost::asio::awaitable<boost::json::array> list(Call c, std::vector<std::string> fields, std::string domain_id);
  boost::asio::awaitable<void> logout();
  std::string where() const;

 private:
  ApiClient(imap::Dialer& dialer, base::Clock& clock, Settings settings);
  struct Reply {
    int status = 0;
    std::string body, location;
  };
  boost::asio::awaitable<void> log_in();
  boost::asio::awaitable<Reply> post(std::string body);
  boost::asio::awaitable<ApiResult<boost::json::object>> once(Call c, const boost::json::object& params);
  base::Failed failed(Call c, const ApiError& error) const;

  imap::Dialer& dialer_;
  base::Clock& clock_;
  Settings settings_;
  std::unique_ptr<imap::Transport> transport_;
  std::string unread_;  // what came behind the last reply
  std::map<std::string, std::string> cookies_;
  std::string token_;
  std::int64_t next_id_ = 1;
};

}  // namespace load::kerio
