// Who may ask the wizard anything: the person who started it, from a page of the wizard, and nobody else.
//
// Other users of the machine, and every page that the same browser shows, can reach a port on loopback (S27-S31). So a
// request passes only if it names this very server as its host, does not come from another site, and carries the
// session cookie, which is had once for the token of the launch link. What changes something must also be JSON, say
// that it comes from here, and carry the token that is in each page.
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.hpp"

namespace pipeline::wizard {

// As long as a and b are, it takes the same time wherever they differ.
bool equal_in_constant_time(std::string_view a, std::string_view b);
// 256 bits, as hexadecimal digits.
std::string random_token();

class Gate {
 public:
  Gate(std::uint16_t port, base::Clock& clock);

  // "http://127.0.0.1:PORT/launch?token=...": good once, within 60 s. The link before it is not good any more.
  std::string new_link();
  // True once for the token of the last link. After 10 wrong ones no link is good until a new one is made.
  bool launch(std::string_view token);
  // What the browser keeps then.
  std::string cookie() const;
  // The token in each page.
  const std::string& page_token() const { return page_token_; }

  using Header = boost::beast::http::request_header<boost::beast::http::fields>;
  struct Verdict {
    int status = 200;  // else why it is refused
    const char* why = "";
  };
  // Before anything else is looked at, the session included.
  Verdict address(const Header& header) const;
  bool has_session(const Header& header) const;
  // Of a POST, which may change something.
  Verdict change(const Header& header) const;

 private:
  std::uint16_t port_;
  base::Clock& clock_;
  std::string session_ = random_token(), page_token_ = random_token();
  std::string launch_;  // empty: used, or none
  std::chrono::milliseconds launch_until_{0};
  int wrong_ = 0;
};

}  // namespace pipeline::wizard
