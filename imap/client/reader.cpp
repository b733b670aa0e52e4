#include "imap/client/reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "imap/protocol/date_time.hpp"

namespace imap {

namespace asio = boost::asio;
using base::Remedy;
using base::Scope;
using base::Uid;

namespace {

base::Failed untrustworthy(const Session& session, const std::string& what) {
  return base::Failed({Scope::mailbox, Remedy::reconnect,
                       fmt::format("{}: {} in \"{}\". The answer cannot be trusted and is not used.", session.who(),
                                   what, session.open_mailbox())});
}

// The FETCH that a response is, null for any other. One that does not parse might be about any message: nothing can be
// believed after it.
Fetched* fetched(const Session& session, Untagged& response) {
  if (const auto* o = std::get_if<Other>(&response); o != nullptr && o->keyword == "FETCH" && !o->why.empty())
    throw untrustworthy(session, "a FETCH response is malformed (" + o->why + ")");
  return std::get_if<Fetched>(&response);
}

bool has_body(const Untagged& response) {
  const auto* f = std::get_if<Fetched>(&response);
  return f != nullptr && f->body != BodyKind::absent;
}

Envelope envelope_of(Fetched&& f) {
  Envelope e;
  e.uid = f.uid.value_or(Uid());
  // A lie of any size is still only a lie about the plan; kept small enough to be added up (F43).
  e.size = std::min<base::Octets>(f.size.value_or(0), Limits{}.literal);
  if (f.internal_date) e.date = parse_date_time(*f.internal_date);
  if (f.flags) e.flags = std::move(*f.flags);
  return e;
}

constexpr base::Octets kMostHeld = 8 * 1024 * 1024;  // of one request
constexpr std::uint64_t kSlack = 10'000;             // mail that comes in while a mailbox is listed

class ListSink : public Sink {
 public:
  ListSink(Session& session, Uid from, Uid to, bool with_flags, std::size_t chunk, EnvelopeReceiver receive)
      : session_(session), from_(from), to_(to), with_flags_(with_flags), chunk_(chunk), receive_(std::move(receive)) {}
  void untagged(Untagged&& response) override {
    auto* f = fetched(session_, response);
    if (f == nullptr || !f->uid) return;
    if (with_flags_ && !f->size) return;  // an unasked flag update
    if (*f->uid < from_ || *f->uid >= to_)
      throw untrustworthy(session_, fmt::format("the server listed UID {}, which was not asked for", f->uid->value));
    if (*f->uid <= last_)
      throw untrustworthy(session_, fmt::format("the server listed UID {} out of order or twice", f->uid->value));
    last_ = *f->uid;
    if (++count > session_.exists() + kSlack)
      throw untrustworthy(session_, "the server lists more messages than it has");
    found_.push_back(envelope_of(std::move(*f)));
  }
  bool carries_mail() const override { return true; }
  bool asked_for(const Untagged& response) const override {
    const auto* f = std::get_if<Fetched>(&response);
    return f != nullptr && f->uid && (f->size || !with_flags_);
  }
  bool full() const override { return found_.size() >= chunk_; }
  asio::awaitable<void> drain() override {
    auto now = std::exchange(found_, {});
    co_await receive_(std::move(now));
  }
  asio::awaitable<void> answered(const Answer& answer) override {
    if (answer.ok() && !found_.empty()) co_await drain();
  }
  std::uint64_t count = 0;

