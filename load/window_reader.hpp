// The pending messages of one mailbox on their way to the target: rows of the ledger and their bodies, a window at a
// time, in the order of their UIDs. Needs the source and the store only, so it may begin before the target is ready.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <exception>
#include <functional>
#include <optional>
#include <vector>

#include "base/tasks.hpp"
#include "load/body_source.hpp"
#include "load/window_size.hpp"
#include "state/store.hpp"

namespace load {

struct Window {
  std::vector<state::MessageRow> rows;
  std::vector<imap::ReadMessage> bodies;  // none: one large message, which is streamed
  base::Budget::Hold hold;
};

class WindowReader {
 public:
  struct From {
    state::Store& store;
    BodySource& source;
    const WindowSize& size;
    base::Budget& in_flight;  // octets that have been read and not been answered for
    std::function<bool()> stopping;
  };
  WindowReader(From from, state::MailboxRow mailbox) : from_(std::move(from)), mailbox_(std::move(mailbox)) {}

  // The next messages that are listed, each once; no rows: there are none, or we are asked to stop. Fails as BodySource
  // does.
  boost::asio::awaitable<void> next(Window* window);
  // Reads what the first next() will give. That is also where a failure is thrown.
  boost::asio::awaitable<void> read_ahead();

 private:
  boost::asio::awaitable<void> read(Window* window);

  From from_;
  state::MailboxRow mailbox_;
  base::Uid after_;
  bool all_read_ = false;  // nothing is listed beyond after_
  std::optional<Window> ahead_;
  std::exception_ptr failed_;
};

}  // namespace load
