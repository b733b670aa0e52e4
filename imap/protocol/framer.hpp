// Finds where a response ends - lines and literals - knowing no grammar, so that the content of a literal can never be
// read as a response. Octets in, frames out; any split of the octets gives the same frames.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "imap/protocol/limits.hpp"

namespace imap {

// One literal of a response (RFC 3501 §4.3). A streamed one left in chunks: `octets` is empty.
struct Literal {
  std::string octets;
  std::uint64_t size = 0;
  bool streamed = false;
};

// One whole response. In `text` a literal stands as "{n}\n" (no CR or LF can stand in text otherwise).
struct Response {
  std::string text;
  std::vector<Literal> literals;
};
// A literal larger than Limits::inline_literal begins; `text` is the response so far.
struct LargeLiteral {
  std::string text;
  std::uint64_t size = 0;
};
// Part of it; valid until the next feed().
struct LargeLiteralChunk {
  std::string_view octets;
};
using Frame = std::variant<Response, LargeLiteral, LargeLiteralChunk>;

class Framer {
 public:
  explicit Framer(const Limits& limits = {}) : limits_(limits) {}

  void feed(std::string_view octets);
  // The next frame, nothing if more octets are needed, or an error that ends the session.
  base::Result<std::optional<Frame>> next();
  // Octets that were fed and belong to no frame or literal yet.
  std::size_t unread() const { return in_.size() - at_; }
  // Octets were fed that no frame has used yet (must be false when STARTTLS switches, S2).
  bool holds_octets() const { return at_ < in_.size() || !now_.text.empty() || in_literal_; }

 private:
  base::Result<std::optional<Frame>> next_literal();

  Limits limits_;
  std::string in_;
  std::size_t at_ = 0;    // in_[at_...] is unread
  std::size_t scan_ = 0;  // no LF in in_[at_...scan_)
  Response now_;
  bool in_literal_ = false;
  std::uint64_t missing_ = 0;  // octets of the present literal still to come
};

}  // namespace imap
