#include "load/mailbox_loader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <tuple>

#include "base/tasks.hpp"
#include "base/text.hpp"
#include "imap/protocol/date_time.hpp"
#include "imap/protocol/mailbox_name.hpp"
#include "imap/protocol/uid_set.hpp"
#include "load/quarantine.hpp"

namespace load {

namespace asio = boost::asio;
using base::Remedy;
using base::Scope;
using base::Uid;
using state::Db;
using state::MessageRow;
using state::MessageState;
using state::Outcome;

namespace {

constexpr int kRefusedInARow = 50;
constexpr const char* kBeyondLimit = "larger than the target takes";

// A server's NO to a FETCH that is about the server, not about the message (RFC 5530).
bool is_busy(const std::string& words) {
  for (const char* code : imap::kBusyCodes)
    if (words.find(fmt::format("[{}]", code)) != std::string::npos) return true;
  return base::lower(words).find("try again") != std::string::npos || base::stated_pause(words);
}

// RFC 4315: "APPENDUID validity uid-set", of exactly `count` UIDs in ascending order. A validity that is not known yet
// is learnt from it.
std::optional<std::vector<Uid>> append_uids(const imap::Answer& answer, base::UidValidity* validity,
                                            std::size_t count) {
  if (answer.tagged.code.name != "APPENDUID") return std::nullopt;
  const auto words = base::split(answer.tagged.code.arguments, ' ');
  if (words.size() != 2) return std::nullopt;
  const auto v = imap::parse_number(words[0]);
  const auto set = imap::UidSet::parse(words[1]);
  if (!v || *v == 0 || *v > UINT32_MAX || (*validity && *v != validity->value) || !set || set->count() != count)
    return std::nullopt;
  std::vector<Uid> out;
  for (const auto& r : set->ranges())
    for (std::uint64_t u = r.first.value; u <= r.last.value; ++u) out.emplace_back(static_cast<std::uint32_t>(u));
  if (std::adjacent_find(out.begin(), out.end(), std::greater_equal<>()) != out.end())
    return std::nullopt;  // strictly ascending
  *validity = base::UidValidity(static_cast<std::uint32_t>(*v));
  return out;
}

// A name in a set, as long as it lives.
class AtWork {
 public:
  AtWork(std::set<std::string>& all, std::string name) : all_(all), name_(std::move(name)) { all_.insert(name_); }
  ~AtWork() { all_.erase(name_); }
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;

