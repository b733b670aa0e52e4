#include "imap/protocol/engine.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace imap {

using base::Remedy;
using base::Scope;

Engine::Engine(Access access, std::string tag_prefix, const Limits& limits)
    : access_(access), tag_prefix_(std::move(tag_prefix)), limits_(limits), framer_(limits) {}

bool Engine::synchronising(const Command::Part& part) const {
  if (part.streamed) return true;
  return mode_ == LiteralMode::synchronising || (mode_ == LiteralMode::minus && part.size > 4096);
}

void Engine::submit(Command command) {
  if (access_ == Access::read_only && !reads_only(command.verb()))
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("Internal error: {} was about to be sent on a read-only connection. Nothing was sent.",
                     command.trace())});
  Sent s{std::move(command), fmt::format("{}{}", tag_prefix_, next_tag_++)};
  // The octets of each part are fixed here once, so that output() can hand out views.
  for (auto& p : s.command.parts_) {
    if (&p == &s.command.parts_.front()) p.text = s.tag + " " + p.text;
    if (p.literal) p.text += fmt::format("{{{}{}}}\r\n", p.size, synchronising(p) ? "" : "+");
    else p.text += "\r\n";
  }
  waiting_.push_back(std::move(s));
}

std::vector<std::string_view> Engine::output() {
  std::vector<std::string_view> out;
  if (!reply_.empty()) {
    leaving_reply_ = std::move(reply_);
    reply_.clear();
    out.push_back(leaving_reply_);
    return out;
  }
  for (auto& s : waiting_) {
    if (s.await_plus || s.streaming) return out;
    auto& parts = s.command.parts_;
    while (!s.all_out) {
      auto& p = parts[s.part++];
      out.push_back(p.text);
      if (!p.literal) {
        if (!p.octets().empty()) out.push_back(p.octets());
        s.all_out = s.part == parts.size();
        continue;
      }
      if (synchronising(p)) {
        s.await_plus = true;
        return out;
      }
      out.push_back(p.octets());
    }
    // A command that waits for a challenge holds up the rest.
    if (is_challenged(s.command.verb())) return out;
  }
  return out;
}

void Engine::reply_to_challenge(std::string text) { reply_ = std::move(text) + "\r\n"; }

void Engine::body_complete() {
  for (auto& s : waiting_) s.streaming = false;
}

bool Engine::output_pending() const {
  if (!reply_.empty()) return true;
  for (const auto& s : waiting_) {
    if (s.await_plus || s.streaming) return false;
    if (!s.all_out) return true;
  }
  return false;
}

bool Engine::needs_continuation() const {
  for (const auto& s : waiting_) {
    if (s.await_plus || s.streaming || is_challenged(s.command.verb())) return true;
    for (std::size_t i = s.part; i < s.command.parts_.size(); ++i)
      if (s.command.parts_[i].literal && synchronising(s.command.parts_[i])) return true;
  }
  return false;
}

base::Result<std::optional<Event>> Engine::next() {
  TRY(auto frame, framer_.next());
  if (!frame) return std::optional<Event>{};
  if (auto* large = std::get_if<LargeLiteral>(&*frame)) return std::optional<Event>(std::move(*large));
  if (auto* chunk = std::get_if<LargeLiteralChunk>(&*frame)) return std::optional<Event>(*chunk);
  TRY(auto response, parse_response(std::move(std::get<Response>(*frame)), limits_));
  if (auto* u = std::get_if<Untagged>(&response)) return std::optional<Event>(std::move(*u));

  if (const auto* plus = std::get_if<Continuation>(&response)) {
    for (auto& s : waiting_) {
      if (s.await_plus) {
        s.await_plus = false;
        const auto& p = s.command.parts_[s.part - 1];
        if (p.streamed) {
          s.streaming = true;
          return std::optional<Event>(ReadyForBody{});
        }
        // Its octets become a part of their own that needs no "+".
        Command::Part octets;
        octets.own = p.own;
        octets.borrowed = p.borrowed;
        s.command.parts_.insert(s.command.parts_.begin() + static_cast<std::ptrdiff_t>(s.part), std::move(octets));
        return std::optional<Event>(Untagged(Other{"+", {}}));
      }
      if (is_challenged(s.command.verb()) && s.all_out) return std::optional<Event>(Challenge{plus->text});
      if (!s.all_out) break;
    }
    return base::fail(Scope::account, Remedy::reconnect,
                      "The server asked for more data (\"+\") that no command has to give. The connection is dropped.");
  }

  auto& tagged = std::get<Tagged>(response);
  const auto asked = std::find_if(waiting_.begin(), waiting_.end(), [&](const Sent& s) { return s.tag == tagged.tag; });
  const bool whole = asked != waiting_.end() && (asked->all_out || asked->await_plus || asked->streaming);
  if (!whole)  // never asked, or answered before it was (S3)
    return base::fail(
        Scope::account, Remedy::reconnect,
        fmt::format("The server answered a command that was not sent (tag \"{}\"). The connection is dropped.",
                    base::printable(tagged.tag)));
  // RFC 3501 §5.5 lets a server overtake itself. Who takes an answer counts on their order: to give one APPEND the
  // APPENDUID of another would be to lose both.
  if (asked != waiting_.begin())
    return base::fail(
        Scope::account, Remedy::reconnect,
        fmt::format("The server answered {} before an earlier command. The connection is dropped.", tagged.verbatim()));
  // Refused while the body was on its way: the connection cannot be brought back in step.
  if (asked->streaming)
    return base::fail(Scope::account, Remedy::reconnect,
                      fmt::format("The server answered {} in the middle of a message. The connection is dropped.",
                                  tagged.verbatim()));
  Answer answer{std::move(tagged), asked->await_plus};
  reply_.clear();
  finished_.push_back(std::move(*asked));
  waiting_.pop_front();
  return std::optional<Event>(std::move(answer));
}

}  // namespace imap
