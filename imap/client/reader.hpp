// Reads messages of the open mailbox: what they are (UID, size, INTERNALDATE, flags) and what is in them, in memory
// bounded by a window of octets, whatever their number and size.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fingerprint.hpp"
#include "base/ids.hpp"
#include "imap/client/session.hpp"

namespace imap {

struct Envelope {
  base::Uid uid;
  base::Octets size = 0;               // RFC822.SIZE: for planning only, servers lie (F43)
  std::optional<base::DateTime> date;  // nothing: none, or none that is a date
  std::vector<std::string> flags;
};

// Every message with a UID in [from, to), ascending, in pieces of at most `chunk`; the receiver may wait. Always a
// closed range (RFC 3501: "n:*" names the last message even if its UID is below n). An answer that is malformed, out of
// range, or names a UID twice ends the session: an incomplete list must never pass for a complete one. Returns how many
// there were.
using EnvelopeReceiver = std::function<boost::asio::awaitable<void>(std::vector<Envelope>)>;
boost::asio::awaitable<base::Result<std::uint64_t>> list_messages(Session& session, base::Uid from, base::Uid to,
                                                                  std::string_view items, std::size_t chunk,
                                                                  EnvelopeReceiver receive);
// All at once.
boost::asio::awaitable<base::Result<std::vector<Envelope>>> list_messages(
    Session& session, base::Uid from, base::Uid to, std::string_view items = "(UID FLAGS INTERNALDATE RFC822.SIZE)");

// Whole mailboxes, each opened and listed from its first message to its last; in one round trip where commands may be
// pipelined. `receive` and `done` are called between one mailbox's EXAMINE and the next one's, and may wait. `done`,
// with the number listed, is called only if all went well.
struct MailboxToList {
  std::string mailbox;
  std::function<boost::asio::awaitable<void>(const Opened&, std::vector<Envelope>)> receive;
  std::function<boost::asio::awaitable<void>(const Opened&, std::uint64_t)> done;
};
boost::asio::awaitable<void> list_mailboxes(Session& session, std::vector<MailboxToList> mailboxes, bool modseq,
                                            std::string_view items, std::size_t chunk);

enum class BodyFound : std::uint8_t {
  whole,      // tagged OK, and all octets of it
  vanished,   // OK, but nothing or NIL came for this UID: never an empty message (F42)
  empty,      // a literal of no octets
  too_large,  // larger than the reader was told to hold, alone or with the others; `print` is there all the same
  refused,    // NO or BAD, alone too
};
struct ReadMessage {
  Envelope envelope;  // flags and date as they came with the body
  BodyFound found = BodyFound::vanished;
  base::Fingerprint print;
  std::string octets;  // if asked for
  std::string words;   // the server's, where refused
};

enum class Keep : std::uint8_t { octets, fingerprint };
// Bodies of these UIDs (ascending), in the order asked, all in one FETCH; BODY.PEEK always. Size the request by
// windows().
boost::asio::awaitable<std::vector<ReadMessage>> read_messages(Session& session, std::vector<base::Uid> uids, Keep keep,
                                                               base::Fingerprinter::E1x e1x);
// The same in a mailbox that is opened for it, in the same round trip where commands may be pipelined.
struct ReadMailbox {
  base::Result<Opened> opened;
  std::vector<ReadMessage> messages;
};
boost::asio::awaitable<ReadMailbox> open_and_read(Session& session, std::string mailbox, std::vector<base::Uid> uids,
                                                  Keep keep, base::Fingerprinter::E1x e1x);

// Cuts a list into requests for fingerprints: large ones, as nothing of them is held and each costs a round trip.
std::vector<std::vector<base::Uid>> windows(const std::vector<Envelope>& messages);

// One body of any size in pieces. begin() gets the length announced; a false answer throws the rest away. The result is
// `whole` only if the FETCH was parsed through its ")", its tagged OK came, and as many octets as announced.
class BodyReceiver {
 public:
  virtual ~BodyReceiver() = default;
  virtual boost::asio::awaitable<bool> begin(base::Octets octets) = 0;
  virtual boost::asio::awaitable<void> chunk(std::string_view octets) = 0;
};
boost::asio::awaitable<ReadMessage> stream_message(Session& session, base::Uid uid, BodyReceiver& receiver,
                                                   base::Fingerprinter::E1x e1x);

}  // namespace imap
