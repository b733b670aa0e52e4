#include "imap/protocol/responses.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "imap/protocol/uid_set.hpp"

namespace imap {
namespace {

using base::Remedy;
using base::Scope;

// Thrown and caught inside this file only: the text is not what the grammar says.
struct Malformed {
  std::string why;
};

class Reader {
 public:
  Reader(Response& response, const Limits& limits)
      : text_(response.text), literals_(response.literals), limits_(limits) {}

  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(char c) {
    if (peek() != c || at_end()) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    if (!take(c)) throw Malformed{fmt::format("'{}' expected", c)};
  }
  void spaces() {
    while (peek() == ' ') ++at_;
  }
  std::string_view rest() const { return text_.substr(std::min(at_, text_.size())); }

  // Up to a space, parenthesis, quote or end; with `bracketed`, "[...]" belongs to it ("BODY[HEADER.FIELDS (A B)]<0>").
  std::string atom(bool bracketed = false) {
    const auto start = at_;
    while (!at_end()) {
      const char c = text_[at_];
      if (c == ' ' || c == '(' || c == ')' || c == '"' || c == '\n') break;
      if (bracketed && c == '[') {
        const auto close = text_.find(']', at_);
        if (close == std::string_view::npos) throw Malformed{"'[' without ']'"};
        at_ = close;
      }
      ++at_;
    }
    if (at_ == start) throw Malformed{"word expected"};
    return std::string(text_.substr(start, at_ - start));
  }

  std::uint64_t number(std::uint64_t max = UINT64_MAX) {
    const auto v = parse_number(atom());
    if (!v || *v > max) throw Malformed{"number expected"};
    return *v;
  }

  std::string quoted() {
    need('"');
    std::string out;
    for (;;) {
      if (at_end() || peek() == '\n') throw Malformed{"quoted string without end"};
      char c = text_[at_++];
      if (c == '"') return out;
      if (c == '\\') {
        if (at_end()) throw Malformed{"quoted string without end"};
        c = text_[at_++];
      }
      out += c;
    }
  }

  bool at_literal() const {
    return peek() == '{' || (peek() == '~' && at_ + 1 < text_.size() && text_[at_ + 1] == '{');
  }
  Literal literal() {
    const auto end = text_.find('\n', at_);
    if (end == std::string_view::npos || next_literal_ >= literals_.size()) throw Malformed{"literal expected"};
    at_ = end + 1;
    return std::move(literals_[next_literal_++]);
  }

  // NIL gives nothing.
  std::optional<std::string> nstring() {
    if (peek() == '"') return quoted();
    if (at_literal()) {
      Literal l = literal();
      if (l.streamed) throw Malformed{"literal too large here"};
      return std::move(l.octets);
    }
    const std::string word = atom();
    if (base::iequals(word, "NIL")) return std::nullopt;
    return word;  // an atom where a string is due: some servers do so
  }
  std::string astring() {
    if (peek() == '"' || at_literal()) return *nstring();
    // ']' and the like may stand in an unquoted name; a space ends it.
    return atom();
  }

  std::vector<std::string> words_in_parentheses() {
    std::vector<std::string> out;
    need('(');
    for (spaces(); !take(')'); spaces()) out.push_back(peek() == '"' ? quoted() : atom());
    return out;
  }

  // Over one value of any shape: for what we do not use.
  void skip_value(int depth = 0) {
    if (depth > limits_.depth) throw Malformed{"nested too deep"};
    if (take('(')) {
      for (spaces(); !take(')'); spaces()) {
        if (at_end()) throw Malformed{"'(' without ')'"};
        skip_value(depth + 1);
      }
    } else if (peek() == '"') {
      quoted();
    } else if (at_literal()) {
      literal();
    } else {
      atom(true);
    }
  }

