#include "base/tasks.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <string>

namespace base {
namespace {

namespace asio = boost::asio;

// Who holds something, in the order of events: "a+" has got it, "a-" gives it back when told.
struct Scene {
  asio::io_context io;
  Wake go;
  std::string story, leave;

  asio::awaitable<void> hold(char who, asio::awaitable<Budget::Hold> taking) {
    const auto hold = co_await std::move(taking);
    story += {who, '+'};
    while (leave.find(who) == std::string::npos) co_await go.wait();
    story += {who, '-'};
  }
  void add(char who, asio::awaitable<Budget::Hold> taking) {
    asio::co_spawn(io, hold(who, std::move(taking)), asio::detached);
  }
  std::string let(const char* who) {
    leave = who;
    go.notify();
    io.poll();
    io.restart();
    return std::exchange(story, {});
  }
};

TEST(SharedLock, ManyShareAndOneHasItAloneInTheOrderTheyCame) {
  SharedLock lock;
  Scene s;
  const auto add = [&](char who, bool alone) { s.add(who, alone ? lock.alone() : lock.share()); };
  const auto let = [&](const char* who) { return s.let(who); };
  add('a', false);
  add('b', false);
  add('C', true);
  add('d', false);
  EXPECT_EQ(let(""), "a+b+") << "those behind one who wants it alone wait for their turn";
  EXPECT_EQ(let("a"), "a-");
  EXPECT_EQ(let("b"), "b-C+");
  add('e', false);
  EXPECT_EQ(let(""), "");
  EXPECT_EQ(let("C"), "C-d+e+");
  EXPECT_EQ(let("de"), "d-e-");
}

TEST(Budget, FirstComeFirstServedAndTheLargestGetsItsTurnAlone) {
  Budget budget(10);
  Scene s;
  const auto add = [&](char who, std::uint64_t amount) { s.add(who, budget.take(amount)); };
  const auto let = [&](const char* who) { return s.let(who); };
  add('a', 6);
  add('b', 4);
  add('C', 25);
  add('d', 1);
  EXPECT_EQ(let(""), "a+b+");
  EXPECT_EQ(let("a"), "a-") << "d must not pass C, or C might wait for ever";
  EXPECT_EQ(let("b"), "b-C+");
  EXPECT_EQ(let("C"), "C-d+");
  EXPECT_EQ(let("d"), "d-");
  EXPECT_EQ(budget.taken(), 0u);
}

}  // namespace
}  // namespace base
