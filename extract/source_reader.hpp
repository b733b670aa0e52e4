// Reads message bodies from the source by UID, and never by anything else: EXAMINE, BODY.PEEK, UIDVALIDITY checked.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "imap/client/reader.hpp"
#include "state/ledger.hpp"

namespace extract {

class SourceReader {
 public:
  using OpenSession = std::function<boost::asio::awaitable<std::unique_ptr<imap::Session>>()>;
  // `open_session`: a second one, where one list is not proof enough.
  SourceReader(imap::Session& session, OpenSession open_session)
      : session_(session), open_session_(std::move(open_session)) {}

  boost::asio::awaitable<base::Result<void>> open(state::MailboxRow mailbox);
  // open() and read(), in one round trip where the server takes commands without waiting for each answer.
  boost::asio::awaitable<base::Result<std::vector<imap::ReadMessage>>> open_and_read(state::MailboxRow mailbox,
                                                                                     std::vector<base::Uid> uids);
  bool is_open(const state::MailboxRow& mailbox) const {
    return mailbox_.id == mailbox.id && mailbox_.uid_validity == mailbox.uid_validity &&
           session_.open_mailbox() == mailbox.wire;
  }
  boost::asio::awaitable<std::vector<imap::ReadMessage>> read(std::vector<base::Uid> uids);
  boost::asio::awaitable<imap::ReadMessage> stream(base::Uid uid, imap::BodyReceiver& receiver);
  boost::asio::awaitable<base::Result<std::vector<base::Uid>>> confirm_absent(std::vector<base::Uid> uids);
  // One body in a session of its own: what one session refuses may be the session's fault.
  boost::asio::awaitable<imap::ReadMessage> read_afresh(base::Uid uid);

 private:
  // All UIDs there are; an error unless the list is complete and of the right UIDVALIDITY.
  boost::asio::awaitable<base::Result<std::vector<base::Uid>>> list(imap::Session& session);
  // A UID means nothing outside its mailbox: throws if the session stands in another one.
  void expect_open() const;
  base::Result<void> is_as_inventoried(const base::Result<imap::Opened>& opened) const;
  imap::Session& session_;
  OpenSession open_session_;
  state::MailboxRow mailbox_;
};

}  // namespace extract