 private:
  Session& session_;
  Uid from_, to_, last_;
  bool with_flags_;
  std::size_t chunk_;
  EnvelopeReceiver receive_;
  std::vector<Envelope> found_;
};

class BodySink final : public Sink {
 public:
  BodySink(Session& session, Keep keep, base::Fingerprinter::E1x e1x, std::vector<ReadMessage>& out,
           base::Octets may_hold)
      : session_(session), keep_(keep), e1x_(e1x), out_(out), may_hold_(may_hold) {
    for (std::size_t i = 0; i < out.size(); ++i) at_[out[i].envelope.uid] = i;
  }
  void untagged(Untagged&& response) override {
    auto* f = fetched(session_, response);
    if (f == nullptr || !f->uid || f->body == BodyKind::absent) return;
    const auto it = at_.find(*f->uid);
    if (it == at_.end())
      throw untrustworthy(session_, fmt::format("the server sent UID {}, which was not asked for", f->uid->value));
    ReadMessage& m = out_[it->second];
    if (m.found != BodyFound::vanished)
      throw untrustworthy(session_, fmt::format("the server sent UID {} twice", f->uid->value));
    std::string octets = std::move(f->octets);
    const BodyKind body = f->body;
    m.envelope = envelope_of(std::move(*f));
    if (body == BodyKind::nil) return;
    if (body == BodyKind::streamed) {
      m.print = large_ ? large_->finish() : base::Fingerprint{};
      large_.reset();
      m.envelope.size = m.print.octets;
      m.found = m.print.octets == announced_ ? BodyFound::too_large : BodyFound::vanished;
      return;
    }
    m.print = base::fingerprint(octets, e1x_);
    m.envelope.size = octets.size();
    m.found = octets.empty() ? BodyFound::empty : BodyFound::whole;
    if (keep_ != Keep::octets) return;
    // The request was sized by what the server had announced: one that understates cannot make us hold it all.
    if (held_ + octets.size() > may_hold_) {
      m.found = BodyFound::too_large;
      return;
    }
    held_ += octets.size();
    m.octets = std::move(octets);
  }
  base::Octets held() const { return held_; }
  bool carries_mail() const override { return true; }
  bool asked_for(const Untagged& response) const override { return has_body(response); }
  asio::awaitable<void> large_begin(std::uint64_t n) override {
    large_.emplace(e1x_);
    announced_ = n;
    co_return;
  }
  asio::awaitable<void> large_chunk(std::string_view octets) override {
    if (large_) large_->add(octets);
    co_return;
  }

 private:
  Session& session_;
  Keep keep_;
  base::Fingerprinter::E1x e1x_;
  std::vector<ReadMessage>& out_;
  std::unordered_map<Uid, std::size_t> at_;
  std::optional<base::Fingerprinter> large_;
  base::Octets may_hold_, announced_ = 0, held_ = 0;
};

// Gives a body to a receiver, whether it came whole or in chunks.
class StreamSink final : public Sink {
 public:
  StreamSink(Session& session, Uid uid, BodyReceiver& receiver, base::Fingerprinter::E1x e1x)
      : session_(session), uid_(uid), receiver_(receiver), print_(e1x) {}
  void untagged(Untagged&& response) override {
    auto* f = fetched(session_, response);
    if (f == nullptr || f->body == BodyKind::absent) return;
    if (!f->uid || *f->uid != uid_ || parsed_)
      throw untrustworthy(session_, "the server sent another message than the one asked for");
    if (f->body == BodyKind::octets) small_ = std::move(f->octets);
    body_ = f->body;
    parsed_ = true;
  }
  bool carries_mail() const override { return true; }
  bool asked_for(const Untagged& response) const override { return has_body(response); }
  // A small body is handed on as soon as it is parsed.
  bool full() const override { return !small_.empty(); }
  asio::awaitable<void> drain() override {
    const std::string octets = std::exchange(small_, {});
    co_await large_begin(octets.size());
    co_await large_chunk(octets);
  }
  asio::awaitable<void> large_begin(std::uint64_t n) override {
    announced_ = n;
    wanted_ = co_await receiver_.begin(n);
  }
  asio::awaitable<void> large_chunk(std::string_view octets) override {
    print_.add(octets);
    got_ += octets.size();
    if (wanted_) co_await receiver_.chunk(octets);
  }
  ReadMessage finish(const base::Result<void>& answered) {
    ReadMessage m;
    m.envelope.uid = uid_;
    m.envelope.size = got_;
    if (!answered) {
      m.found = BodyFound::refused;
      m.words = answered.error().text;
    } else if (!parsed_ || body_ == BodyKind::nil || got_ != announced_) {
      m.found = BodyFound::vanished;
    } else {
      m.found = got_ == 0 ? BodyFound::empty : BodyFound::whole;
      m.print = print_.finish();
    }
    return m;
  }

