// The only door to the network. TCP, STARTTLS and TLS implement it, and so do the doubles of the tests.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/tls.hpp"

namespace imap {

// Failures (end of stream, reset, silence for Endpoint::silence) are thrown as base::Failed with Scope::account,
// Remedy::reconnect. After any failure the transport is dead. Reading and writing may go on at the same time.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual boost::asio::awaitable<std::size_t> read_some(boost::asio::mutable_buffer into) = 0;
  virtual boost::asio::awaitable<void> write_all(std::vector<std::string_view> pieces) = 0;
  virtual boost::asio::awaitable<void> start_tls() = 0;
  virtual bool encrypted() const = 0;
  // At once, from any coroutine of the same executor: pending operations fail.
  virtual void close() = 0;
};

class Dialer {
 public:
  virtual ~Dialer() = default;
  // Connected, and inside TLS where endpoint.tls says so. Every address of the name is tried.
  virtual boost::asio::awaitable<std::unique_ptr<Transport>> dial(base::Endpoint endpoint) = 0;
};

// Throws, before anything is looked up or sent, where a connection beyond this machine would have no TLS and nobody
// allowed that.
void refuse_cleartext(const base::Endpoint& endpoint);

// The real one.
std::unique_ptr<Dialer> network_dialer();

}  // namespace imap