 private:
  std::set<std::string>& all_;
  std::string name_;
};

constexpr std::uint32_t kFresh = 1000;  // UIDs: no more than these are looked at twice

// Key of the time, in seconds since 1970, when a mailbox with a gap was first met (remember_gap).
std::string first_met(state::MailboxId id) { return fmt::format("first met {}", id.value); }

}  // namespace

MailboxLoader::MailboxLoader(LoadContext& context, state::MailboxRow mailbox, std::optional<imap::Opened> selected,
                             std::unique_ptr<WindowReader> windows)
    : context_(context),
      mailbox_(std::move(mailbox)),
      selected_(std::move(selected)),
      windows_(windows ? std::move(windows) : std::make_unique<WindowReader>(context.windows(), mailbox_)) {}

std::string MailboxLoader::where() const {
  return fmt::format("\"{}\" of {}", base::printable(mailbox_.target_name), context_.account);
}

// ---- looking ----

asio::awaitable<MailboxLoader::Alone> MailboxLoader::alone() {
  if (alone_) co_return Alone(nullptr, base::SharedLock::Hold());
  auto hold = co_await context_.target_use.alone();
  alone_ = true;
  co_return Alone(this, std::move(hold));
}

// Another loader may have selected its own mailbox meanwhile.
asio::awaitable<void> MailboxLoader::stand() {
  if (context_.target.open_mailbox() != mailbox_.target_wire) co_await reopen();
}

asio::awaitable<void> MailboxLoader::reopen() {
  auto opened = co_await context_.target.select(mailbox_.target_wire);
  if (!opened)
    throw base::Failed({Scope::mailbox, Remedy::skip,
                        fmt::format("Could not open {} on the target: {}. Its messages stay pending; "
                                    "run again when it can be opened.",
                                    where(), opened.error().text)});
  co_await take(std::move(*opened));
}

asio::awaitable<void> MailboxLoader::take(imap::Opened opened) {
  if (opened.uid_not_sticky || !opened.uid_validity)
    throw base::Failed(
        {Scope::mailbox, Remedy::skip,
         fmt::format(
             "The target gives {} no UIDs that last, so nothing in it could be proven. Its messages stay pending.",
             where())});
  const bool another = opened_.uid_validity && opened.uid_validity != opened_.uid_validity;
  if (another && !unopened_)
    throw base::Failed(
        {Scope::mailbox, Remedy::skip,
         fmt::format(
             "{} was created anew on the target while we worked on it (its UIDVALIDITY changed). Nothing more is "
             "sent to it in this run; run again to reconcile.",
             where())});
  if (another) {  // what APPENDUID told of it is not so
    co_await forget_uids();
    used_now_.clear();
    bound_in_bracket_ = 0;
    acked_ = true;
  }
  opened_ = std::move(opened);
  if (std::exchange(unopened_, false)) co_await meet();
  if (opened_.uid_validity != mailbox_.target_validity) co_return;
  const state::MailboxId id = mailbox_.id;
  // A UID at or above UIDNEXT names nothing: a server that lied about it (APPENDUID) is found out by content.
  auto disbelieve = [id, next = opened_.uid_next](Db& db) { return state::disbelieve_uids_from(db, id, next); };
  if (const auto n = co_await context_.store.run(std::move(disbelieve)); n > 0)
    context_.event("target UIDs not believed",
                   fmt::format("{} in {} had UIDs that the mailbox has not reached",
                               base::plural(static_cast<std::uint64_t>(n), "message"), where()),
                   id);
}

// Nothing was there when it was selected that had to be looked at. What has come since lies above that UIDNEXT, and is
// told from ours when the mailbox is finished.
bool MailboxLoader::nothing_new() const {
  if (!selected_) return false;
  return mailbox_.target_validity
             ? selected_->uid_validity == mailbox_.target_validity && selected_->uid_next == mailbox_.low_water
             : selected_->uid_next == Uid(1) && selected_->exists == 0;
}

asio::awaitable<void> MailboxLoader::open_and_look() {
  std::optional<Alone> session;
  if (nothing_new()) {
    unopened_ = !selected_->uid_validity;
    if (unopened_) opened_ = *selected_;
    else co_await take(*selected_);
  } else {
    auto mine = co_await alone();
    session.emplace(std::move(mine));
    co_await reopen();
  }
  const state::MailboxId id = mailbox_.id;
  const bool first = !mailbox_.target_validity;
  const bool changed =
      !first && (mailbox_.target_validity != opened_.uid_validity || opened_.uid_next < mailbox_.low_water);
  if (changed) {
    context_.event(
        "target mailbox changed",
        fmt::format("{} is not the mailbox it was (UIDVALIDITY {} -> {}, UIDNEXT {}). Everything in it is found again "
                    "by content; "
                    "nothing was sent or changed before that.",
                    where(), mailbox_.target_validity.value, opened_.uid_validity.value, opened_.uid_next.value),
        id);
    co_await forget_uids();
  }
  if (first || changed) {
    mailbox_.target_validity = opened_.uid_validity;
    mailbox_.low_water = Uid(1);
    // Of a mailbox that we made, and lost sight of before its UIDVALIDITY was known, all is from after that.
    if (changed || !mailbox_.first_u0) mailbox_.first_u0 = opened_.uid_next;
    co_await meet();
  }
  u0_ = opened_.uid_next;
  unseen_from_ = mailbox_.low_water;
  co_await look(context_.target, Completeness::as_it_is);
  co_await remember_gap();
  co_await bind_in_doubt();
}

// Everything that is bound is found again by content.
asio::awaitable<void> MailboxLoader::forget_uids() {
  auto forget = [id = mailbox_.id](Db& db) {
    state::forget_target_uids(db, id);
    state::set_meta(db, first_met(id), "");
  };
  co_await context_.store.run_in_order(std::move(forget));
}

// Recorded before anything that was learnt in it.
asio::awaitable<void> MailboxLoader::meet() {
  mailbox_.target_validity = opened_.uid_validity;
  const state::TargetSettled settled{mailbox_.target_validity, mailbox_.low_water, mailbox_.first_u0};
  auto save = [id = mailbox_.id, settled](Db& db) { state::set_target_settled(db, id, settled); };
  co_await context_.store.run_in_order(std::move(save));
}

// A mailbox that we made is sent to unopened as long as each answer shows that nothing is in it but what we sent.
asio::awaitable<void> MailboxLoader::open_unless_ours() {
  if (!unopened_ || seamless()) co_return;
  co_await flush();
  const auto session = co_await alone();
  co_await reopen();
  co_await look(context_.target, Completeness::as_it_is);
  co_await bind_in_doubt();
}

// Everything in [u0, highest] is ours, one UID each: nothing else can be there, and no look is needed.
bool MailboxLoader::seamless() const {
  return !acked_ && !resent_ &&
         (bound_in_bracket_ == 0 ||
          (highest_bound_ >= u0_ && highest_bound_.value - u0_.value + 1 == bound_in_bracket_));
}

// Among the last UIDs below the UIDNEXT of the first meeting one is not shown: deleted, or fresh and late to show. No
// intent tells of what a lost state had sent, so the next run looks again, until a settle has passed since then.
asio::awaitable<void> MailboxLoader::remember_gap() {
  if (gap_ >= mailbox_.first_u0) co_return;
  auto met = [key = first_met(mailbox_.id), now = context_.clock.unix_seconds()](Db& db) {
    const std::string since = state::meta(db, key);
    if (since.empty()) state::set_meta(db, key, std::to_string(now));
    return since.empty() ? now : std::stoll(since);
  };
  const auto since = std::chrono::seconds(co_await context_.store.run_in_order(std::move(met)));
  if (std::chrono::seconds(context_.clock.unix_seconds()) - since <= context_.options.settle) look_again_from_ = gap_;
}

// Reads every unbound message below UIDNEXT that has not been seen yet, once. Afterwards nothing there is unknown.
// `strict`: something depends on what is *not* found, so the list must be as long as EXISTS says.
asio::awaitable<void> MailboxLoader::look(imap::Session& session, Completeness completeness) {
  const Uid from = unseen_from_, to = opened_.uid_next;
  auto all = co_await imap::list_messages(session, from, to);
  if (!all)
    throw base::Failed(
        {Scope::mailbox, Remedy::skip,
         fmt::format("Could not list {} on the target: {}. Its messages stay pending.", where(), all.error().text)});
  if (completeness == Completeness::strict) {
    std::uint64_t count = all->size();
    if (from.value > 1) {
      const auto below = co_await imap::list_messages(session, Uid(1), from, "(UID)");
      count += below ? below->size() : 0;
    }
    if (count != opened_.exists)
      throw base::Failed(
          {Scope::mailbox, Remedy::reconnect,
           fmt::format(
               "The target listed {} of the {} in {}: what is missing in such a list proves nothing. Its messages stay "
               "pending.",
               count, base::plural(opened_.exists, "message"), where())});
  }
  // Without a gap there is nothing that could still come to light below UIDNEXT.
  if (to > from && all->size() == to.value - from.value) unseen_from_ = to;
  std::vector<Uid> bound;
  if (from < to) {
    auto bound_query = [id = mailbox_.id, from, to](Db& db) { return state::bound_uids(db, id, from, to); };
    bound = co_await context_.store.run(std::move(bound_query));
  }
  gap_ = std::max(from, Uid(mailbox_.first_u0.value > kFresh ? mailbox_.first_u0.value - kFresh : 1));
  for (const auto& e : *all)
    if (e.uid == gap_) gap_ = Uid(gap_.value + 1);
  std::set<Uid> known(used_now_.lower_bound(u0_), used_now_.end());
  known.insert(std::lower_bound(bound.begin(), bound.end(), u0_), bound.end());
  for (const auto& e : *all)
    if (e.uid >= u0_) known.insert(e.uid);
  unshown_ = to > u0_ && known.size() < to.value - u0_.value;
  std::vector<imap::Envelope> unknown;
  for (auto& e : *all) {
    if (std::binary_search(bound.begin(), bound.end(), e.uid) || used_now_.contains(e.uid) || unbound_.has_read(e.uid))
      continue;
    unknown.push_back(std::move(e));
  }
  for (auto& window : imap::windows(unknown)) {
    auto read = co_await imap::read_messages(session, std::move(window), imap::Keep::fingerprint,
                                             base::Fingerprinter::E1x::always);
    for (auto& m : read) {
      if (m.found == imap::BodyFound::vanished) {
        // Deleted meanwhile, or only not given out? One that is still listed could be ours.
        const auto again =
            co_await imap::list_messages(session, m.envelope.uid, Uid(m.envelope.uid.value + 1), "(UID)");
        if (again && again->empty()) continue;
        m.found = imap::BodyFound::refused;
        m.words = "it is listed, and no octets of it come";
      }
      if (m.found == imap::BodyFound::refused)
        throw base::Failed(
            {Scope::mailbox, Remedy::skip,
             fmt::format(
                 "Could not read UID {} in {} on the target, which may be a message of ours: {}. The messages of this "
                 "mailbox stay pending.",
                 m.envelope.uid.value, where(), m.words)});
      unbound_.add({m.envelope.uid, m.print, m.envelope.date, state::canonical_flags(std::move(m.envelope.flags))});
    }
  }
}

std::string MailboxLoader::flags_as_sent(const std::string& flags) const {
  return state::canonical_flags(sendable(flags).kept);
}

Copy* MailboxLoader::find_unbound(const base::Fingerprint& print, const MessageRow& row, Likeness at_least) {
  return unbound_.find(
      print, row.date, [&] { return flags_as_sent(row.flags); }, at_least);
}

bool MailboxLoader::is_like(const Copy& copy, const state::Twin& twin) const {
  return copy.flags == flags_as_sent(twin.flags) && (!twin.date || (copy.date && copy.date->same_instant(*twin.date)));
}

// As find_unbound. But a copy with another date that is just what we sent for an equal message, and perhaps twice, is
// that one's late second copy: this row gets its own, and the sweep deals with the spare one.
asio::awaitable<Copy*> MailboxLoader::find_copy(base::Fingerprint print, MessageRow row, Likeness at_least) {
  for (;;) {
    Copy* s = find_unbound(print, row, at_least);
    if (s == nullptr || s->uid < mailbox_.first_u0 || !row.date || (s->date && s->date->same_instant(*row.date)))
      co_return s;
    auto query = [id = mailbox_.id, self = row.id, e1 = s->print.e1](Db& db) {
      return state::sent_more_than_once(db, id, self, e1);
    };
    const auto twins = co_await context_.store.run(std::move(query));
    if (std::none_of(twins.begin(), twins.end(), [&](const auto& t) { return t.date && is_like(*s, t); })) co_return s;
    s->spare = true;
  }
}

std::vector<state::Note> MailboxLoader::stored_notes(const MessageRow& row, const std::optional<base::DateTime>& date,
                                                     const std::string& there) const {
  std::vector<state::Note> notes;
  if (row.date && (!date || !date->same_instant(*row.date)))
    notes.push_back({"date", fmt::format("sent {}, the target stores {}", imap::format_date_time(*row.date),
                                         date ? imap::format_date_time(*date) : std::string("no date"))});
  if (there != row.flags) {
    std::vector<std::string> lost;
    const auto have = state::flag_names(there);
    for (const auto& f : state::flag_names(row.flags))
      if (std::find(have.begin(), have.end(), f) == have.end()) lost.push_back(f);
    if (!lost.empty()) notes.push_back({"flags", "not kept: " + base::join(lost, " ")});
  }
  return notes;
}

Outcome MailboxLoader::bind_to_copy(const MessageRow& row, const base::Fingerprint& print, Copy& copy,
                                    const std::string& how) {
  unbound_.take(copy);
  Outcome o{row.id, copy.uid, true, stored_notes(row, copy.date, copy.flags)};
  if (print.e1 != copy.print.e1) o.notes.push_back({"rewritten", "the target rewrote raw 8-bit octets of the header"});
  if (!how.empty()) o.notes.push_back({"found", how});
  used_now_.insert(copy.uid);
  highest_bound_ = std::max(highest_bound_, copy.uid);
  count_settled(row.id);
  return o;
}

// Rows whose APPEND was on its way, or was acknowledged without a UID, against what the look has found: count-wise,
// acked first, then intents, both in source order.
asio::awaitable<void> MailboxLoader::bind_in_doubt() {
  assert(outcomes_.empty());  // what has been answered is in the store, and in doubt no longer
  const state::MailboxId id = mailbox_.id;
  auto query = [id](Db& db) { return state::in_doubt(db, id); };
  auto rows = co_await context_.store.run(std::move(query));
  std::vector<Outcome> outcomes;
  doubtful_ = 0;
  doubtful_octets_ = 0;
  std::optional<std::unordered_set<base::Digest, base::DigestHash>> several;
  // The most like first: of equal copies none goes to a row while another row is more like it.
  for (const auto at_least : {Likeness::both, Likeness::date, Likeness::flags, Likeness::content})
    for (auto& row : rows) {
      if (!row.e1) continue;
      base::Fingerprint print;
      print.e1 = *row.e1;
      print.e1x = row.e1x;
      Copy* s = find_unbound(print, row, at_least);
      if (s != nullptr && at_least < Likeness::date) {
        if (!several) {
          auto several_query = [id](Db& db) { return state::contents_of_several(db, id); };
          several = co_await context_.store.run(std::move(several_query));
        }
        if (several->contains(print.e1)) s = co_await find_copy(print, row, at_least);
      }
      if (s == nullptr) continue;
      outcomes.push_back(bind_to_copy(row, print, *s, {}));
      row.e1.reset();
      row.state = MessageState::bound;
    }
  for (const auto& row : rows)
    if (row.state == MessageState::intent) {
      ++doubtful_;
      doubtful_octets_ += row.octets;
    }
  if (outcomes.empty()) co_return;
  auto commit = [outcomes](Db& db) { state::commit_window(db, outcomes, {}); };
  co_await context_.store.run_in_order(std::move(commit));
}

asio::awaitable<bool> MailboxLoader::look_again() {
  const auto session = co_await alone();
  const std::size_t doubt = doubtful_;
  co_await context_.target.noop();
  co_await reopen();
  co_await look(context_.target, Completeness::strict);
  co_await bind_in_doubt();
  u0_ = opened_.uid_next;
  const bool still_arriving = doubtful_ != 0 && doubtful_ < doubt;
  co_return still_arriving;
}

asio::awaitable<void> MailboxLoader::give_verdict() {
  const auto session = co_await alone();
  const state::MailboxId id = mailbox_.id;
  const auto query = [id](Db& db) { return state::in_doubt(db, id); };
  auto rows = co_await context_.store.run(query);
  std::vector<state::MessageId> absent;
  std::vector<MessageRow> lost;
  // Nothing is called absent on the strength of a list that could be short.
  if (!rows.empty()) {
    co_await stand();
    co_await look(context_.target, Completeness::strict);
    co_await bind_in_doubt();
    rows = co_await context_.store.run(query);
  }
  for (auto& r : rows) {
    if (r.state == MessageState::intent) absent.push_back(r.id);
    else lost.push_back(r);
  }
  if (!absent.empty()) {
    resent_ = true;
    auto back = [absent](Db& db) { state::back_to_listed(db, absent); };
    co_await context_.store.run(std::move(back));
  }
  if (lost.empty()) co_return;
  // "Stored", said the server, and this session does not see it: some servers hide fresh messages. After a settle a
  // second session decides.
  co_await context_.clock.sleep(context_.options.settle);
  {
    auto fresh = co_await context_.fresh_target();
    auto opened = co_await fresh->select(mailbox_.target_wire);
    if (!opened || opened->uid_validity != opened_.uid_validity)
      throw base::Failed({Scope::mailbox, Remedy::skip,
                          fmt::format("Could not open {} a second time to look for {}. They stay pending.", where(),
                                      base::plural(lost.size(), "message"))});
    opened_ = std::move(*opened);
    unseen_from_ = mailbox_.low_water;
    co_await look(*fresh, Completeness::strict);
    co_await fresh->logout();
  }
  co_await bind_in_doubt();
  rows = co_await context_.store.run(query);
  std::erase_if(rows, [](const MessageRow& r) { return r.state != MessageState::acked; });
  if (rows.empty()) co_return;
  auto nowhere = co_await find_elsewhere(std::move(rows));
  for (auto& row : nowhere) co_await quarantine_lost(std::move(row));
}

// Acknowledged, and two sessions do not show it here: its user may have moved it already. Looked for in the account's
// other mailboxes; returns those that are not there either.
asio::awaitable<std::vector<MessageRow>> MailboxLoader::find_elsewhere(std::vector<MessageRow> lost) {
  std::unordered_map<base::Digest, std::vector<MessageRow>, base::DigestHash> wanted;
  std::set<base::Octets> sizes;
  for (auto& r : lost) {
    sizes.insert(r.octets != 0 ? r.octets : r.size);
    if (r.e1) wanted[*r.e1].push_back(r);
  }
  for (const auto& item : co_await context_.target.list()) {
    if (item.name == mailbox_.target_wire || context_.at_work.contains(item.name)) continue;
    if (item.has("\\noselect")) continue;
    auto opened = co_await context_.target.examine(item.name);
    if (!opened || opened->exists == 0) continue;
    auto all = co_await imap::list_messages(context_.target, Uid(1), opened->uid_next);
    if (!all) continue;
    // One that is bound is another message's copy, however equal; one wrongly held for bound costs nothing but that a
    // message that was moved is quarantined. A server may have changed line ends: sizes nominate generously, E1
    // decides.
    auto taken_query = [account = mailbox_.account, wire = item.name](Db& db) {
      return state::bound_uids_there(db, account, wire);
    };
    const auto taken = co_await context_.store.run(std::move(taken_query));
    std::erase_if(*all, [&](const imap::Envelope& e) {
      if (std::binary_search(taken.begin(), taken.end(), e.uid)) return true;
      const auto it = sizes.lower_bound(e.size - e.size / 10);
      return it == sizes.end() || *it > e.size + e.size / 10 + 64;
    });
    for (auto& window : imap::windows(*all)) {
      for (auto& m : co_await imap::read_messages(context_.target, std::move(window), imap::Keep::fingerprint,
                                                  base::Fingerprinter::E1x::always)) {
        const auto it = wanted.find(m.print.e1);
        if (it == wanted.end() || it->second.empty()) continue;
        const auto row = it->second.back();
        it->second.pop_back();
        const std::string reason = fmt::format("stored on the target and found in \"{}\": it was moved there since",
                                               base::printable(imap::from_mutf7(item.name).value_or(item.name)));
        auto save = [id = row.id, reason](Db& db) { state::set_excluded(db, id, reason); };
        co_await context_.store.run(std::move(save));
        count_settled(row.id);
        std::erase_if(lost, [&](const MessageRow& r) { return r.id == row.id; });
      }
    }
  }
  co_await reopen();
  co_return lost;
}

// Never sent again on suspicion.
asio::awaitable<void> MailboxLoader::quarantine_lost(MessageRow row) {
  std::string reason = "the server said it stored the message, and it is not to be found on the target";
  // F39: one UID serves one row only, so the others of a merging server's equal messages end here.
  if (row.e1) {
    auto query = [id = mailbox_.id, e1 = *row.e1, e1x = row.e1x](Db& db) { return state::sent_with(db, id, e1, e1x); };
    const auto twins = co_await context_.store.run(std::move(query));
    if (!twins.empty() && twins.front().target_uid.value != 0)
      reason +=
          fmt::format("; UID {} there is an equal message of this mailbox: the target keeps one of several equal ones",
                      twins.front().target_uid.value);
  }
  std::string octets;
  if (row.validity == mailbox_.uid_validity) {
    std::vector<imap::ReadMessage> read;
    try {
      read = co_await context_.source.read(mailbox_, std::vector<Uid>(1, row.uid));
    } catch (const base::Failed& f) {
      if (f.error.scope != Scope::mailbox || f.error.remedy != Remedy::skip) throw;  // else it goes without its octets
    }
    if (!read.empty() && read.front().found == imap::BodyFound::too_large) {
      co_await quarantine_large(row, reason, "OK");
      co_return;
    }
    if (!read.empty()) octets = std::move(read.front().octets);
  }
  co_await quarantine(row, reason, "OK", octets);
}

// ---- copying ----

asio::awaitable<void> MailboxLoader::copy() {
  const AtWork here(context_.at_work, mailbox_.target_wire);
  std::exception_ptr failure;
  try {
    const state::MailboxId id = mailbox_.id;
    const auto validity = mailbox_.uid_validity;
    auto query = [id, validity](Db& db) { return state::stale(db, id, validity); };
    for (auto& r : co_await context_.store.run(std::move(query))) stale_[*r.e1].push_back(r);
    co_await copy_listed();
    co_await copy_left_over();
  } catch (...) {
    failure = std::current_exception();
  }
  // What has been answered is recorded whatever happened after it.
  co_await flush();
  if (failure) std::rethrow_exception(failure);
  if (!context_.stopping()) co_await finish();
}

asio::awaitable<void> MailboxLoader::copy_listed() {
  Window window, next;
  co_await windows_->next(&window);
  while (!window.rows.empty()) {
    if (window.bodies.empty()) {
      co_await copy_large(std::move(window.rows.front()));
      co_await windows_->next(&window);
      continue;
    }
    // The next window is read from the source while this one goes to the target.
    co_await base::both(process(std::move(window)), windows_->next(&next));
    window = std::move(next);
  }
}

// The content is on the target already, or is that of a row under an older UIDVALIDITY of the source: nothing to send.
asio::awaitable<bool> MailboxLoader::settled_by_content(const MessageRow& row, const base::Fingerprint& print,
                                                        std::string_view octets) {
  Copy* seen = nullptr;
  std::optional<state::MessageId> old;
  const auto find_stale = [&](const base::Fingerprint& p) {
    if (const auto it = stale_.find(p.e1); it != stale_.end() && !it->second.empty()) {
      old = it->second.front().id;
      it->second.erase(it->second.begin());
      return true;
    }
    return false;
  };
  base::Fingerprint there = print;
  std::string how = "was on the target already";
  if (!find_stale(print) && unbound_.any()) seen = co_await find_copy(print, row, Likeness::content);
  if (!old && seen == nullptr && (unbound_.any() || !stale_.empty()) && !octets.empty()) {
    // It may have been stored in a repaired form.
    for (const auto& form : repaired_forms(octets)) {
      there = base::fingerprint(form.octets);
      how = fmt::format("was on the target already, repaired: {}", describe(form.rule));
      if (find_stale(there)) break;
      seen = co_await find_copy(there, row, Likeness::content);
      if (seen != nullptr) break;
    }
  }
  if (old) {
    auto same = [id = *old, row](Db& db) { state::same_message(db, id, row); };
    co_await context_.store.run(std::move(same));
    co_return true;
  }
  if (seen == nullptr) co_return false;
  const auto outcome = bind_to_copy(row, there, *seen, how);
  auto commit = [there, outcome](Db& db) { state::bind_found(db, there, outcome); };
  co_await context_.store.run_in_order(std::move(commit));
  co_return true;
}

SendableFlags MailboxLoader::sendable(const std::string& flags) const {
  return load::sendable(flags, opened_, context_.options.deleted);
}

asio::awaitable<bool> MailboxLoader::left_out_by_policy(const MessageRow& row) {
  if (context_.options.deleted != DeletedPolicy::skip || !state::has_flag(row.flags, "\\Deleted")) co_return false;
  auto save = [id = row.id](Db& db) { state::set_excluded(db, id, "marked \\Deleted at the source (--deleted skip)"); };
  co_await context_.store.run(std::move(save));
  count_settled(row.id);
  co_return true;
}

// Anything but a whole body waits until the rest of the mailbox is done (copy_left_over); true if it does.
bool MailboxLoader::set_aside(const MessageRow& row, imap::BodyFound found) {
  switch (found) {
    case imap::BodyFound::whole:
      return false;
    case imap::BodyFound::vanished:
      vanished_.push_back(row);
      break;
    case imap::BodyFound::empty:
      empty_.push_back(row);
      break;
    case imap::BodyFound::refused:
      unreadable_.push_back(row);
      break;
    case imap::BodyFound::too_large:
      large_later_.push_back(row);
      break;
  }
  return true;
}

// RFC 7889. Not even offered: Cyrus answers NO and BYE to such a literal+, and the whole window is lost with the
// session.
bool MailboxLoader::beyond_limit(base::Octets octets) const {
  const auto limit = context_.target.append_limit();
  return limit && *limit != 0 && octets > *limit;
}

std::string MailboxLoader::limit_words() const {
  return fmt::format("APPENDLIMIT={}", context_.target.append_limit().value_or(0));
}

asio::awaitable<void> MailboxLoader::process(Window window) {
  const auto hold = std::move(window.hold);  // until all of it has been answered for
  co_await open_unless_ours();
  std::vector<Outgoing> items;
  for (std::size_t i = 0; i < window.rows.size(); ++i) {
    auto& row = window.rows[i];
    auto& body = window.bodies[i];
    if (set_aside(row, body.found)) continue;
    if (co_await left_out_by_policy(row)) continue;
    if (co_await settled_by_content(row, body.print, body.octets)) continue;
    if (beyond_limit(body.octets.size())) {
      co_await quarantine(row, kBeyondLimit, limit_words(), body.octets);
      continue;
    }
    auto flags = sendable(row.flags);
    auto& item = items.emplace_back(std::move(row), std::move(flags), body.octets, context_.clock.unix_seconds());
    item.octets = std::move(body.octets);
    item.print = body.print;
    item.repair_as_before();
  }
  co_await send(std::move(items));
}

asio::awaitable<void> MailboxLoader::send(std::vector<Outgoing> items) {
  // Messages of a kind already refused here go alone: one of them would fail a whole MULTIAPPEND.
  std::vector<Outgoing> window;
  for (auto& item : items) {
    bool alone = false;
    if (!refused_kinds_.empty())
      for (const auto kind : kinds_of(item.octets)) alone = alone || refused_kinds_.contains(kind);
    if (alone) {
      co_await send_window(std::exchange(window, {}));
      std::vector<Outgoing> one;
      one.push_back(std::move(item));
      co_await send_window(std::move(one));
    } else {
      window.push_back(std::move(item));
    }
  }
  co_await send_window(std::move(window));
}

// Waits where a limit asks for it; false: asked to stop meanwhile, and from then on, so that what was to follow does
// not overtake what stays behind. Before the intent: what waits has none on record.
asio::awaitable<bool> MailboxLoader::may_send(base::Octets octets) {
  if (held_back_) co_return false;
  if (context_.gate.try_pass(octets)) co_return true;
  co_await flush(Synced::now);  // a power cut during a long wait must not cost the answers of the window before
  held_back_ = !co_await context_.gate.wait(octets);
  if (held_back_) co_return false;
  const auto session = co_await alone();
  co_await context_.target.noop();  // a server that hung up meanwhile is noticed now, with nothing in doubt
  co_return true;
}

// Commits what is known and what is about to happen, then sends. One fsync.
asio::awaitable<void> MailboxLoader::send_window(std::vector<Outgoing> items) {
  if (items.empty()) co_return;
  base::Octets octets = 0;
  for (const auto& o : items) octets += o.octets.size();
  const bool may = co_await may_send(octets);
  if (!may) co_return;
  std::vector<state::Intent> intents;
  std::vector<imap::AppendItem> append;
  for (const auto& o : items) {
    intents.push_back(o.intent(opened_.uid_validity, u0_));
    append.push_back(o.append_item());
  }
  {
    auto outcomes = co_await take_outcomes();
    auto commit = [outcomes, intents](Db& db) { state::commit_window(db, outcomes, intents); };
    co_await context_.store.run(std::move(commit));
  }
  const bool multi = items.size() > 1 && context_.target.has("MULTIAPPEND");
  std::vector<imap::Answer> answers;
  base::SharedLock::Hold shared;
  // Each awaited by itself: g++ 12 lays out the frame of an awaited choice wrongly.
  if (!alone_ && context_.target.pipelines()) shared = co_await context_.target_use.share();
  else if (!alone_) shared = co_await context_.target_use.alone();
  const auto started = context_.clock.now();
  if (multi) answers.push_back(co_await context_.target.append_multi(mailbox_.target_wire, append));
  else answers = co_await context_.target.append_each(mailbox_.target_wire, append);
  const auto took = context_.clock.now() - started;
  context_.slowest_append = std::max(context_.slowest_append, took);
  context_.window_size.took(took, items.size());
  shared = {};

  if (multi) {
    std::vector<Outgoing*> all;
    for (auto& o : items) all.push_back(&o);
    if (answers[0].ok()) take_answer(answers[0], std::move(all));
    else co_await refused_together(std::move(items), std::move(answers[0]));
    co_return;
  }
  std::vector<std::pair<Outgoing, imap::Answer>> bad;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (answers[i].ok()) take_answer(answers[i], std::vector<Outgoing*>(1, &items[i]));
    else bad.emplace_back(std::move(items[i]), std::move(answers[i]));
  }
  if (bad.empty()) co_return;
  const auto session = co_await alone();
  for (auto& [item, answer] : bad) {
    std::vector<Outgoing> one;
    one.push_back(std::move(item));
    auto left = co_await not_stored(std::move(one), answer.literal_refused);
    if (!left.empty()) co_await refused(std::move(left.front()), std::move(answer));
  }
}

