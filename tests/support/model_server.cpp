#include "tests/support/model_server.hpp"

#include <algorithm>
#include <cstring>

#include "base/result.hpp"
#include "base/text.hpp"

namespace test {

namespace asio = boost::asio;

void VirtualClock::pass(std::chrono::milliseconds d) {
  now_ += d;
  if (on_sleep) on_sleep();
}

asio::awaitable<void> VirtualClock::sleep(std::chrono::milliseconds d) {
  pass(d);
  co_return;
}

namespace {

struct Token {
  enum class Kind { word, string, literal, list } kind;
  std::string text;
};

std::optional<std::vector<Token>> tokens(const std::string& text, std::vector<std::string> literals) {
  std::vector<Token> out;
  std::size_t next_literal = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == ' ') {
      ++i;
    } else if (c == '"') {
      std::string s;
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\') ++i;
        if (i < text.size()) s += text[i];
      }
      if (i >= text.size()) return std::nullopt;
      ++i;
      out.push_back({Token::Kind::string, s});
    } else if (c == '\n') {
      if (next_literal >= literals.size()) return std::nullopt;
      out.push_back({Token::Kind::literal, std::move(literals[next_literal++])});
      ++i;
    } else if (c == '(') {
      const auto close = text.find(')', i);
      if (close == std::string::npos) return std::nullopt;
      out.push_back({Token::Kind::list, text.substr(i + 1, close - i - 1)});
      i = close + 1;
    } else {
      const auto end = std::min(text.find(' ', i), text.find('\n', i));
      out.push_back({Token::Kind::word, text.substr(i, end - i)});
      i = std::min(end, text.size());
    }
  }
  return out;
}

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

}  // namespace

ModelMessage& ModelServer::put(const std::string& user, const std::string& mailbox, std::string octets,
                               std::set<std::string> flags) {
  auto& m = users[user][mailbox];
  ModelMessage message;
  message.uid = m.uid_next++;
  message.octets = std::move(octets);
  message.flags = std::move(flags);
  ++m.modseq;
  m.messages.push_back(std::move(message));
  return m.messages.back();
}

std::vector<std::string> ModelServer::bodies(const std::string& user, const std::string& mailbox) const {
  std::vector<std::string> out;
  const auto u = users.find(user);
  if (u == users.end()) return out;
  const auto m = u->second.find(mailbox);
  if (m == u->second.end()) return out;
  for (const auto& x : m->second.messages) out.push_back(x.octets);
  return out;
}

ModelMessage ModelServer::stored_form(ModelMessage m) const {
  if (quirks.nul_to_80) std::replace(m.octets.begin(), m.octets.end(), '\0', '\x80');
  if (quirks.bare_lf_to_crlf) {
    std::string out;
    for (std::size_t i = 0; i < m.octets.size(); ++i) {
      if (m.octets[i] == '\n' && (i == 0 || m.octets[i - 1] != '\r')) out += '\r';
      out += m.octets[i];
    }
    m.octets = out;
  }
  if (quirks.header_8bit_to_x)
    for (std::size_t i = 0, end = std::min(m.octets.size(), m.octets.find("\r\n\r\n")); i < end; ++i)
      if (static_cast<unsigned char>(m.octets[i]) >= 0x80) m.octets[i] = 'X';
  if (quirks.alters) quirks.alters(m.octets);
  if (quirks.forgets_dates) m.date = "01-Jan-2024 00:00:00 +0000";
  if (quirks.forgets_flags) m.flags.clear();
  return m;
}

void ModelServer::tick() {
  for (auto it = frozen_.begin(); it != frozen_.end();) {
    if (it->due > clock_.now()) {
      ++it;
      continue;
    }
    auto& box = users[it->user][it->mailbox];
    // What would have been refused is refused late as well, though nobody hears it.
    if (quirks.refuse && std::any_of(it->messages.begin(), it->messages.end(),
                                     [&](const auto& m) { return quirks.refuse(m).has_value(); }))
      it->messages.clear();
    for (auto& m : it->messages) {
      m.uid = box.uid_next++;
      box.messages.push_back(stored_form(std::move(m)));
      ++appended_messages;
    }
    it = frozen_.erase(it);
  }
}

