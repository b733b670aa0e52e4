// How much goes into one window of APPENDs. A window costs a sync here, a commit there and a round trip, so it takes as
// many messages as keep the target busy for a while; not more, because what a lost connection leaves in doubt is a
// window.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

#include "base/ids.hpp"

namespace load {

class WindowSize {
 public:
  static constexpr std::size_t kLeast = 8, kMost = 512;
  static constexpr base::Octets kOctets = 2 * 1024 * 1024;
  std::size_t messages() const { return messages_; }
  // A window of so many messages was answered after so long.
  void took(std::chrono::milliseconds time, std::size_t messages) {
    using namespace std::chrono_literals;
    if (messages < messages_) return;  // the end of a mailbox, or large ones: says nothing of a full window
    if (time < 500ms) messages_ = std::min(kMost, messages_ * 2);
    else if (time > 4s) messages_ = std::max(kLeast, messages_ / 2);
  }

 private:
  std::size_t messages_ = 64;
};

}  // namespace load