// All or nothing (RFC 3502).
asio::awaitable<void> MailboxLoader::refused_together(std::vector<Outgoing> items, imap::Answer answer) {
  const auto session = co_await alone();
  // Only of a single message does a literal that was not asked for prove anything: those before it may have been
  // kept.
  auto left = co_await not_stored(std::move(items), false);
  if (left.empty()) co_return;
  if (left.size() == 1) {
    co_await refused(std::move(left.front()), std::move(answer));
    co_return;
  }
  if (!is_of_the_message(classify(answer.tagged))) give_up(answer, base::plural(left.size(), "message"));
  // Find the one that spoils it, keeping the order.
  const auto half = static_cast<std::ptrdiff_t>(left.size() / 2);
  std::vector<Outgoing> first(std::make_move_iterator(left.begin()), std::make_move_iterator(left.begin() + half));
  std::vector<Outgoing> second(std::make_move_iterator(left.begin() + half), std::make_move_iterator(left.end()));
  left.clear();
  co_await send(std::move(first));
  co_await send(std::move(second));
}

// A tagged OK for these messages: bound where the UIDs are credible, else acked (I2, I3).
void MailboxLoader::take_answer(const imap::Answer& answer, std::vector<Outgoing*> items) {
  auto validity = opened_.uid_validity;
  const auto uids = append_uids(answer, &validity, items.size());
  bool credible = uids.has_value();
  if (uids)
    for (const auto u : *uids) credible = credible && u >= u0_ && !used_now_.contains(u) && !unbound_.has_read(u);
  if (credible) opened_.uid_validity = validity;
  for (std::size_t i = 0; i < items.size(); ++i) {
    Outcome o{items[i]->row.id, credible ? (*uids)[i] : Uid(), false, {}};
    if (credible) {
      used_now_.insert(o.target_uid);
      highest_bound_ = std::max(highest_bound_, o.target_uid);
      ++bound_in_bracket_;
    } else {
      acked_ = true;
      acked_now_.insert(o.id.value);
    }
    refused_in_a_row_ = 0;
    outcomes_.push_back(std::move(o));
    ++context_.counters.appended;
    ++context_.counters.settled;
    context_.counters.octets += items[i]->octets.size();
  }
}