class ModelConnection final : public imap::Transport {
 public:
  ModelConnection(ModelServer& server, std::function<void()> step) : s_(server), step_(std::move(step)) {
    say("* OK " + s_.name_ + " ready");
  }
  asio::awaitable<std::size_t> read_some(asio::mutable_buffer into) override {
    if (step_) step_();
    if (out_.empty()) {
      if (closed_)
        throw base::Failed(
            {base::Scope::account, base::Remedy::reconnect, "The connection was lost: the server closed it."});
      closed_ = true;
      throw base::Failed(
          {base::Scope::account, base::Remedy::reconnect, "The connection was lost: nothing was heard for 300 s."});
    }
    const std::size_t n = std::min(into.size(), out_.size());
    std::memcpy(into.data(), out_.data(), n);
    out_.erase(0, n);
    co_return n;
  }
  asio::awaitable<void> write_all(std::vector<std::string_view> pieces) override {
    for (const auto piece : pieces) {
      if (step_) step_();
      if (closed_)
        throw base::Failed({base::Scope::account, base::Remedy::reconnect, "The connection was lost while sending."});
      receive(piece);
    }
    co_return;
  }
  asio::awaitable<void> start_tls() override { co_return; }
  bool encrypted() const override { return false; }
  void close() override { closed_ = true; }

 private:
  void say(const std::string& line) {
    if (!closed_) out_ += line + "\r\n";
  }
  void violation(const std::string& what) { s_.violations.push_back(s_.name_ + ": " + what); }

  void receive(std::string_view octets) {
    while (!octets.empty() && !closed_) {
      if (missing_ > 0) {
        const auto n = std::min(missing_, octets.size());
        literals_.back() += octets.substr(0, n);
        octets.remove_prefix(n);
        missing_ -= n;
        if (missing_ > 0 && appending() && s_.struck(s_.appends + 1, Strike::cut) && literals_.back().size() > 1) {
          ++s_.appends;
          closed_ = true;
        }
        continue;
      }
      const auto lf = octets.find('\n');
      line_ += octets.substr(0, lf == std::string_view::npos ? octets.size() : lf + 1);
      octets.remove_prefix(lf == std::string_view::npos ? octets.size() : lf + 1);
      if (lf == std::string_view::npos) return;
      if (!line_.ends_with("\r\n")) {
        violation("a bare LF in a command");
        closed_ = true;
        return;
      }
      line_.resize(line_.size() - 2);
      const auto open = line_.rfind('{');
      if (line_.ends_with('}') && open != std::string::npos) {
        std::string digits = line_.substr(open + 1, line_.size() - open - 2);
        const bool plus = digits.ends_with('+');
        if (plus) digits.pop_back();
        command_ += line_.substr(0, open) + "\n";
        line_.clear();
        if (plus && !s_.quirks.capabilities.contains("LITERAL+")) {
          violation("{n+} without LITERAL+");
          closed_ = true;
          return;
        }
        if (!plus && s_.quirks.refuses_literal > 0 && appending() &&
            literals_.size() + 1 == s_.quirks.refuses_literal) {
          s_.quirks.refuses_literal = 0;
          for (auto& l : std::exchange(literals_, {})) s_.put(user_, "INBOX", std::move(l));
          say(command_.substr(0, command_.find(' ')) + " NO Message looks bad");
          command_.clear();
          continue;
        }
        missing_ = std::stoull(digits);
        literals_.emplace_back();
        if (!plus) say("+ go ahead");
        continue;
      }
      command_ += std::exchange(line_, {});
      run(std::exchange(command_, {}), std::exchange(literals_, {}));
    }
  }
  bool appending() const { return base::upper(command_).find(" APPEND ") != std::string::npos; }

  ModelMailbox* mailbox(const std::string& name) {
    auto& boxes = s_.users[user_];
    const auto it = boxes.find(name);
    return it == boxes.end() || it->second.attributes.find("\\Noselect") != std::string::npos ? nullptr : &it->second;
  }
  bool visible(const ModelMessage& m) const { return m.visible_at <= s_.clock_.now(); }

