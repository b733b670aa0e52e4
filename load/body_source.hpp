// The one thing that load needs and the state store does not hold: message bodies. Declared here, implemented over
// extract by pipeline.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <vector>

#include "imap/client/reader.hpp"
#include "state/ledger.hpp"

namespace load {

// Loaders of several mailboxes use it at once: each call is one turn, and finds its mailbox open. A mailbox that cannot
// be opened, or is not the one inventoried (another UIDVALIDITY: then nothing of it may be read by UID), is thrown as
// base::Failed of Scope::mailbox.
class BodySource {
 public:
  virtual ~BodySource() = default;
  virtual boost::asio::awaitable<std::vector<imap::ReadMessage>> read(state::MailboxRow mailbox,
                                                                      std::vector<base::Uid> uids) = 0;
  // One body in a session of its own.
  virtual boost::asio::awaitable<imap::ReadMessage> read_afresh(state::MailboxRow mailbox, base::Uid uid) = 0;
  virtual boost::asio::awaitable<imap::ReadMessage> stream(state::MailboxRow mailbox, base::Uid uid,
                                                           imap::BodyReceiver& receiver) = 0;
  // Those of the UIDs that two complete lists of two sessions lack; an error where such lists cannot be had.
  virtual boost::asio::awaitable<base::Result<std::vector<base::Uid>>> confirm_absent(state::MailboxRow mailbox,
                                                                                      std::vector<base::Uid> uids) = 0;
};

}  // namespace load
