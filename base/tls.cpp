#include "base/tls.hpp"

#include <boost/asio/ip/address.hpp>

#include "base/text.hpp"

namespace base {

bool is_loopback(const std::string& host) {
  if (iequals(host, "localhost")) return true;
  boost::system::error_code ec;
  const auto address = boost::asio::ip::make_address(host, ec);
  return !ec && address.is_loopback();
}

}  // namespace base