  void run(const std::string& text, std::vector<std::string> literals) {
    s_.tick();
    auto parsed = tokens(text, std::move(literals));
    if (!parsed || parsed->size() < 2) {
      violation("a command that does not parse: " + text);
      say("* BAD what?");
      return;
    }
    auto& t = *parsed;
    const std::string tag = t[0].text;
    std::string verb = base::upper(t[1].text);
    std::size_t a = 2;
    if (verb == "UID" && t.size() > 2) verb += " " + base::upper(t[a++].text);
    s_.commands.push_back(verb);
    const auto hang_up = s_.hang_ups.find(s_.commands.size());
    if (hang_up != s_.hang_ups.end()) {
      closed_ = true;
      if (hang_up->second == ModelServer::HangUp::before) return;
    }
    static const std::set<std::string> kWrites = {"SELECT",      "CREATE",      "DELETE", "RENAME",
                                                  "SUBSCRIBE",   "UNSUBSCRIBE", "APPEND", "UID STORE",
                                                  "UID EXPUNGE", "EXPUNGE",     "CLOSE",  "STORE"};
    if (s_.read_only && kWrites.contains(verb)) violation(verb + " on a source");
    const auto arg = [&](std::size_t i) { return a + i < t.size() ? t[a + i].text : std::string(); };
    if (verb == "CAPABILITY") {
      say("* CAPABILITY " + base::join({s_.quirks.capabilities.begin(), s_.quirks.capabilities.end()}, " "));
      say(tag + " OK done");
    } else if (verb == "LOGIN") {
      ++s_.logins;
      if (s_.refuse_logins > 0) {
        --s_.refuse_logins;
        say(tag + " NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded");
      } else if (const auto answer = s_.login_answers.find(s_.logins); answer != s_.login_answers.end()) {
        say(tag + " " + answer->second);
      } else if (!s_.passwords.contains(arg(0)) || s_.passwords[arg(0)] != arg(1)) {
        if (s_.quirks.echoes_refused_login) say(tag + " NO bad command: " + text);
        else say(tag + " NO [AUTHENTICATIONFAILED] Authentication failed, try again.");
      } else {
        user_ = arg(0);
        say(tag + " OK [CAPABILITY " + base::join({s_.quirks.capabilities.begin(), s_.quirks.capabilities.end()}, " ") +
            "] in");
      }
    } else if (verb == "LOGOUT") {
      say("* BYE");
      say(tag + " OK out");
    } else if (verb == "NOOP") {
      say(tag + " OK done");
    } else if (user_.empty()) {
      violation(verb + " before log-in");
      say(tag + " BAD log in first");
    } else if (verb == "NAMESPACE") {
      say("* NAMESPACE ((" + quoted(s_.quirks.prefix) + " " + quoted(s_.quirks.delimiter) + ")) NIL NIL");
      say(tag + " OK done");
    } else if (verb == "LIST" || verb == "LSUB") {
      for (const auto& [name, m] : s_.users[user_])
        if (verb == "LIST" ? !s_.quirks.unlisted.contains(name) : m.subscribed)
          say("* " + verb + " (" + m.attributes + ") " + quoted(s_.quirks.delimiter) + " " + quoted(name));
      say(tag + " OK done");
    } else if (verb == "STATUS") {
      const auto* m = mailbox(arg(0));
      if (m == nullptr) {
        say(tag + " NO [NONEXISTENT] no such mailbox");
        return;
      }
      std::string items = "MESSAGES " + std::to_string(count(*m)) + " UIDNEXT " + std::to_string(m->uid_next) +
                          " UIDVALIDITY " + std::to_string(m->uid_validity);
      if (arg(1).find("HIGHESTMODSEQ") != std::string::npos) items += " HIGHESTMODSEQ " + std::to_string(m->modseq);
      say("* STATUS " + quoted(arg(0)) + " (" + items + ")");
      say(tag + " OK done");
    } else if (verb == "SELECT" || verb == "EXAMINE") {
      auto* m = mailbox(arg(0));
      if (m == nullptr) {
        selected_.clear();
        say(tag + " NO [NONEXISTENT] no such mailbox");
        return;
      }
      selected_ = arg(0);
      say("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)");
      if (verb == "EXAMINE") say("* OK [PERMANENTFLAGS ()] none");
      else if (s_.quirks.permanent_flags) say("* OK [PERMANENTFLAGS " + *s_.quirks.permanent_flags + "] these");
      say("* " + std::to_string(count(*m)) + " EXISTS");
      say("* OK [UIDVALIDITY " + std::to_string(m->uid_validity) + "] valid");
      if (s_.quirks.capabilities.contains("CONDSTORE") &&
          arg(1).find("CONDSTORE") != std::string::npos)  // as Dovecot does: only when asked
        say("* OK [HIGHESTMODSEQ " + std::to_string(m->modseq) + "] highest");
      say("* OK [UIDNEXT " + std::to_string(m->uid_next) + "] next");
      say(tag + " OK done");
    } else if (verb == "CREATE") {
      if (s_.quirks.unlisted.erase(arg(0)) > 0) say(tag + " OK done");
      else if (s_.users[user_].contains(arg(0))) say(tag + " NO [ALREADYEXISTS] is there");
      else {
        s_.users[user_][arg(0)].uid_validity = next_validity_++;
        say(tag + " OK done");
      }
    } else if (verb == "SUBSCRIBE") {
      if (!s_.quirks.refuses_subscribe) s_.users[user_][arg(0)].subscribed = true;
      say(tag + (s_.quirks.refuses_subscribe ? " NO [LIMIT] too many subscriptions" : " OK done"));
    } else if (verb == "UID FETCH") {
      fetch(tag, arg(0), arg(1));
    } else if (verb == "APPEND") {
      append(tag, t, a);
    } else if (verb == "UID STORE") {
      const auto uid = std::stoul(arg(0));
      for (auto& m : mailbox(selected_)->messages)
        if (m.uid == uid)
          for (const auto& f : base::split(arg(2), ' ')) {
            if (arg(1)[0] == '+') m.flags.insert(f);
            else m.flags.erase(f);
          }
      say(tag + " OK done");
    } else if (verb == "UID EXPUNGE") {
      if (!s_.quirks.capabilities.contains("UIDPLUS")) violation("UID EXPUNGE without UIDPLUS");
      const auto uid = std::stoul(arg(0));
      std::erase_if(mailbox(selected_)->messages,
                    [&](const auto& m) { return m.uid == uid && m.flags.contains("\\Deleted"); });
      say(tag + " OK done");
    } else {
      violation("an unknown command: " + verb);
      say(tag + " BAD what?");
    }
  }

