#include "base/tasks.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace base {

namespace asio = boost::asio;

asio::awaitable<BothEnded> run_both(asio::awaitable<void> first, asio::awaitable<void> second) {
  auto ex = co_await asio::this_coro::executor;
  auto [order, a, b] =
      co_await asio::experimental::make_parallel_group(asio::co_spawn(ex, std::move(first), asio::deferred),
                                                       asio::co_spawn(ex, std::move(second), asio::deferred))
          .async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
  co_return BothEnded{a, b};
}

asio::awaitable<void> both(asio::awaitable<void> first, asio::awaitable<void> second) {
  const auto ended = co_await run_both(std::move(first), std::move(second));
  if (ended.first) std::rethrow_exception(ended.first);
  if (ended.second) std::rethrow_exception(ended.second);
}

asio::awaitable<void> run_all(std::vector<asio::awaitable<void>> tasks) {
  if (tasks.empty()) co_return;
  auto ex = co_await asio::this_coro::executor;
  using Op = decltype(asio::co_spawn(ex, std::move(tasks.front()), asio::deferred));
  std::vector<Op> ops;
  ops.reserve(tasks.size());
  for (auto& t : tasks) ops.push_back(asio::co_spawn(ex, std::move(t), asio::deferred));
  auto [order, failures] = co_await asio::experimental::make_parallel_group(std::move(ops))
                               .async_wait(asio::experimental::wait_for_all(), asio::use_awaitable);
  for (const auto i : order)
    if (failures[i]) std::rethrow_exception(failures[i]);
}

asio::awaitable<Budget::Hold> Budget::take(std::uint64_t amount) {
  const auto mine = next_++;
  while (mine != serving_ || (taken_ > 0 && taken_ + amount > all_)) co_await changed_.wait();
  ++serving_;
  taken_ += amount;
  changed_.notify();  // there may be enough for the next
  co_return Hold(*this, amount);
}

void Budget::give_back(std::uint64_t amount) {
  taken_ -= amount;
  changed_.notify();
}

asio::awaitable<SharedLock::Hold> SharedLock::share() { return all_.take(1); }
asio::awaitable<SharedLock::Hold> SharedLock::alone() { return all_.take(kAll); }

}  // namespace base
