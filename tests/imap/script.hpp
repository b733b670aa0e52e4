// A protocol script in the RFC's own notation, played against the engine at any chunk size:
//
//   play(engine, {C("A1 NOOP"), S("* 3 EXISTS"), S("A1 OK done")}, chunk)
//
// S lines are fed as the server would send them (CRLF added); C lines are demanded octet for octet.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "imap/protocol/engine.hpp"

namespace imap {

struct ScriptLine {
  bool server;
  std::string octets;
};
inline ScriptLine S(std::string line) { return {true, line + "\r\n"}; }
inline ScriptLine S_raw(std::string octets) { return {true, std::move(octets)}; }
inline ScriptLine C(std::string line) { return {false, line + "\r\n"}; }
inline ScriptLine C_raw(std::string octets) { return {false, std::move(octets)}; }

struct Played {
  std::vector<Event> events;
  std::string streamed;  // chunks of large literals, joined
  std::string error;     // of the engine, if it gave up
  std::string unsent;    // what the client had to say beyond the script
};

inline Played play(Engine& engine, const std::vector<ScriptLine>& script, std::size_t chunk) {
  Played out;
  std::string sent;
  const auto pull = [&] {
    for (const auto piece : engine.output()) sent += piece;
  };
  const auto drain = [&] {
    for (;;) {
      auto e = engine.next();
      if (!e) {
        out.error = e.error().text;
        return false;
      }
      if (!*e) return true;
      if (auto* c = std::get_if<LargeLiteralChunk>(&**e)) out.streamed += c->octets;
      else out.events.push_back(std::move(**e));
    }
  };
  for (const auto& line : script) {
    if (!line.server) {
      pull();
      EXPECT_EQ(sent.substr(0, line.octets.size()), line.octets);
      sent.erase(0, std::min(sent.size(), line.octets.size()));
      continue;
    }
    for (std::size_t i = 0; i < line.octets.size(); i += chunk) {
      engine.feed(std::string_view(line.octets).substr(i, chunk));
      if (!drain()) return out;
    }
  }
  pull();
  out.unsent = sent;
  return out;
}

class EveryChunk : public ::testing::TestWithParam<std::size_t> {};

template <class T>
const T& untagged(const Event& e) {
  return std::get<T>(std::get<Untagged>(e));
}

}  // namespace imap
