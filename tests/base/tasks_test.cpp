#include "base/tasks.hpp"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <string>

namespace base {
namespace {

namespace asio = boost::asio;

// Who holds it, in the order of events: "a+" has got it, "a-" gives it back when told.
struct Scene {
  SharedLock lock;
  Wake go;
  std::string story, leave;

  asio::awaitable<void> take(char who, bool alone) {
    SharedLock::Hold hold;
    if (alone) hold = co_await lock.alone();
    else hold = co_await lock.share();
    story += {who, '+'};
    while (leave.find(who) == std::string::npos) co_await go.wait();
    story += {who, '-'};
  }
};

TEST(SharedLock, ManyShareAndOneHasItAloneInTheOrderTheyCame) {
  asio::io_context io;
  Scene s;
  const auto add = [&](char who, bool alone) { asio::co_spawn(io, s.take(who, alone), asio::detached); };
  const auto let = [&](const char* who) {
    s.leave = who;
    s.go.notify();
    io.poll();
    io.restart();
    return std::exchange(s.story, {});
  };
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

// Who has got some, in the order of events.
struct Till {
  Budget budget{10};
  Wake go;
  std::string story, leave;
  asio::awaitable<void> take(char who, std::uint64_t amount) {
    const auto hold = co_await budget.take(amount);
    story += {who, '+'};
    while (leave.find(who) == std::string::npos) co_await go.wait();
    story += {who, '-'};
  }
};

TEST(Budget, FirstComeFirstServedAndTheLargestGetsItsTurnAlone) {
  asio::io_context io;
  Till t;
  const auto add = [&](char who, std::uint64_t amount) { asio::co_spawn(io, t.take(who, amount), asio::detached); };
  const auto let = [&](const char* who) {
    t.leave = who;
    t.go.notify();
    io.poll();
    io.restart();
    return std::exchange(t.story, {});
  };
  add('a', 6);
  add('b', 4);
  add('C', 25);
  add('d', 1);
  EXPECT_EQ(let(""), "a+b+");
  EXPECT_EQ(let("a"), "a-") << "d must not pass C, or C might wait for ever";
  EXPECT_EQ(let("b"), "b-C+");
  EXPECT_EQ(let("C"), "C-d+");
  EXPECT_EQ(let("d"), "d-");
  EXPECT_EQ(t.budget.taken(), 0u);
}

}  // namespace
}  // namespace base
