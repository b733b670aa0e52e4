// What may hold a window back before it leaves: hours in which nothing is sent, a limit of octets a second.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "base/ids.hpp"

namespace load {

class Gate {
 public:
  virtual ~Gate() = default;
  // Lets so many octets through now, or not; never waits.
  virtual bool try_pass(base::Octets octets) = 0;
  // Waits until they are let through; false: asked to stop meanwhile, and nothing must leave.
  virtual boost::asio::awaitable<bool> wait(base::Octets octets) = 0;
  // More octets of a message that has begun already: only the limit holds them back.
  virtual boost::asio::awaitable<void> more(base::Octets octets) = 0;
};

}  // namespace load
