// Structured fan-out: every coroutine has an owner that waits for it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <exception>
#include <vector>

namespace base {

// Runs all of them on the caller's executor and waits for all. The first failure is rethrown when all have ended:
// nobody is cancelled, because half an APPEND on the wire is worse than a late answer (silence limits end a stuck one).
boost::asio::awaitable<void> run_all(std::vector<boost::asio::awaitable<void>> tasks);

// Runs both and waits for both; each keeps its own failure, null if it had none.
struct BothEnded {
  std::exception_ptr first, second;
};
boost::asio::awaitable<BothEnded> run_both(boost::asio::awaitable<void> first, boost::asio::awaitable<void> second);

}  // namespace base