 private:
  Session& session_;
  Uid uid_;
  BodyReceiver& receiver_;
  base::Fingerprinter print_;
  std::string small_;
  BodyKind body_ = BodyKind::absent;
  bool parsed_ = false, wanted_ = false;
  base::Octets announced_ = 0, got_ = 0;
};

}  // namespace

asio::awaitable<base::Result<std::uint64_t>> list_messages(Session& session, Uid from, Uid to, std::string_view items,
                                                           std::size_t chunk, EnvelopeReceiver receive) {
  if (to <= from) co_return std::uint64_t{0};
  UidSet set;
  set.add(UidRange{from, Uid(to.value - 1)});
  ListSink sink(session, from, to, items.find("RFC822.SIZE") != std::string_view::npos, chunk, std::move(receive));
  auto done = co_await session.uid_fetch(set, items, sink);
  if (!done) co_return tl::unexpected(std::move(done).error());
  co_return sink.count;
}

namespace {

class ListMailboxSink final : public ListSink {
 public:
  ListMailboxSink(Session& session, Visit& visit, MailboxToList& to_list, std::size_t chunk, bool with_sizes)
      : ListSink(
            session, Uid(1), kEnd, with_sizes, chunk,
            [&visit, &to_list](std::vector<Envelope> some) { return to_list.receive(*visit.opened, std::move(some)); }),
        visit_(visit),
        to_list_(to_list) {}
  asio::awaitable<void> answered(const Answer& answer) override {
    co_await ListSink::answered(answer);
    if (answer.ok()) co_await to_list_.done(*visit_.opened, count);
  }
  static constexpr Uid kEnd{UINT32_MAX};

