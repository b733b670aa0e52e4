#include "extract/source_reader.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace extract {

namespace asio = boost::asio;
using base::Remedy;
using base::Scope;
using base::Uid;

// Nothing is believed of a mailbox that is not the one whose UIDs are in the ledger.
base::Result<void> SourceReader::is_as_inventoried(const base::Result<imap::Opened>& opened) const {
  const std::string name = base::printable(mailbox_.name);
  if (!opened)
    return base::fail(Scope::mailbox, Remedy::skip,
                      fmt::format("Could not open \"{}\" at the source ({}): {}. Its messages stay pending.", name,
                                  session_.who(), opened.error().text));
  if (opened->uid_validity != mailbox_.uid_validity)
    return base::fail(
        Scope::mailbox, Remedy::skip,
        fmt::format(
            "\"{}\" at the source ({}) is no longer the mailbox that was inventoried: its UIDVALIDITY is {}, not {}. "
            "Nothing was copied from it; run again to take a new inventory.",
            name, session_.who(), opened->uid_validity.value, mailbox_.uid_validity.value));
  return base::Result<void>{};
}

asio::awaitable<base::Result<void>> SourceReader::open(state::MailboxRow mailbox) {
  mailbox_ = std::move(mailbox);
  const auto opened = co_await session_.examine(mailbox_.wire);
  auto is = is_as_inventoried(opened);
  if (!is) mailbox_ = {};  // nobody reads on in another one
  co_return is;
}

asio::awaitable<base::Result<std::vector<imap::ReadMessage>>> SourceReader::open_and_read(state::MailboxRow mailbox,
                                                                                          std::vector<Uid> uids) {
  mailbox_ = std::move(mailbox);
  auto read = co_await imap::open_and_read(session_, mailbox_.wire, uids, imap::Keep::octets,
                                           base::Fingerprinter::E1x::if_8bit);
  // Refused, or opened without all that is needed: in single steps it may go, or tell why not.
  if (!read.opened) {
    auto opened = co_await open(mailbox_);
    if (!opened) co_return tl::unexpected(std::move(opened).error());
    co_return co_await this->read(std::move(uids));
  }
  if (auto is = is_as_inventoried(read.opened); !is) {
    mailbox_ = {};
    co_return tl::unexpected(std::move(is).error());
  }
  co_return std::move(read.messages);
}

void SourceReader::expect_open() const {
  if (session_.open_mailbox() != mailbox_.wire)
    throw base::Failed(
        {Scope::account, Remedy::reconnect,
         fmt::format("Internal error: {} stands in \"{}\", not in \"{}\". Nothing was read.", session_.who(),
                     base::printable(session_.open_mailbox()), base::printable(mailbox_.wire))});
}

asio::awaitable<imap::ReadMessage> SourceReader::read_afresh(Uid uid) {
  auto other = co_await open_session_();
  auto opened = co_await other->examine(mailbox_.wire);
  imap::ReadMessage m;
  m.envelope.uid = uid;
  m.found = imap::BodyFound::refused;
  m.words = "the mailbox could not be opened a second time";
  if (opened && opened->uid_validity == mailbox_.uid_validity) {
    auto read = co_await imap::read_messages(*other, std::vector<Uid>(1, uid), imap::Keep::octets,
                                             base::Fingerprinter::E1x::if_8bit);
    m = std::move(read.front());
  }
  co_await other->logout();
  co_return m;
}

asio::awaitable<std::vector<imap::ReadMessage>> SourceReader::read(std::vector<Uid> uids) {
  expect_open();
  co_return co_await imap::read_messages(session_, std::move(uids), imap::Keep::octets,
                                         base::Fingerprinter::E1x::if_8bit);
}

asio::awaitable<imap::ReadMessage> SourceReader::stream(Uid uid, imap::BodyReceiver& receiver) {
  expect_open();
  co_return co_await imap::stream_message(session_, uid, receiver, base::Fingerprinter::E1x::if_8bit);
}

asio::awaitable<base::Result<std::vector<Uid>>> SourceReader::list(imap::Session& session) {
  auto opened = co_await session.examine(mailbox_.wire);
  if (!opened) co_return tl::unexpected(std::move(opened).error());
  if (opened->uid_validity != mailbox_.uid_validity)
    co_return base::fail(Scope::mailbox, Remedy::skip, "another UIDVALIDITY");
  std::vector<Uid> uids;
  if (opened->exists > 0) {
    auto all = co_await imap::list_messages(session, Uid(1), opened->uid_next, "(UID)");
    if (!all) co_return tl::unexpected(std::move(all).error());
    for (const auto& e : *all) uids.push_back(e.uid);
  }
  if (uids.size() != opened->exists) co_return base::fail(Scope::mailbox, Remedy::skip, "an incomplete list");
  co_return uids;
}

asio::awaitable<base::Result<std::vector<Uid>>> SourceReader::confirm_absent(std::vector<Uid> uids) {
  auto first = co_await list(session_);
  if (!first) co_return tl::unexpected(std::move(first).error());
  auto other = co_await open_session_();
  auto second = co_await list(*other);
  co_await other->logout();
  if (!second) co_return tl::unexpected(std::move(second).error());
  std::vector<Uid> absent;
  for (const auto u : uids)
    if (!std::binary_search(first->begin(), first->end(), u) && !std::binary_search(second->begin(), second->end(), u))
      absent.push_back(u);
  co_return absent;
}

}  // namespace extract
