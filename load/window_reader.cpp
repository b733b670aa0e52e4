#include "load/window_reader.hpp"

namespace load {

namespace asio = boost::asio;
using base::Uid;
using state::Db;

asio::awaitable<void> WindowReader::next(Window* window) {
  if (failed_) std::rethrow_exception(std::exchange(failed_, nullptr));
  if (ahead_) {
    *window = std::move(*ahead_);
    ahead_.reset();
  } else {
    co_await read(window);
  }
}

asio::awaitable<void> WindowReader::read_ahead() {
  Window window;
  try {
    co_await read(&window);
  } catch (...) {
    failed_ = std::current_exception();
  }
  if (!window.rows.empty() && !failed_) ahead_ = std::move(window);
}

asio::awaitable<void> WindowReader::read(Window* window) {
  *window = Window{};
  if (from_.stopping() || all_read_) co_return;
  const std::size_t most = from_.size.messages();
  auto query = [id = mailbox_.id, validity = mailbox_.uid_validity, after = after_, most](Db& db) {
    return state::listed(db, id, validity, after, static_cast<int>(most));
  };
  auto next = co_await from_.store.run(std::move(query));
  base::Octets octets = 0;
  std::vector<Uid> uids;
  for (auto& r : next) {
    const bool large = r.size > imap::Limits{}.inline_literal;
    if (!window->rows.empty() && (large || octets + r.size > WindowSize::kOctets)) break;
    octets += r.size;
    after_ = r.uid;
    uids.push_back(r.uid);
    window->rows.push_back(std::move(r));
    if (large) co_return;  // alone, and streamed when its turn comes
  }
  all_read_ = uids.size() == next.size() && next.size() < most;
  if (uids.empty()) co_return;
  window->hold = co_await from_.in_flight.take(octets);
  window->bodies = co_await from_.source.read(mailbox_, std::move(uids));
}

}  // namespace load