  std::size_t count(const ModelMailbox& m) const {
    return static_cast<std::size_t>(
        std::count_if(m.messages.begin(), m.messages.end(), [&](const auto& x) { return visible(x); }));
  }

  void fetch(const std::string& tag, const std::string& set, const std::string& items) {
    auto* box = mailbox(selected_);
    if (box == nullptr) {
      violation("UID FETCH without a mailbox");
      say(tag + " BAD select first");
      return;
    }
    const bool body = items.find("BODY.PEEK[]") != std::string::npos;
    if (items.find("BODY[]") != std::string::npos) violation("BODY[] without PEEK");
    if (set.find('*') != std::string::npos && set != "*") violation("an open UID range");
    if (body) ++s_.body_fetches;
    for (const auto& part : base::split(set, ',')) {
      const auto ends = base::split(part, ':');
      const auto first = std::stoull(ends.front()), last = std::stoull(ends.back());
      std::set<std::uint64_t> seen;
      std::size_t sequence = 0;
      for (const auto& m : box->messages) {
        if (!visible(m)) continue;
        ++sequence;
        if (m.uid < first || m.uid > last) continue;
        if (body && s_.quirks.refuses_body && s_.quirks.refuses_body(m)) {
          say(tag + " NO it cannot be read");
          return;
        }
        if (s_.quirks.short_lists && !body && &m == &box->messages.back()) continue;
        seen.insert(m.uid);
        std::string line = "* " + std::to_string(sequence) + " FETCH (UID " + std::to_string(m.uid);
        if (items.find("FLAGS") != std::string::npos)
          line += " FLAGS (" + base::join({m.flags.begin(), m.flags.end()}, " ") + ")";
        if (items.find("INTERNALDATE") != std::string::npos) line += " INTERNALDATE \"" + m.date + "\"";
        if (items.find("RFC822.SIZE") != std::string::npos)
          line += " RFC822.SIZE " + (s_.quirks.size_lie.empty() ? std::to_string(m.octets.size()) : s_.quirks.size_lie);
        if (body && s_.quirks.nil_body && s_.quirks.nil_body(m)) line += " BODY[] NIL";
        else if (body && s_.quirks.empty_body && s_.quirks.empty_body(m)) line += " BODY[] {0}\r\n";
        else if (body) line += " BODY[] {" + std::to_string(m.octets.size()) + "}\r\n" + m.octets;
        say(line + ")");
      }
      if (body && s_.quirks.nil_for_expunged && first == last && !seen.contains(first))
        say("* 1 FETCH (UID " + std::to_string(first) + " BODY[] NIL)");
    }
    say(tag + " OK done");
  }