// After a NO or BAD: whatever the server says, nothing is sent again without a complete look (I4). Returns those that
// are proven absent. `proven`: the server never asked for the literal, so it cannot have it.
asio::awaitable<std::vector<Outgoing>> MailboxLoader::not_stored(std::vector<Outgoing> items, bool proven) {
  co_await flush();
  if (!proven) {
    co_await reopen();
    co_await look(context_.target, Completeness::strict);
    if (unshown_ && !spends_uids_) {
      // UIDNEXT moved further than what is shown: a server that hides fresh messages, or one that spends UIDs on what
      // it refuses. A settle tells; the latter is waited for once.
      co_await context_.clock.sleep(context_.options.settle);
      co_await context_.target.noop();
      co_await reopen();
      co_await look(context_.target, Completeness::strict);
      spends_uids_ = unshown_;
    }
    co_await bind_in_doubt();
    u0_ = opened_.uid_next;
    resent_ = true;
  }
  const state::MailboxId id = mailbox_.id;
  auto query = [id](Db& db) { return state::in_doubt(db, id); };
  std::set<std::int64_t> open;
  for (const auto& r : co_await context_.store.run(std::move(query)))
    if (r.state == MessageState::intent) open.insert(r.id.value);
  std::erase_if(items, [&](const Outgoing& o) { return !open.contains(o.row.id.value); });
  std::vector<state::MessageId> absent;
  for (const auto& o : items) absent.push_back(o.row.id);
  auto back = [absent](Db& db) { state::back_to_listed(db, absent); };
  co_await context_.store.run(std::move(back));
  co_return items;
}

