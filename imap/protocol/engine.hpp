// The IMAP client without a network: commands in, octets out; octets in, events out.
//
// Guarantees: only a tagged response ends a command; commands end in the order in which they were submitted; a tag that
// was never fully sent, was answered before or overtakes another is an error that ends the session (S3, F14); a
// synchronising literal leaves only after its "+"; non-synchronising literals are used only where the server offered
// them (RFC 7888); a read-only engine refuses every command that could change something. Thread rule: none of its own;
// one caller at a time.
//
//   engine.submit(Command(Verb::noop));
//   transport.write(engine.output());          // "x1 NOOP\r\n"
//   engine.feed(octets);                       // any split
//   while (auto event = or_throw(engine.next())) ...
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "imap/protocol/command.hpp"
#include "imap/protocol/framer.hpp"
#include "imap/protocol/responses.hpp"

namespace imap {

enum class Access : std::uint8_t { read_only, read_write };
// RFC 7888: LITERAL- allows up to 4096 octets.
enum class LiteralMode : std::uint8_t { synchronising, minus, plus };

// A command has ended.
struct Answer {
  Tagged tagged;
  // The server answered instead of asking for a literal: its octets never left (the one case that proves "not stored").
  bool literal_refused = false;
  bool ok() const { return tagged.ok(); }
};
// "+" for a streamed body: the caller sends it now.
struct ReadyForBody {};
// "+ text" inside AUTHENTICATE or X-MASTERAUTH.
struct Challenge {
  std::string text;
};
using Event = std::variant<Untagged, Answer, ReadyForBody, Challenge, LargeLiteral, LargeLiteralChunk>;

class Engine {
 public:
  // `tag_prefix`: random letters, so that a tag cannot be guessed before it was sent (S3).
  Engine(Access access, std::string tag_prefix, const Limits& limits = {});

  // Queues; throws Failed if a read-only session may not send it.
  void submit(Command command);
  // All octets that may leave now, as pieces that stay valid until written(); empty if none.
  std::vector<std::string_view> output();
  void written() { finished_.clear(); }
  // The answer to a Challenge.
  void reply_to_challenge(std::string text);
  // The last octets of a streamed body have been written by the caller; the final CRLF comes with output().
  void body_complete();

  void feed(std::string_view octets) { framer_.feed(octets); }
  base::Result<std::optional<Event>> next();

  void use_literals(LiteralMode mode) { mode_ = mode; }
  // Every command has been answered.
  bool idle() const { return waiting_.empty(); }
  // Nothing more will leave without a "+" or a new command.
  bool output_pending() const;
  // A "+" must come before everything queued can leave.
  bool needs_continuation() const;
  std::size_t unread() const { return framer_.unread(); }
  bool holds_octets() const { return framer_.holds_octets(); }

 private:
  struct Sent {
    Command command;
    std::string tag;
    std::size_t part = 0;     // next part to leave
    bool await_plus = false;  // the literal of parts[part - 1] waits for "+"
    bool streaming = false;   // the caller is sending it
    bool all_out = false;
  };
  bool synchronising(const Command::Part& part) const;

  Access access_;
  std::string tag_prefix_;
  Limits limits_;
  Framer framer_;
  LiteralMode mode_ = LiteralMode::synchronising;
  std::uint64_t next_tag_ = 1;
  std::deque<Sent> waiting_;
  std::deque<Sent> finished_;          // answered early, perhaps while their octets are still being written
  std::string reply_, leaving_reply_;  // to a challenge
};

}  // namespace imap