  void append(const std::string& tag, const std::vector<Token>& t, std::size_t a) {
    ++s_.appends;
    const std::string name = t[a++].text;
    std::vector<ModelMessage> messages;
    while (a < t.size()) {
      ModelMessage m;
      if (t[a].kind == Token::Kind::list)
        for (const auto& f : base::split(t[a++].text, ' '))
          if (!f.empty()) m.flags.insert(f);
      if (a < t.size() && t[a].kind == Token::Kind::string) m.date = t[a++].text;
      if (a >= t.size() || t[a].kind != Token::Kind::literal) {
        violation("APPEND without a literal");
        say(tag + " BAD what?");
        return;
      }
      m.octets = t[a++].text;
      m.visible_at = s_.clock_.now() + s_.quirks.hides_fresh;
      if (m.octets.empty()) violation("APPEND of no octets");
      messages.push_back(std::move(m));
    }
    if (messages.size() > 1 && !s_.quirks.capabilities.contains("MULTIAPPEND")) {
      violation("MULTIAPPEND where it was not offered");
      closed_ = true;
      return;
    }
    auto* box = mailbox(name);
    if (box == nullptr) {
      say(tag + " NO [TRYCREATE] no such mailbox");
      return;
    }
    if (s_.struck(s_.appends, Strike::freeze)) {
      s_.frozen_.push_back({user_, name, std::move(messages), s_.clock_.now() + s_.thaw});
      return;  // silence
    }
    std::vector<std::uint32_t> uids;
    std::optional<std::string> refusal;
    std::size_t keep = messages.size();
    for (std::size_t i = 0; i < messages.size() && !refusal; ++i) {
      if (s_.quirks.refuse) refusal = s_.quirks.refuse(messages[i]);
      if (refusal) keep = s_.quirks.keeps_first_of_refused_multi ? i : 0;
    }
    if (s_.struck(s_.appends, Strike::put_off)) refusal = "NO [UNAVAILABLE] Try again later", keep = 0;
    if (!refusal && s_.struck(s_.appends, Strike::store_and_no)) refusal = "NO [UNAVAILABLE] Internal error";
    else if (refusal && s_.quirks.refuses_after_storing) keep = messages.size();
    messages.resize(keep);
    for (auto& m : messages) {
      ModelMessage stored = s_.stored_form(std::move(m));
      if (s_.quirks.merges_equal) {
        const auto equal = std::find_if(box->messages.begin(), box->messages.end(),
                                        [&](const ModelMessage& have) { return have.octets == stored.octets; });
        if (equal != box->messages.end()) {
          uids.push_back(equal->uid);
          continue;
        }
      }
      stored.uid = box->uid_next++;
      uids.push_back(stored.uid);
      box->messages.push_back(std::move(stored));
      ++box->modseq;
      ++s_.appended_messages;
    }
    if (refusal) {
      say(tag + " " + *refusal);
      return;
    }
    if (s_.struck(s_.appends, Strike::lose_answer)) {
      closed_ = true;
      return;
    }
    std::string code;
    using A = Quirks::AppendUid;
    if (s_.quirks.capabilities.contains("UIDPLUS") && s_.quirks.append_uid != A::absent) {
      auto shown = uids;
      auto validity = box->uid_validity;
      if (s_.quirks.append_uid == A::swapped && shown.size() > 1) std::swap(shown.front(), shown.back());
      if (s_.quirks.append_uid == A::swapped && shown.size() == 1) std::swap(shown.front(), validity);
      if (s_.quirks.append_uid == A::repeated)
        for (auto& u : shown) u = shown.front();
      if (s_.quirks.append_uid == A::too_low)
        for (auto& u : shown) u -= static_cast<std::uint32_t>(shown.size());
      if (s_.quirks.append_uid == A::wrong_validity) {  // those of another mailbox
        ++validity;
        for (auto& u : shown) u += 1000;
      }
      if (s_.quirks.append_uid == A::far_too_high)
        for (auto& u : shown) u += 1000;
      std::string list;
      for (const auto u : shown) list += (list.empty() ? "" : ",") + std::to_string(u);
      code = "[APPENDUID " + std::to_string(validity) + " " + list + "] ";
    }
    say(tag + " OK " + code + "stored");
  }

  ModelServer& s_;
  std::function<void()> step_;
  std::string out_, line_, command_, user_, selected_;
  std::vector<std::string> literals_;
  std::size_t missing_ = 0;
  bool closed_ = false;
  std::uint32_t next_validity_ = 7;
};

std::unique_ptr<imap::Transport> ModelServer::connect(std::function<void()> step) {
  return std::make_unique<ModelConnection>(*this, std::move(step));
}

asio::awaitable<std::unique_ptr<imap::Transport>> ModelDialer::dial(base::Endpoint endpoint) {
  if (step) step();
  co_return (endpoint.side == "source" ? source_ : target_).connect(step);
}

}  // namespace test