 private:
  Visit& visit_;
  MailboxToList& to_list_;
};

}  // namespace

asio::awaitable<void> list_mailboxes(Session& session, std::vector<MailboxToList> mailboxes, bool modseq,
                                     std::string_view items, std::size_t chunk) {
  const bool with_sizes = items.find("RFC822.SIZE") != std::string_view::npos;
  std::vector<Visit> visits(mailboxes.size());
  std::deque<ListMailboxSink> sinks;
  for (std::size_t i = 0; i < visits.size(); ++i) {
    auto& v = visits[i];
    v.mailbox = mailboxes[i].mailbox;
    v.modseq = modseq;
    v.set.add(UidRange{Uid(1), Uid(ListMailboxSink::kEnd.value - 1)});
    v.items = items;
    v.sink = &sinks.emplace_back(session, v, mailboxes[i], chunk, with_sizes);
  }
  co_await session.visit_each(visits);
}

namespace {
asio::awaitable<void> append_to(std::vector<Envelope>* all, std::vector<Envelope> some) {
  all->insert(all->end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  co_return;
}
}  // namespace

asio::awaitable<base::Result<std::vector<Envelope>>> list_messages(Session& session, Uid from, Uid to,
                                                                   std::string_view items) {
  std::vector<Envelope> all;
  EnvelopeReceiver receive = [&all](std::vector<Envelope> some) { return append_to(&all, std::move(some)); };
  auto done = co_await list_messages(session, from, to, items, SIZE_MAX, std::move(receive));
  if (!done) co_return tl::unexpected(std::move(done).error());
  co_return all;
}

namespace {
constexpr base::Octets kWindowOctets = 16 * 1024 * 1024;
constexpr std::size_t kWindowMessages = 1000;
}  // namespace

std::vector<std::vector<Uid>> windows(const std::vector<Envelope>& messages) {
  std::vector<std::vector<Uid>> out;
  base::Octets octets = 0;
  for (const auto& m : messages) {
    if (out.empty() || out.back().size() >= kWindowMessages || octets + m.size > kWindowOctets) {
      out.emplace_back();
      octets = 0;
    }
    out.back().push_back(m.uid);
    octets += m.size;
  }
  return out;
}

namespace {

constexpr std::string_view kBodies = "(UID FLAGS INTERNALDATE BODY.PEEK[])";

std::vector<ReadMessage> to_read(const std::vector<Uid>& uids, UidSet& set) {
  std::vector<ReadMessage> out(uids.size());
  for (std::size_t i = 0; i < uids.size(); ++i) {
    out[i].envelope.uid = uids[i];
    set.add(uids[i]);
  }
  return out;
}

// `may_hold`: octets, all together.
asio::awaitable<std::vector<ReadMessage>> read_within(Session* session, std::vector<Uid> uids, Keep keep,
                                                      base::Fingerprinter::E1x e1x, base::Octets* may_hold);

// One message may have spoilt the answer for all: it is found by halves.
asio::awaitable<std::vector<ReadMessage>> read_halves(Session* session, std::vector<Uid> uids, Keep keep,
                                                      base::Fingerprinter::E1x e1x, std::string words,
                                                      base::Octets* may_hold) {
  if (uids.size() == 1) {
    std::vector<ReadMessage> one(1);
    one[0].envelope.uid = uids[0];
    one[0].found = BodyFound::refused;
    one[0].words = std::move(words);
    co_return one;
  }
  const auto middle = uids.begin() + static_cast<std::ptrdiff_t>(uids.size() / 2);
  std::vector<Uid> first(uids.begin(), middle), second(middle, uids.end());
  auto out = co_await read_within(session, std::move(first), keep, e1x, may_hold);
  auto rest = co_await read_within(session, std::move(second), keep, e1x, may_hold);
  std::move(rest.begin(), rest.end(), std::back_inserter(out));
  co_return out;
}

asio::awaitable<std::vector<ReadMessage>> read_within(Session* session, std::vector<Uid> uids, Keep keep,
                                                      base::Fingerprinter::E1x e1x, base::Octets* may_hold) {
  UidSet set;
  auto out = to_read(uids, set);
  if (uids.empty()) co_return out;
  BodySink sink(*session, keep, e1x, out, *may_hold);
  const auto done = co_await session->uid_fetch(set, kBodies, sink);
  *may_hold -= done ? sink.held() : 0;
  if (done) co_return out;
  out.clear();  // what has come is read again: it need not be held meanwhile
  co_return co_await read_halves(session, std::move(uids), keep, e1x, done.error().text, may_hold);
}

}  // namespace

asio::awaitable<std::vector<ReadMessage>> read_messages(Session& session, std::vector<Uid> uids, Keep keep,
                                                        base::Fingerprinter::E1x e1x) {
  base::Octets may_hold = kMostHeld;
  co_return co_await read_within(&session, std::move(uids), keep, e1x, &may_hold);
}

asio::awaitable<ReadMailbox> open_and_read(Session& session, std::string mailbox, std::vector<Uid> uids, Keep keep,
                                           base::Fingerprinter::E1x e1x) {
  std::vector<Visit> visits(1);
  Visit& visit = visits.front();
  visit.mailbox = std::move(mailbox);
  visit.items = kBodies;
  ReadMailbox out;
  out.messages = to_read(uids, visit.set);
  base::Octets may_hold = kMostHeld;
  BodySink sink(session, keep, e1x, out.messages, may_hold);
  visit.sink = &sink;
  co_await session.visit_each(visits);
  out.opened = std::move(visit.opened);
  if (!out.opened || visit.fetched) co_return out;
  out.messages.clear();
  auto again = co_await read_halves(&session, std::move(uids), keep, e1x, visit.fetched.error().text, &may_hold);
  out.messages = std::move(again);
  co_return out;
}

asio::awaitable<ReadMessage> stream_message(Session& session, Uid uid, BodyReceiver& receiver,
                                            base::Fingerprinter::E1x e1x) {
  UidSet set;
  set.add(uid);
  StreamSink sink(session, uid, receiver, e1x);
  const auto done = co_await session.uid_fetch(set, "(UID BODY.PEEK[])", sink);
  co_return sink.finish(done);
}

}  // namespace imap
