#include "imap/protocol/framer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace imap {
namespace {

using base::Remedy;
using base::Scope;

base::Error protocol_error(std::string text) { return {Scope::account, Remedy::reconnect, std::move(text)}; }

// Status responses and continuation requests end in free text (RFC 3501 §7.1, §7.5) that may look like "{5}".
bool ends_in_free_text(std::string_view line) {
  if (line.starts_with("+")) return true;
  const auto space = line.find(' ');
  if (space == std::string_view::npos) return false;
  const auto word = line.substr(space + 1, line.find(' ', space + 1) - space - 1);
  return base::iequals(word, "OK") || base::iequals(word, "NO") || base::iequals(word, "BAD") ||
         base::iequals(word, "BYE") || base::iequals(word, "PREAUTH");
}

// The size announced by "{n}" or "~{n}" (RFC 3516) at the end of a line; nothing if there is none.
std::optional<std::string_view> announced(std::string_view line) {
  if (!line.ends_with('}')) return std::nullopt;
  const auto open = line.rfind('{');
  if (open == std::string_view::npos || open + 2 > line.size() - 1) return std::nullopt;
  const auto digits = line.substr(open + 1, line.size() - open - 2);
  if (!std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  return digits;
}

}  // namespace

void Framer::feed(std::string_view octets) {
  if (at_ == in_.size()) {
    in_.clear();
    at_ = scan_ = 0;
  } else if (at_ > 64 * 1024 && at_ > in_.size() / 2) {
    in_.erase(0, at_);
    scan_ -= at_;
    at_ = 0;
  }
  in_ += octets;
}

base::Result<std::optional<Frame>> Framer::next_literal() {
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(missing_, in_.size() - at_));
  const std::string_view piece = std::string_view(in_).substr(at_, n);
  at_ += n;
  scan_ = at_;
  missing_ -= n;
  if (missing_ == 0) in_literal_ = false;
  if (now_.literals.back().streamed) {
    if (n == 0) return std::optional<Frame>{};
    return std::optional<Frame>(LargeLiteralChunk{piece});
  }
  now_.literals.back().octets += piece;  // grows with what came, never with what was announced (S9)
  return std::optional<Frame>{};
}

base::Result<std::optional<Frame>> Framer::next() {
  for (;;) {
    if (in_literal_) {
      auto frame = next_literal();
      if (!frame || *frame || in_literal_) return frame;
      continue;
    }
    const auto lf = in_.find('\n', scan_);
    if (lf == std::string::npos) {
      scan_ = in_.size();
      if (now_.text.size() + in_.size() - at_ > limits_.text)
        return tl::unexpected(
            protocol_error(fmt::format("The server sent a response line longer than {}. The connection is dropped.",
                                       base::human_octets(limits_.text))));
      return std::optional<Frame>{};
    }
    std::string_view line = std::string_view(in_).substr(at_, lf - at_);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (now_.text.size() + line.size() > limits_.text)
      return tl::unexpected(
          protocol_error("The server sent a response line that is too long. The connection is dropped."));
    at_ = scan_ = lf + 1;
    const bool first = now_.text.empty();
    const auto digits = first && ends_in_free_text(line) ? std::nullopt : announced(line);
    now_.text += line;
    if (!digits) {
      Response done = std::move(now_);
      now_ = {};
      return std::optional<Frame>(std::move(done));
    }
    std::uint64_t size = 0;
    for (const char c : *digits) {
      size = size * 10 + static_cast<std::uint64_t>(c - '0');
      if (size > limits_.literal)
        return tl::unexpected(
            protocol_error(fmt::format("The server announced a literal of {} octets, more than we accept. "
                                       "The connection is dropped.",
                                       base::printable(*digits))));
    }
    if (now_.literals.size() == limits_.literals)
      return tl::unexpected(
          protocol_error("The server sent a response with too many literals. The connection is dropped."));
    now_.text += '\n';
    const bool large = size > limits_.inline_literal;
    now_.literals.push_back(Literal{{}, size, large});
    missing_ = size;
    in_literal_ = size > 0;
    if (large) return std::optional<Frame>(LargeLiteral{now_.text, size});
  }
}

}  // namespace imap
