// Structured fan-out: every coroutine has an owner that waits for it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "base/wake.hpp"

namespace base {

// Runs all of them on the caller's executor and waits for all. The first failure is rethrown when all have ended:
// nobody is cancelled, because half an APPEND on the wire is worse than a late answer (silence limits end a stuck one).
boost::asio::awaitable<void> run_all(std::vector<boost::asio::awaitable<void>> tasks);

// Runs both and waits for both; each keeps its own failure, null if it had none.
struct BothEnded {
  std::exception_ptr first, second;
};
boost::asio::awaitable<BothEnded> run_both(boost::asio::awaitable<void> first, boost::asio::awaitable<void> second);
// The same; the failure of the first counts for more.
boost::asio::awaitable<void> both(boost::asio::awaitable<void> first, boost::asio::awaitable<void> second);
inline boost::asio::awaitable<void> nothing() { co_return; }

// So much of something for all together. First come, first served, so nobody waits for ever; one who wants more than
// there is gets it when nobody else has any.
class Budget {
 public:
  explicit Budget(std::uint64_t all) : all_(all) {}
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;
  class [[nodiscard]] Hold {
   public:
    Hold() = default;
    Hold(Budget& budget, std::uint64_t amount) : budget_(&budget), amount_(amount) {}
    Hold(Hold&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), amount_(other.amount_) {}
    Hold& operator=(Hold&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(amount_, other.amount_);
      return *this;
    }
    ~Hold() {
      if (budget_ != nullptr) budget_->give_back(amount_);
    }

   private:
    Budget* budget_ = nullptr;
    std::uint64_t amount_ = 0;
  };
  boost::asio::awaitable<Hold> take(std::uint64_t amount);
  std::uint64_t taken() const { return taken_; }

 private:
  void give_back(std::uint64_t amount);
  std::uint64_t all_, taken_ = 0;
  std::uint64_t next_ = 0, serving_ = 0;  // tickets
  Wake changed_;
};

// A thing that many may share or one may have alone; in the order they came.
class SharedLock {
 public:
  using Hold = Budget::Hold;
  boost::asio::awaitable<Hold> share();
  boost::asio::awaitable<Hold> alone();

 private:
  static constexpr std::uint64_t kAll = UINT32_MAX;
  Budget all_{kAll};
};

}  // namespace base
