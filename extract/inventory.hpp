// The inventory of one account over IMAP: its mailboxes, and of every message UID, size, INTERNALDATE and flags,
// written to the state store in pieces. Reads only (EXAMINE, STATUS, LIST, FETCH without bodies). A mailbox in which
// nothing has changed costs one STATUS.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <vector>

#include "imap/client/session.hpp"
#include "state/ledger.hpp"
#include "state/store.hpp"

namespace extract {

struct InventoryResult {
  std::uint64_t mailboxes = 0, messages_read = 0, unchanged = 0;
  std::vector<std::string> problems;  // of single mailboxes: "could not be opened: server said ..."
};

// `prefix`: set to that of the personal namespace ("INBOX." or empty). Throws base::Failed for what ends the session.
boost::asio::awaitable<InventoryResult> inventory(imap::Session& session, state::Store& store, state::AccountId account,
                                                  std::string& prefix);

// The mailboxes as LIST and LSUB show them, with those set aside that hold no messages of the user's own.
boost::asio::awaitable<std::vector<state::FoundMailbox>> find_mailboxes(imap::Session& session, std::string& prefix);

}  // namespace extract
