// What is chosen for a load, and what it counts.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/ids.hpp"

namespace load {

enum class DeletedPolicy : std::uint8_t { keep, unmark, skip };

struct LoadOptions {
  std::chrono::milliseconds settle{10000};
  DeletedPolicy deleted = DeletedPolicy::keep;
  // false: a target that moves what is marked \Deleted to another mailbox, where a removed copy would only turn up
  // again.
  bool remove_surplus = true;
};

struct LoadCounters {
  std::uint64_t appended = 0;  // messages sent and acknowledged
  base::Octets octets = 0;
  std::uint64_t settled = 0;  // messages that reached a final state in this run

  LoadCounters& operator+=(const LoadCounters& o) {
    appended += o.appended, octets += o.octets, settled += o.settled;
    return *this;
  }
};

}  // namespace load