 private:
  std::string_view text_;
  std::vector<Literal>& literals_;
  const Limits& limits_;
  std::size_t at_ = 0;
  std::size_t next_literal_ = 0;
};

std::optional<Status> status_word(std::string_view word) {
  if (base::iequals(word, "OK")) return Status::ok;
  if (base::iequals(word, "NO")) return Status::no;
  if (base::iequals(word, "BAD")) return Status::bad;
  if (base::iequals(word, "BYE")) return Status::bye;
  if (base::iequals(word, "PREAUTH")) return Status::preauth;
  return std::nullopt;
}

StatusLine status_line(Status status, std::string_view rest) {
  StatusLine line{status, {}, {}};
  rest = base::trim(rest);
  if (rest.starts_with('[')) {
    if (const auto close = rest.find(']'); close != std::string_view::npos) {
      const auto code = rest.substr(1, close - 1);
      const auto space = code.find(' ');
      line.code.name = base::upper(code.substr(0, space));
      if (space != std::string_view::npos) line.code.arguments = std::string(code.substr(space + 1));
      rest = base::trim(rest.substr(close + 1));
    }
  }
  line.text = std::string(rest);
  return line;
}

std::optional<char> delimiter(Reader& r) {
  const auto d = r.nstring();
  if (!d) return std::nullopt;
  if (d->size() != 1) throw Malformed{"hierarchy delimiter of one character expected"};
  return d->front();
}

ListItem list_item(Reader& r, bool lsub) {
  ListItem item;
  item.lsub = lsub;
  for (const auto& a : r.words_in_parentheses()) item.attributes.push_back(base::lower(a));
  r.spaces();
  item.delimiter = delimiter(r);
  r.need(' ');
  item.name = r.peek() == '"' || r.at_literal() ? r.astring() : std::string(base::trim(r.rest()));
  return item;
}

StatusItem status_item(Reader& r) {
  StatusItem item;
  item.name = r.astring();
  r.need(' ');
  r.need('(');
  for (r.spaces(); !r.take(')'); r.spaces()) {
    const std::string key = base::upper(r.atom());
    r.need(' ');
    const auto value = r.number();
    if (key == "MESSAGES") item.messages = value;
    if (key == "UIDNEXT") item.uid_next = value;
    if (key == "UIDVALIDITY") item.uid_validity = value;
    if (key == "HIGHESTMODSEQ") item.highest_modseq = value;
  }
  return item;
}

Fetched fetched(Reader& r) {
  Fetched f;
  r.need('(');
  for (r.spaces(); !r.take(')'); r.spaces()) {
    const std::string key = base::upper(r.atom(true));
    r.need(' ');
    if (key == "UID") {
      f.uid = base::Uid(static_cast<std::uint32_t>(r.number(UINT32_MAX)));
    } else if (key == "FLAGS") {
      f.flags = r.words_in_parentheses();
    } else if (key == "INTERNALDATE") {
      f.internal_date = r.nstring();
    } else if (key == "RFC822.SIZE") {
      f.size = r.number();
    } else if (key == "BODY[]" || key == "BINARY[]") {
      if (r.at_literal()) {
        Literal l = r.literal();
        f.body = l.streamed ? BodyKind::streamed : BodyKind::octets;
        f.octets = std::move(l.octets);
      } else if (const auto s = r.nstring()) {
        f.body = BodyKind::octets;
        f.octets = *s;
      } else {
        f.body = BodyKind::nil;  // RFC 2180 §4.1.3: an expunged message may look so. Never an empty message (F42)
      }
    } else {
      r.skip_value();
    }
  }
  return f;
}

std::vector<NamespaceEntry> namespace_entries(Reader& r) {
  std::vector<NamespaceEntry> out;
  r.spaces();
  if (!r.take('(')) {
    if (r.nstring()) throw Malformed{"NIL expected"};
    return out;
  }
  for (r.spaces(); !r.take(')'); r.spaces()) {
    r.need('(');
    NamespaceEntry e;
    e.prefix = r.astring();
    r.need(' ');
    e.delimiter = delimiter(r);
    for (r.spaces(); !r.take(')'); r.spaces()) {
      if (r.at_end()) throw Malformed{"'(' without ')'"};
      r.skip_value();
    }
    out.push_back(std::move(e));
  }
  return out;
}

Untagged untagged(Reader& r) {
  const std::string word = r.atom();
  if (const auto status = status_word(word)) return status_line(*status, r.rest());
  if (const auto n = parse_number(word)) {
    r.need(' ');
    const std::string what = base::upper(r.atom());
    if (*n > UINT32_MAX) throw Malformed{"number too large"};
    const auto seq = static_cast<std::uint32_t>(*n);
    if (what == "EXISTS") return Exists{seq};
    if (what == "EXPUNGE") return Expunged{seq};
    if (what == "FETCH") {
      r.spaces();
      return fetched(r);
    }
    return Other{what, {}};
  }
  const std::string key = base::upper(word);
  if (key == "CAPABILITY") return parse_capabilities(r.rest());
  r.spaces();
  if (key == "LIST" || key == "LSUB") return list_item(r, key == "LSUB");
  if (key == "STATUS") return status_item(r);
  if (key == "FLAGS") return Flags{r.words_in_parentheses()};
  if (key == "NAMESPACE") {
    Namespaces n;
    n.personal = namespace_entries(r);
    n.others = namespace_entries(r);
    n.shared = namespace_entries(r);
    return n;
  }
  return Other{key, {}};
}

}  // namespace

bool is_busy_code(std::string_view code) {
  return std::find(std::begin(kBusyCodes), std::end(kBusyCodes), code) != std::end(kBusyCodes);
}

std::string StatusLine::verbatim() const {
  static constexpr const char* kWords[] = {"OK", "NO", "BAD", "BYE", "PREAUTH"};
  std::string out = kWords[static_cast<int>(status)];
  if (!code.name.empty())
    out +=
        code.arguments.empty() ? fmt::format(" [{}]", code.name) : fmt::format(" [{} {}]", code.name, code.arguments);
  // Without its last full stop: our sentence goes on.
  if (!text.empty()) out += " " + (text.ends_with('.') ? text.substr(0, text.size() - 1) : text);
  return base::printable(out);
}

bool Capabilities::has(std::string_view name) const {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool ListItem::has(std::string_view attribute) const {
  return std::find(attributes.begin(), attributes.end(), attribute) != attributes.end();
}

Capabilities parse_capabilities(std::string_view text) {
  Capabilities c;
  for (const auto& w : base::split(base::trim(text), ' '))
    if (!w.empty()) c.names.push_back(base::upper(w));
  return c;
}

base::Result<AnyResponse> parse_response(Response response, const Limits& limits) {
  const std::string_view text = response.text;
  if (text.starts_with('+')) return AnyResponse(Continuation{std::string(base::trim(text.substr(1)))});
  if (text.starts_with("* ")) {
    Response inner{response.text.substr(2), std::move(response.literals)};
    try {
      Reader r(inner, limits);
      return AnyResponse(untagged(r));
    } catch (const Malformed& m) {
      const auto words = base::split(inner.text.substr(0, 200), ' ');
      const bool numbered = words.size() > 1 && parse_number(words[0]);
      return AnyResponse(Untagged(Other{base::upper(numbered ? words[1] : words[0]), m.why}));
    }
  }
  const auto space = text.find(' ');
  if (space != std::string_view::npos && space > 0) {
    const auto tag = text.substr(0, space);
    const auto rest = text.substr(space + 1);
    if (const auto status = status_word(rest.substr(0, rest.find(' '))); status && *status <= Status::bad) {
      Tagged t;
      static_cast<StatusLine&>(t) = status_line(
          *status, rest.find(' ') == std::string_view::npos ? std::string_view{} : rest.substr(rest.find(' ')));
      t.tag = std::string(tag);
      return AnyResponse(std::move(t));
    }
  }
  return base::fail(Scope::account, Remedy::reconnect,
                    fmt::format("The server sent \"{}\", which is no IMAP response. The connection is dropped.",
                                base::printable(text.substr(0, 80))));
}

}  // namespace imap