void MailboxLoader::give_up(const imap::Answer& answer, const std::string& what) const {
  const std::string said = answer.tagged.verbatim();
  switch (classify(answer.tagged)) {
    case Refusal::over_quota:
      throw base::Failed(
          {Scope::account, Remedy::ask_admin,
           fmt::format(
               "Could not append {} to {}: server said {}. The messages stay pending. Raise the quota, then run again.",
               what, where(), said)});
    case Refusal::busy:
      throw base::Failed({Scope::account, Remedy::retry_later,
                          fmt::format("Could not append {} to {} for now: server said {}. The messages stay pending.",
                                      what, where(), said)});
    default:
      throw base::Failed(
          {Scope::mailbox, Remedy::skip,
           fmt::format(
               "Could not append {} to {}: server said {}. The messages of this mailbox stay pending; check that it "
               "exists and may be written to, then run again.",
               what, where(), said)});
  }
}

asio::awaitable<void> MailboxLoader::refused(Outgoing item, imap::Answer answer) {
  if (!is_of_the_message(classify(answer.tagged)))
    give_up(answer, fmt::format("UID {} ({})", item.row.uid.value, base::human_octets(item.octets.size())));
  for (const auto k : kinds_of(item.octets)) refused_kinds_.insert(k);
  if (!item.next_rung(answer.tagged, item.octets, item.octets)) {
    // So many in a row is no longer about the messages.
    if (++refused_in_a_row_ > kRefusedInARow)
      give_up(answer, fmt::format("UID {} and {} before it", item.row.uid.value, kRefusedInARow));
    co_await quarantine(item.row, "the target refused it", answer.tagged.verbatim(), item.octets);
    co_return;
  }
  std::vector<Outgoing> one;
  one.push_back(std::move(item));
  co_await send_window(std::move(one));
}

