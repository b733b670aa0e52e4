// What we accept from a peer that is not trusted (S9, S10): everything else ends the session.
#pragma once

#include <cstddef>
#include <cstdint>

namespace imap {

struct Limits {
  std::size_t text = 256 * 1024;                      // octets of one response outside literals
  std::size_t literals = 64;                          // literals in one response
  std::size_t inline_literal = 1024 * 1024;           // a literal up to this is kept; a larger one leaves in chunks
  std::uint64_t literal = 4ull * 1024 * 1024 * 1024;  // a literal announced larger is refused
  int depth = 32;                                     // nested parentheses
};

// F18: a server may not hold us by merely showing that it lives. Counted while we wait for it, and never while it waits
// for us: within kPatience times Endpoint::silence a command must end, or a FETCH bring so many octets of what it asked
// for (at 300 s: 36 octets a second), or as many of ours must have left.
constexpr int kPatience = 6;
constexpr std::int64_t kProgress = 64 * 1024;

}  // namespace imap
