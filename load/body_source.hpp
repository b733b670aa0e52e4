// The one thing that load needs and the state store does not hold: message bodies. Declared here, implemented over
// extract by pipeline.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <vector>

#include "imap/client/reader.hpp"
#include "state/ledger.hpp"

namespace load {

class BodySource {
 public:
  virtual ~BodySource() = default;
  // Opens the mailbox for reading. An error of Scope::mailbox if it cannot be opened or is not the one inventoried
  // (another UIDVALIDITY): then nothing of it may be read by UID.
  virtual boost::asio::awaitable<base::Result<void>> open(state::MailboxRow mailbox) = 0;
  // Of the open mailbox; the rows are those of its present UIDVALIDITY.
  virtual boost::asio::awaitable<std::vector<imap::ReadMessage>> read(std::vector<base::Uid> uids) = 0;
  // One body in a session of its own.
  virtual boost::asio::awaitable<imap::ReadMessage> read_afresh(base::Uid uid) = 0;
  virtual boost::asio::awaitable<imap::ReadMessage> stream(base::Uid uid, imap::BodyReceiver& receiver) = 0;
  // Those of the UIDs that two complete lists of two sessions lack; an error where such lists cannot be had.
  virtual boost::asio::awaitable<base::Result<std::vector<base::Uid>>> confirm_absent(std::vector<base::Uid> uids) = 0;
};

}  // namespace load