// ---- large bodies ----

// FETCH literal to APPEND literal, octet by octet. The APPEND's final CRLF, without which no server stores, is not sent
// here.
class MailboxLoader::LargeAppend final : public imap::BodyReceiver {
 public:
  LargeAppend(MailboxLoader& loader, Outgoing& item) : loader_(loader), item_(item) {}
  asio::awaitable<bool> begin(base::Octets octets) override {
    size = octets;
    auto intent = item_.intent(loader_.opened_.uid_validity, loader_.u0_);
    intent.octets = octets;
    intent.e1.reset();  // of an earlier attempt, perhaps; what comes now may be another body
    intent.e0 = {};
    intent.e1x.reset();
    std::vector<state::Intent> intents(1, std::move(intent));
    auto outcomes = co_await loader_.take_outcomes();
    auto commit = [outcomes, intents](Db& db) { state::commit_window(db, outcomes, intents); };
    co_await loader_.context_.store.run(std::move(commit));
    started = true;
    const auto append = item_.append_item();
    refusal = co_await loader_.context_.target.append_begin(loader_.mailbox_.target_wire, append, octets);
    co_return !refusal;
  }
  asio::awaitable<void> chunk(std::string_view octets) override {
    co_await loader_.context_.gate.more(octets.size());
    co_await loader_.context_.target.append_write(octets);
  }

  std::optional<imap::Answer> refusal;
  base::Octets size = 0;
  bool started = false;

 private:
  MailboxLoader& loader_;
  Outgoing& item_;
};

namespace {
// A first pass over a large body: its fingerprint and its header, nothing sent.
class HeaderOnly final : public imap::BodyReceiver {
 public:
  asio::awaitable<bool> begin(base::Octets) override { co_return true; }
  asio::awaitable<void> chunk(std::string_view octets) override {
    if (header.size() < kHeaderLimit) header += octets.substr(0, kHeaderLimit - header.size());
    co_return;
  }
  std::string header;
};

class ToFile final : public imap::BodyReceiver {
 public:
  explicit ToFile(QuarantineFile& file) : file_(file) {}
  asio::awaitable<bool> begin(base::Octets) override { co_return true; }
  asio::awaitable<void> chunk(std::string_view octets) override {
    file_.write(octets);
    co_return;
  }

 private:
  QuarantineFile& file_;
};
}  // namespace

asio::awaitable<void> MailboxLoader::copy_large(MessageRow row) {
  const auto session = co_await alone();
  co_await open_unless_ours();
  if (co_await left_out_by_policy(row)) co_return;
  // Read twice only where something depends on it: a copy may be there already, or the date must come from the header.
  std::string header;
  if (unbound_.any() || !stale_.empty() || !row.date || !imap::storable(*row.date, context_.clock.unix_seconds())) {
    HeaderOnly first;
    const auto m = co_await context_.source.stream(mailbox_, row.uid, first);
    if (set_aside(row, m.found)) co_return;
    if (co_await settled_by_content(row, m.print, {})) co_return;
    header = std::move(first.header);
  }
  if (beyond_limit(row.size)) {
    co_await quarantine_large(row, kBeyondLimit, limit_words());
    co_return;
  }
  const bool may = co_await may_send(0);
  if (!may) co_return;
  Outgoing item(row, sendable(row.flags), header, context_.clock.unix_seconds());
  for (;;) {
    const auto answer = co_await send_large(&item);
    if (!answer) co_return;
    const auto kind = classify(answer->tagged);
    if (!is_of_the_message(kind))
      give_up(*answer, fmt::format("UID {} ({})", row.uid.value, base::human_octets(row.size)));
    if (kind == Refusal::flags_or_date && item.date && header.empty()) {  // its Date: may be wanted
      HeaderOnly again;
      const auto m = co_await context_.source.stream(mailbox_, row.uid, again);
      if (set_aside(row, m.found)) co_return;
      header = std::move(again.header);
    }
    // The body is not in memory: only the rules that leave it alone.
    if (item.next_rung(answer->tagged, header, {})) continue;
    co_await quarantine_large(row, "the target refused it", answer->tagged.verbatim());
    co_return;
  }
}

