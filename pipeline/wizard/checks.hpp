// Do the servers answer, with the certificate and the password that were given? Nothing is written on either.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "imap/client/transport.hpp"
#include "pipeline/settings.hpp"

namespace pipeline::wizard {

struct Check {
  std::string failed;  // empty: it is as it should be
  std::string
      certificate;       // not empty: that of `where` is not known, or not the one that was; a person must look at it
  bool changed = false;  // another one was trusted before
  std::string where;     // HOST:PORT
  std::string found;     // what answered: "Kerio Connect 10.0.8"
  bool log_in_refused = false;
};

boost::asio::awaitable<Check> check_source(Settings settings, imap::Dialer& dialer);
// A target that we administer: log-in of the administrator, once, and its IMAP service; else the IMAP service alone.
boost::asio::awaitable<Check> check_target(Settings settings, imap::Dialer& dialer, base::Clock& clock);

}  // namespace pipeline::wizard
