// Time as an argument: no code below pipeline reads a clock or sleeps on its own, so that every schedule is
// reproducible.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>

namespace base {

class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic, since some fixed point.
  virtual std::chrono::milliseconds now() = 0;
  // Seconds since 1970-01-01 UTC.
  virtual std::int64_t unix_seconds() = 0;
  virtual boost::asio::awaitable<void> sleep(std::chrono::milliseconds d) = 0;
};

class SystemClock final : public Clock {
 public:
  std::chrono::milliseconds now() override;
  std::int64_t unix_seconds() override;
  boost::asio::awaitable<void> sleep(std::chrono::milliseconds d) override;
};

}  // namespace base
