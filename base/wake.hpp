// Coroutines of one event loop that wait until something has become different; no clock is involved.
//
//   while (running >= limit) co_await wake.wait();      // elsewhere: limit = 8; wake.notify();
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <vector>

namespace base {

class Wake {
 public:
  // Until the next notify(); the caller looks again whether it is what it waits for.
  boost::asio::awaitable<void> wait();
  void notify();

 private:
  std::vector<std::shared_ptr<boost::asio::steady_timer>> waiting_;
};

}  // namespace base
