// The only place where octets for a server are put together (S19): typed parts, quoting and literals chosen by content,
// no concatenation of names into text anywhere else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace imap {

enum class Verb : std::uint8_t {
  capability,
  starttls,
  login,
  authenticate_plain,
  x_masterauth,  // Kerio Connect: log-in as any user with the server's master password
  x_setuser,
  noop,
  logout,
  namespaces,
  list,
  lsub,
  status,
  examine,
  uid_fetch,
  // From here on commands change something on the server, if only what it remembers of the session.
  select,
  create,
  subscribe,
  append,
  uid_store,
  uid_expunge,
};

// What a source session and a dry run may send (I7, I8); the engine refuses the rest.
constexpr bool reads_only(Verb v) { return v < Verb::select; }
// Answered with "+ challenge" before it is answered for good.
constexpr bool is_challenged(Verb v) { return v == Verb::authenticate_plain || v == Verb::x_masterauth; }

class Command {
 public:
  explicit Command(Verb verb);

  // Fixed words and numbers of ours.
  Command& word(std::string_view text);
  // Any text; quoted, or a literal where quoting cannot carry it. Throws Failed for NUL, CR or LF: they could only be
  // meant to smuggle a second command.
  Command& string(std::string_view text);
  // A parenthesised list of flags as they are: each must be a flag (is_flag).
  Command& flags(const std::vector<std::string>& names);
  // A literal of exactly these octets, which must stay alive until the command is answered (S20: the length is theirs).
  Command& body(std::string_view octets);
  // A synchronising literal whose octets the caller sends itself, once the server has said "+"; always the last part.
  Command& streamed_body(std::uint64_t octets);

  Verb verb() const { return verb_; }
  // For logs: no secret, no body.
  std::string trace() const;

 private:
  friend class Engine;
  struct Part {
    std::string text;  // sent as it is
    std::string own;   // a literal's octets, unless borrowed
    std::string_view borrowed;
    bool literal = false;
    bool streamed = false;
    std::uint64_t size = 0;
    std::string_view octets() const { return own.empty() ? borrowed : std::string_view(own); }
  };
  Part& last() { return parts_.back(); }
  Verb verb_;
  std::vector<Part> parts_;
};

// RFC 3501 §9: a system flag "\Seen" or a keyword that is an atom.
bool is_flag(std::string_view name);

}  // namespace imap