// The answer that refused it, if it did and is proven not to have it; the row is listed again then.
asio::awaitable<std::optional<imap::Answer>> MailboxLoader::send_large(Outgoing* item) {
  const auto& row = item->row;
  LargeAppend append(*this, *item);
  const auto m = co_await context_.source.stream(mailbox_, row.uid, append);
  if (append.refusal) {
    std::vector<state::MessageId> back_ids(1, row.id);
    auto back = [back_ids](Db& db) { state::back_to_listed(db, back_ids); };
    co_await context_.store.run(std::move(back));
    co_return std::move(append.refusal);
  }
  if (m.found != imap::BodyFound::whole) {
    if (append.started)  // half a literal stands on the wire: without its end it is never stored
      throw base::Failed({Scope::account, Remedy::reconnect,
                          fmt::format("The source announced {} octets for UID {} of {} and did not send them. The copy "
                                      "was given up before its "
                                      "end.",
                                      append.size, row.uid.value, where())});
    set_aside(row, m.found);
    co_return std::nullopt;
  }
  // Everything has passed: its fingerprint is made durable before the CRLF that lets the server store it.
  item->print = m.print;
  auto save = [id = row.id, print = m.print](Db& db) { state::set_fingerprint(db, id, print); };
  co_await context_.store.run(std::move(save));
  const auto started = context_.clock.now();
  auto answer = co_await context_.target.append_finish();
  context_.slowest_append = std::max(context_.slowest_append, context_.clock.now() - started);
  if (answer.ok()) {
    take_answer(answer, std::vector<Outgoing*>(1, item));
    context_.counters.octets += m.print.octets;
    co_return std::nullopt;
  }
  std::vector<Outgoing> one(1, *item);
  const auto left = co_await not_stored(std::move(one), false);
  if (left.empty()) co_return std::nullopt;
  co_return std::move(answer);
}

// ---- what is left ----

// Asked for a second time: false where again no octets came.
asio::awaitable<bool> MailboxLoader::copied_now(MessageRow row, imap::ReadMessage read) {
  if (read.found == imap::BodyFound::too_large) {
    co_await copy_large(std::move(row));
    co_return true;
  }
  if (read.found != imap::BodyFound::whole) co_return false;
  Window window;  // beside the budget: few, and one at a time
  window.rows.push_back(std::move(row));
  window.bodies.push_back(std::move(read));
  co_await process(std::move(window));
  co_return true;
}

asio::awaitable<void> MailboxLoader::copy_left_over() {
  for (auto& row : std::exchange(large_later_, {})) co_await copy_large(std::move(row));
  for (auto& row : std::exchange(unreadable_, {})) {
    auto again = co_await context_.source.read_afresh(mailbox_, row.uid);
    const auto found = again.found;
    const std::string words = again.words;
    if (found == imap::BodyFound::refused && is_busy(words))
      throw base::Failed({Scope::account, Remedy::retry_later,
                          fmt::format("The source does not give out UID {} of \"{}\" for now: {}.", row.uid.value,
                                      base::printable(mailbox_.name), words)});
    if (found == imap::BodyFound::refused) {
      co_await quarantine(row, "the source does not give it out", words, "");
      continue;
    }
    const bool copied = co_await copied_now(row, std::move(again));
    if (!copied) (found == imap::BodyFound::empty ? empty_ : vanished_).push_back(row);
  }
  // Zero octets: believed when seen twice; an empty message cannot be stored anywhere.
  for (auto& row : std::exchange(empty_, {})) {
    auto again = co_await context_.source.read(mailbox_, std::vector<Uid>(1, row.uid));
    if (again.front().found == imap::BodyFound::empty) {
      co_await quarantine(row, "the message has no octets", "", "");
      continue;
    }
    const bool copied = co_await copied_now(row, std::move(again.front()));
    if (!copied) vanished_.push_back(row);
  }
  if (vanished_.empty()) co_return;
  std::vector<Uid> uids;
  for (const auto& r : vanished_) uids.push_back(r.uid);
  const auto absent = co_await context_.source.confirm_absent(mailbox_, std::move(uids));
  if (!absent) co_return;  // they stay listed: the next run tries again
  for (const auto& row : std::exchange(vanished_, {})) {
    if (std::find(absent->begin(), absent->end(), row.uid) == absent->end()) {
      auto again = co_await context_.source.read(mailbox_, std::vector<Uid>(1, row.uid));
      const std::string words = again.front().words;
      const bool copied = co_await copied_now(row, std::move(again.front()));
      if (!copied) co_await quarantine(row, "the source lists it and gives out no octets of it", words, "");
      continue;
    }
    auto save = [id = row.id](Db& db) { state::set_gone(db, id, "deleted at the source before it was copied"); };
    co_await context_.store.run(std::move(save));
    count_settled(row.id);
  }
}

asio::awaitable<void> MailboxLoader::quarantine(MessageRow row, std::string reason, std::string words,
                                                std::string_view octets) {
  const QuarantineNote note{context_.account, mailbox_.name, reason, words, row.uid};
  const std::string path = load::quarantine(context_.store.quarantine_directory(), row.id, note, octets);
  co_await record_quarantined(row.id, std::move(reason), std::move(words), path);
}

asio::awaitable<void> MailboxLoader::quarantine_large(MessageRow row, std::string reason, std::string words) {
  QuarantineFile file(context_.store.quarantine_directory(), row.id);
  ToFile into(file);
  const auto m = co_await context_.source.stream(mailbox_, row.uid, into);
  if (m.found != imap::BodyFound::whole) co_return;  // stays listed
  const std::string path = file.finish({context_.account, mailbox_.name, reason, words, row.uid});
  co_await record_quarantined(row.id, std::move(reason), std::move(words), path);
}

asio::awaitable<void> MailboxLoader::record_quarantined(state::MessageId id, std::string reason, std::string words,
                                                        std::string path) {
  const std::string detail = fmt::format("{}{}; kept as {}", reason, words.empty() ? "" : ": " + words, path);
  auto save = [id, detail](Db& db) { state::set_quarantined(db, id, detail); };
  co_await context_.store.run(std::move(save));
  count_settled(id);
}

// One that was acknowledged without a UID in this run counts already.
void MailboxLoader::count_settled(state::MessageId id) {
  if (acked_now_.erase(id.value) == 0) ++context_.counters.settled;
}

// Results of the windows before, for a commit. UIDs without their UIDVALIDITY would be worth nothing.
asio::awaitable<std::vector<Outcome>> MailboxLoader::take_outcomes() {
  if (unopened_ && opened_.uid_validity && !mailbox_.target_validity) co_await meet();
  co_return std::exchange(outcomes_, {});
}

asio::awaitable<void> MailboxLoader::flush(Synced synced) {
  if (outcomes_.empty()) co_return;
  auto outcomes = co_await take_outcomes();
  auto commit = [outcomes](Db& db) { state::commit_window(db, outcomes, {}); };
  if (synced == Synced::now) co_await context_.store.run(std::move(commit));
  else co_await context_.store.run_in_order(std::move(commit));
}

