// Mailbox names: modified UTF-7 on the wire (RFC 3501 §5.1.3), UTF-8 with us.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace imap {

std::string to_mutf7(std::string_view utf8);
// Nothing if the octets are not well-formed modified UTF-7: such a name is kept raw and reported.
std::optional<std::string> from_mutf7(std::string_view wire);

}  // namespace imap
