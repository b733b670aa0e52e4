// What a server can say, as types (RFC 3501 §7). Names stay as they were on the wire.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.hpp"
#include "base/result.hpp"
#include "imap/protocol/framer.hpp"

namespace imap {

enum class Status : std::uint8_t { ok, no, bad, bye, preauth };

// "[APPENDUID 38505 3955]": name in upper case, the rest as it was.
struct ResponseCode {
  std::string name;
  std::string arguments;
};

// RFC 5530, and THROTTLED of some large services: the server is busy, not unwilling (F24, F25).
inline constexpr const char* kBusyCodes[] = {"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "THROTTLED"};
bool is_busy_code(std::string_view code);

struct StatusLine {
  Status status = Status::ok;
  ResponseCode code;
  std::string text;
  // As the server wrote it, for messages: "NO [OVERQUOTA] Mailbox is full".
  std::string verbatim() const;
};
struct Tagged : StatusLine {
  std::string tag;
  bool ok() const { return status == Status::ok; }
};
struct Continuation {
  std::string text;
};
struct Capabilities {
  std::vector<std::string> names;  // upper case
  bool has(std::string_view name) const;
};
struct ListItem {
  bool lsub = false;
  std::vector<std::string> attributes;  // lower case, with the backslash
  std::optional<char> delimiter;        // nothing: NIL
  std::string name;
  bool has(std::string_view attribute) const;  // as they are written here
};
struct StatusItem {
  std::string name;
  std::optional<std::uint64_t> messages, uid_next, uid_validity, highest_modseq;
};
struct Flags {
  std::vector<std::string> names;
};
struct Exists {
  std::uint32_t count = 0;
};
struct Expunged {
  std::uint32_t sequence = 0;
};
enum class BodyKind : std::uint8_t { absent, nil, octets, streamed };
struct Fetched {
  std::optional<base::Uid> uid;
  std::optional<std::vector<std::string>> flags;
  std::optional<std::string> internal_date;
  std::optional<base::Octets> size;
  BodyKind body = BodyKind::absent;  // of BODY[]; a section or <origin> is another thing and stays absent
  std::string octets;
};
struct NamespaceEntry {
  std::string prefix;
  std::optional<char> delimiter;
};
struct Namespaces {
  std::vector<NamespaceEntry> personal, others, shared;
};
// Something we have no use for, or could not read: `why` is set then.
struct Other {
  std::string keyword;
  std::string why;
};
using Untagged =
    std::variant<StatusLine, Capabilities, ListItem, StatusItem, Flags, Exists, Expunged, Fetched, Namespaces, Other>;
using AnyResponse = std::variant<Tagged, Continuation, Untagged>;

// Never throws for what the peer sent; an untagged response that does not parse becomes Other with `why`. An error
// means that not even the kind could be told: the session must be dropped.
base::Result<AnyResponse> parse_response(Response response, const Limits& limits = {});
// The names in a capability list, wherever it stood.
Capabilities parse_capabilities(std::string_view text);

}  // namespace imap
