#include "base/wake.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace base {

namespace asio = boost::asio;

asio::awaitable<void> Wake::wait() {
  const auto executor = co_await asio::this_coro::executor;
  auto timer = std::make_shared<asio::steady_timer>(executor, asio::steady_timer::time_point::max());
  waiting_.push_back(timer);
  boost::system::error_code cancelled;
  co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
}

void Wake::notify() {
  for (auto& timer : std::exchange(waiting_, {})) timer->cancel();
}

}  // namespace base
