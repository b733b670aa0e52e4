#include "imap/protocol/command.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"

namespace imap {
namespace {

std::string_view verb_text(Verb v) {
  switch (v) {
    case Verb::capability:
      return "CAPABILITY";
    case Verb::starttls:
      return "STARTTLS";
    case Verb::login:
      return "LOGIN";
    case Verb::authenticate_plain:
      return "AUTHENTICATE PLAIN";
    case Verb::x_masterauth:
      return "X-MASTERAUTH";
    case Verb::x_setuser:
      return "X-SETUSER";
    case Verb::noop:
      return "NOOP";
    case Verb::logout:
      return "LOGOUT";
    case Verb::namespaces:
      return "NAMESPACE";
    case Verb::list:
      return "LIST";
    case Verb::lsub:
      return "LSUB";
    case Verb::status:
      return "STATUS";
    case Verb::examine:
      return "EXAMINE";
    case Verb::uid_fetch:
      return "UID FETCH";
    case Verb::select:
      return "SELECT";
    case Verb::create:
      return "CREATE";
    case Verb::subscribe:
      return "SUBSCRIBE";
    case Verb::append:
      return "APPEND";
    case Verb::uid_store:
      return "UID STORE";
    case Verb::uid_expunge:
      return "UID EXPUNGE";
  }
  return "NOOP";
}

}  // namespace

Command::Command(Verb verb) : verb_(verb) {
  parts_.emplace_back();
  last().text = verb_text(verb);
}

Command& Command::word(std::string_view text) {
  last().text += ' ';
  last().text += text;
  return *this;
}

Command& Command::string(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), [](char c) { return c == '\0' || c == '\r' || c == '\n'; }))
    throw base::Failed({base::Scope::account, base::Remedy::ask_admin,
                        fmt::format("The text \"{}\" holds a NUL or a line end and cannot be sent to a mail server.",
                                    verb_ == Verb::login ? "***" : base::printable(text))});
  const bool plain = text.size() <= 1000 &&
                     std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (plain) {
    std::string& t = last().text;
    t += " \"";
    for (const char c : text) {
      if (c == '"' || c == '\\') t += '\\';
      t += c;
    }
    t += '"';
  } else {
    last().text += ' ';
    last().own = std::string(text);
    last().literal = true;
    last().size = text.size();
    parts_.emplace_back();
  }
  return *this;
}

Command& Command::flags(const std::vector<std::string>& names) {
  last().text += " (" + base::join(names, " ") + ")";
  return *this;
}

Command& Command::body(std::string_view octets) {
  last().text += ' ';
  last().borrowed = octets;
  last().literal = true;
  last().size = octets.size();
  parts_.emplace_back();
  return *this;
}

Command& Command::streamed_body(std::uint64_t octets) {
  last().text += ' ';
  last().literal = last().streamed = true;
  last().size = octets;
  parts_.emplace_back();
  return *this;
}

std::string Command::trace() const {
  if (verb_ == Verb::login || verb_ == Verb::authenticate_plain) return std::string(verb_text(verb_)) + " ***";
  std::string out;
  for (const auto& p : parts_) {
    out += base::printable(p.text);
    if (p.literal) out += fmt::format("{{{}}}", p.size);
    if (out.size() > 200) return out.substr(0, 200) + "...";
  }
  return out;
}

bool is_flag(std::string_view name) {
  if (name.starts_with('\\')) name.remove_prefix(1);
  // RFC 3501 §9 ATOM-CHAR, without ']' which most servers refuse in a keyword.
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u > 0x20 && u < 0x7F && std::string_view("(){%*\"\\]").find(c) == std::string_view::npos;
  });
}

}  // namespace imap