// Copies of ours beyond those that are bound: a session that was given up may have finished its APPEND after we looked.
asio::awaitable<void> MailboxLoader::sweep() {
  if (!unbound_.any()) co_return;
  co_await stand();
  const state::MailboxId id = mailbox_.id;
  // One pass over the ledger, however many strangers there are; only what may be a copy of ours is asked for by itself.
  auto ours_query = [id](Db& db) { return state::sent_contents(db, id); };
  const auto ours = co_await context_.store.run(std::move(ours_query));
  for (auto& s : unbound_.all()) {
    // As in Unbound::find: a server that rewrites raw headers leaves no 8-bit octet in them.
    const auto e1x = s.print.header_8bit ? std::nullopt : s.print.e1x;
    if (s.taken || !(ours.contains(s.print.e1) || (e1x && ours.contains(*e1x)))) continue;
    auto query = [id, e1 = s.print.e1, e1x](Db& db) { return state::sent_with(db, id, e1, e1x); };
    const auto twins = co_await context_.store.run(std::move(query));
    if (twins.empty()) continue;  // a stranger's: new mail, or put there by its user
    // Two messages of the source may have the same octets: a copy belongs to the one whose flags and date it has.
    auto like =
        std::find_if(twins.begin(), twins.end(), [&](const auto& t) { return is_like(s, t) && t.attempts > 1; });
    if (like == twins.end())
      like = std::find_if(twins.begin(), twins.end(), [&](const auto& t) { return is_like(s, t); });
    const bool untouched = like != twins.end();
    const auto& twin = untouched ? *like : twins.front();
    std::string detail =
        twin.target_uid
            ? fmt::format("UID {} is a second copy of UID {}", s.uid.value, twin.target_uid.value)
            : fmt::format("UID {} is a copy of UID {} of the source, which was deleted there while we sent it",
                          s.uid.value, twin.uid.value);
    bool removed = false;
    // Removed only if we sent that message more than once, nobody touched the copy, and the one that stays is there.
    if (s.uid < mailbox_.first_u0) {
      detail += "; it was there before this state first met the mailbox: left there";
    } else if (!twin.target_uid) {
      detail += ": left there";  // there is no other
    } else if (twin.attempts < 2) {
      detail += "; we sent it only once, so it may be its user's own copy: left there";
    } else if (!untouched) {
      detail += "; its flags or date were changed since: left there";
    } else if (!context_.options.remove_surplus) {
      detail += "; this target moves what is deleted to another mailbox, where it would turn up again: left there";
    } else if (!context_.target.has("UIDPLUS")) {
      detail += "; the target has no UID EXPUNGE: left there";
    } else {
      auto kept = co_await imap::read_messages(context_.target, std::vector<Uid>(1, twin.target_uid),
                                               imap::Keep::fingerprint, base::Fingerprinter::E1x::if_8bit);
      if (kept.front().print.e1 != s.print.e1 || kept.front().found == imap::BodyFound::vanished) {
        detail += "; the other copy could not be read again: left there";
      } else {
        const auto answer = co_await context_.target.expunge_one(s.uid);
        removed = answer.ok();
        detail += removed ? "; removed" : "; could not be removed: server said " + answer.tagged.verbatim();
      }
    }
    unbound_.take(s);
    auto save = [id, uid = s.uid, twin_id = twin.id, removed, detail](Db& db) {
      state::add_surplus(db, id, uid, twin_id, removed, detail);
    };
    co_await context_.store.run(std::move(save));
    context_.event("surplus copy", fmt::format("{} in {}", detail, where()), id);
  }
}

asio::awaitable<void> MailboxLoader::finish() {
  const state::MailboxId id = mailbox_.id;
  const auto left = [id](Db& db) { return std::make_pair(!state::in_doubt(db, id).empty(), state::pending(db, id)); };
  auto [doubt, pending] = co_await context_.store.run(left);
  const bool no_look = !doubt && seamless();
  Uid settled_below = bound_in_bracket_ == 0 ? u0_ : Uid(std::max(u0_.value, highest_bound_.value + 1));
  std::optional<Alone> session;
  if (!no_look || unbound_.any()) {
    auto mine = co_await alone();
    session.emplace(std::move(mine));
  }
  if (!no_look) {
    co_await reopen();
    co_await look(context_.target, Completeness::as_it_is);
    co_await bind_in_doubt();
    settled_below = opened_.uid_next;
    u0_ = settled_below;
    std::tie(doubt, pending) = co_await context_.store.run(left);
    if (doubt) co_await give_verdict();
  }
  co_await sweep();
  if (session) std::tie(doubt, pending) = co_await context_.store.run(left);
  if (pending > 0) co_return;
  if (look_again_from_) settled_below = std::min(settled_below, *look_again_from_);
  const state::TargetSettled s{opened_.uid_validity, settled_below, mailbox_.first_u0};
  auto save = [id, s](Db& db) {
    state::set_target_settled(db, id, s);
    state::set_target_error(db, id, "");
  };
  co_await context_.store.run_in_order(std::move(save));
}

asio::awaitable<bool> MailboxLoader::holds(const state::FlagChange& change) {
  const auto read = co_await imap::read_messages(context_.target, std::vector<Uid>(1, change.target_uid),
                                                 imap::Keep::fingerprint, base::Fingerprinter::E1x::always);
  const auto& print = read.front().print;
  co_return read.front().found == imap::BodyFound::whole &&
      (change.e1 == print.e1 || (change.e1x && change.e1x == print.e1x));
}

asio::awaitable<void> MailboxLoader::bring_flags() {
  const state::MailboxId id = mailbox_.id;
  auto query = [id](Db& db) { return state::flag_changes(db, id); };
  const auto changes = co_await context_.store.run(std::move(query));
  if (changes.empty()) co_return;
  const auto session = co_await alone();
  co_await stand();
  std::vector<state::FlagChange> done;
  for (const auto& c : changes) {
    const auto before = state::flag_names(c.before), now = state::flag_names(c.now);
    const auto minus = [&](const auto& a, const auto& b) {
      std::vector<std::string> out;
      for (const auto& f : a) {
        const bool deleted = base::iequals(f, "\\Deleted") && context_.options.deleted != DeletedPolicy::keep;
        const bool allowed = imap::is_flag(f) && !deleted && opened_.keeps(f);
        const bool in_both = std::any_of(b.begin(), b.end(), [&](const auto& g) { return base::iequals(f, g); });
        if (allowed && !in_both) out.push_back(f);
      }
      return out;
    };
    // Not re-read since it was bound: an APPENDUID may have named a stranger's.
    if (!c.verified && !(co_await holds(c))) continue;
    bool ok = true;
    const auto added = minus(now, before), removed = minus(before, now);
    if (!added.empty()) ok = (co_await context_.target.change_flags(c.target_uid, '+', added)).ok();
    if (ok && !removed.empty()) ok = (co_await context_.target.change_flags(c.target_uid, '-', removed)).ok();
    if (ok) done.push_back(c);
  }
  if (done.empty()) co_return;
  auto save = [done](Db& db) { state::flags_brought(db, done); };
  co_await context_.store.run(std::move(save));
}

}  // namespace load
