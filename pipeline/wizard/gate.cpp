#include "pipeline/wizard/gate.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <utility>

#include "base/result.hpp"
#include "base/text.hpp"

namespace pipeline::wizard {

namespace http = boost::beast::http;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::milliseconds kLinkIsGood = 60s;
constexpr int kMostWrongTokens = 10;

std::string_view text(const Gate::Header& header, std::string_view name) {
  const auto it = header.find(name);
  return it == header.end() ? std::string_view() : std::string_view(it->value());
}

}  // namespace

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_token() {
  unsigned char octets[32];
  if (RAND_bytes(octets, sizeof octets) != 1)
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin, "There are no random numbers on this machine."});
  return base::hex({reinterpret_cast<const char*>(octets), sizeof octets});
}

Gate::Gate(std::uint16_t port, base::Clock& clock) : port_(port), clock_(clock) {}

std::string Gate::new_link() {
  launch_ = random_token();
  launch_until_ = clock_.now() + kLinkIsGood;
  wrong_ = 0;
  return fmt::format("http://127.0.0.1:{}/launch?token={}", port_, launch_);
}

bool Gate::launch(std::string_view token) {
  const bool good = !launch_.empty() && clock_.now() < launch_until_ && equal_in_constant_time(token, launch_);
  if (good || ++wrong_ >= kMostWrongTokens) launch_.clear();
  return good;
}

// Cookies know no ports: another server on this machine would overwrite one of the same name.
std::string Gate::cookie() const {
  return fmt::format("4d2kms-{}={}; Path=/; HttpOnly; SameSite=Strict", port_, session_);
}

Gate::Verdict Gate::address(const Header& header) const {
  if (header.version() != 11) return {505, "HTTP/1.1 only"};
  const std::string_view target = header.target();
  if (!target.starts_with('/')) return {400, "the address must begin with a slash"};
  if (header.count("Host") != 1) return {403, "one Host header is needed"};
  // DNS rebinding (S27): a foreign name that leads to 127.0.0.1 is still a foreign name.
  const auto host = text(header, "Host");
  const auto port = fmt::format(":{}", port_);
  if (host != "127.0.0.1" + port && host != "localhost" + port && host != "[::1]" + port)
    return {403, "that is not the name of this server"};
  const auto site = text(header, "Sec-Fetch-Site");
  if (header.count("Sec-Fetch-Site") > 1 || (!site.empty() && site != "none" && site != "same-origin"))
    return {403, "another site asked for this"};
  return {};
}

bool Gate::has_session(const Header& header) const {
  const auto name = fmt::format("4d2kms-{}=", port_);
  for (const auto& part : base::split(text(header, "Cookie"), ';')) {
    const auto cookie = base::trim(part);
    if (cookie.starts_with(name) && equal_in_constant_time(cookie.substr(name.size()), session_)) return true;
  }
  return false;
}

Gate::Verdict Gate::change(const Header& header) const {
  if (header.count("Origin") != 1 || text(header, "Origin") != fmt::format("http://{}", text(header, "Host")))
    return {403, "that does not come from a page of this server"};
  if (header.count("Content-Type") != 1 || text(header, "Content-Type") != "application/json")
    return {415, "application/json only"};
  if (header.count("X-Page-Token") != 1 || !equal_in_constant_time(text(header, "X-Page-Token"), page_token_))
    return {403, "the token of the page is missing"};
  return {};
}

}  // namespace pipeline::wizard
