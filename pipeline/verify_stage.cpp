// Verification: what load has bound is re-read from the target (run), or everything is compared against both servers
// (verify).
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <unordered_map>

#include "base/text.hpp"
#include "extract/inventory.hpp"
#include "imap/client/reader.hpp"
#include "imap/protocol/date_time.hpp"
#include "pipeline/migration.hpp"

namespace pipeline {

namespace asio = boost::asio;
using base::Uid;
using state::Db;
using state::MessageState;

namespace {

constexpr int kRowsAtOnce = 500;  // re-read in one FETCH: of their octets nothing is held

std::set<std::string> flag_set(const std::string& text) {
  const auto names = state::flag_names(state::canonical_flags(state::flag_names(text)));
  return {names.begin(), names.end()};
}

std::string difference_of(const std::string& want, const std::string& have) {
  const auto w = flag_set(want), h = flag_set(have);
  std::vector<std::string> parts;
  for (const auto& f : w)
    if (!h.contains(f)) parts.push_back("-" + f);
  for (const auto& f : h)
    if (!w.contains(f)) parts.push_back("+" + f);
  return base::join(parts, " ");
}

std::string date_text(const std::optional<base::DateTime>& d) {
  return d ? imap::format_date_time(*d) : std::string("none");
}

// A row of the ledger with what is on record about it.
struct Row {
  state::MessageRow row;
  std::map<std::string, std::vector<std::string>> notes;
  bool noted(const std::string& kind) const { return notes.contains(kind); }
  // The flags that are known not to have been kept.
  bool lost_flags_on_record(const std::set<std::string>& lost) const {
    std::set<std::string> recorded;
    if (const auto it = notes.find("flags"); it != notes.end())
      for (const auto& d : it->second)
        if (d.starts_with("not kept: ")) recorded.merge(flag_set(d.substr(10)));
    return std::includes(recorded.begin(), recorded.end(), lost.begin(), lost.end());
  }
  bool stored_date_on_record(const std::optional<base::DateTime>& there) const {
    const auto it = notes.find("date");
    if (it == notes.end()) return false;
    const std::string wanted = "the target stores " + (there ? imap::format_date_time(*there) : std::string("no date"));
    return std::any_of(it->second.begin(), it->second.end(),
                       [&](const auto& d) { return d.find(wanted) != std::string::npos; });
  }
};

std::vector<Row> ledger_rows(Db& db, state::MailboxId mailbox) {
  std::vector<Row> out;
  std::unordered_map<std::int64_t, std::size_t> at;
  auto r = db.rows(
      "SELECT m.id, m.uid_validity, m.uid, m.size, m.date, m.zone, f.names, m.state, m.attempts, m.target_uid, m.e1, "
      "m.e1x, "
      "m.new_flags IS NOT NULL FROM message m JOIN flagset f ON f.id=m.flags WHERE m.mailbox=? ORDER BY m.uid",
      mailbox);
  while (r.next()) {
    Row x;
    x.row.id = r.number<state::MessageId>(0);
    x.row.validity = r.number<base::UidValidity>(1);
    x.row.uid = r.number<Uid>(2);
    x.row.size = static_cast<base::Octets>(r.integer(3));
    if (!r.null(4)) x.row.date = base::DateTime{r.integer(4), static_cast<int>(r.integer(5))};
    x.row.flags = state::canonical_flags(state::flag_names(r.text(6)));
    x.row.state = static_cast<MessageState>(r.integer(7));
    x.row.attempts = static_cast<int>(r.integer(8));
    x.row.target_uid = r.number<Uid>(9);
    x.row.e1 = r.digest(10);
    x.row.e1x = r.digest(11);
    if (r.integer(12) != 0) x.notes["new flags"];
    at[x.row.id.value] = out.size();
    out.push_back(std::move(x));
  }
  auto n = db.rows("SELECT n.message, n.kind, n.detail FROM note n JOIN message m ON m.id=n.message WHERE m.mailbox=?",
                   mailbox);
  while (n.next()) out[at[n.integer(0)]].notes[n.text(1)].push_back(n.text(2));
  return out;
}

bool same_body(const state::MessageRow& row, const base::Fingerprint& print, bool& rewritten) {
  rewritten = false;
  if (row.e1 && *row.e1 == print.e1) return true;
  if (row.e1x && print.e1x && !print.header_8bit && *row.e1x == *print.e1x) return rewritten = true;
  return false;
}

struct There {
  imap::Envelope envelope;
  std::optional<base::Fingerprint> print;
  bool claimed = false;
};

// Seeded by the mailbox, so that the same sample can be drawn again.
bool in_sample(std::int64_t mailbox, const imap::Envelope& e) {
  std::mt19937_64 chance(static_cast<std::uint64_t>(mailbox) * 0x9E3779B97F4A7C15ull ^ e.uid.value);
  return e.size > 1024 * 1024 || chance() % 100 < 5;
}

}  // namespace

// ---- run: what is bound and not verified yet ----

asio::awaitable<VerifyResult> Migration::verify_new(VerifyLevel level) {
  VerifyResult result;
  result.level = level;
  if (level == VerifyLevel::none) co_return result;
  progress_.begin("verify", clock_.now());
  auto query = [](Db& db) {
    std::vector<state::AccountRow> out;
    for (auto& a : state::accounts(db))
      if (db.integer(
              "SELECT count(*) FROM message WHERE state=3 AND mailbox IN (SELECT id FROM mailbox WHERE account=?)",
              a.id) > 0)
        out.push_back(std::move(a));
    return std::make_pair(std::move(out), db.integer("SELECT count(*) FROM message WHERE state=3"));
  };
  auto [accounts, total] = co_await store_.run(std::move(query));
  progress_.total = static_cast<std::uint64_t>(total);
  std::erase_if(accounts, [&](const auto& a) { return !selected(a.address) || !a.skip.empty(); });
  std::function<asio::awaitable<void>(state::AccountRow)> work = [this, &result, level](state::AccountRow a) {
    return verify_new_account(&result, level, std::move(a));
  };
  co_await for_each_account(std::move(accounts), std::move(work));
  co_return result;
}

asio::awaitable<void> Migration::verify_new_account(VerifyResult* result, VerifyLevel level,
                                                    state::AccountRow account) {
  std::function<asio::awaitable<void>()> once = [this, result, level, account] {
    return verify_new_once(result, level, account);
  };
  const std::string error = co_await supervise(account.address, std::move(once));
  if (!error.empty()) result->problems.push_back(fmt::format("{} could not be verified: {}", account.address, error));
}

asio::awaitable<void> Migration::verify_new_once(VerifyResult* result, VerifyLevel level, state::AccountRow account) {
  auto target = co_await open_session(Side::target, account.address, imap::Access::read_only);
  auto query = [id = account.id](Db& db) { return state::mailboxes(db, id); };
  for (const auto& m : co_await store_.run(std::move(query))) {
    if (stopping_) break;
    if (m.target_wire.empty()) continue;
    bool opened = false;
    Uid after;
    for (;;) {
      auto next = [id = m.id, after](Db& db) { return state::unverified(db, id, after, kRowsAtOnce); };
      const auto rows = co_await store_.run(std::move(next));
      if (rows.empty()) break;
      const auto differ = [&](const state::MessageRow& row, const std::string& kind, const std::string& detail,
                              bool absence) {
        // A second visit after a lost connection finds the same again.
        for (const auto& d : result->differences)
          if (d.account == account.address && d.mailbox == m.name && d.source_uid == row.uid && d.kind == kind) return;
        result->differences.push_back({account.address, m.name, row.uid, row.target_uid, kind, detail, false, absence});
      };
      if (!opened) {
        auto o = co_await target->examine(m.target_wire);
        if (!o || o->uid_validity != m.target_validity) {
          result->problems.push_back(fmt::format("\"{}\" of {} could not be verified: {}",
                                                 base::printable(m.target_name), account.address,
                                                 o ? "it was created anew on the target since" : o.error().text));
          break;
        }
        opened = true;
      }
      std::vector<imap::Envelope> sizes;
      std::unordered_map<Uid, const state::MessageRow*> by_uid;
      for (const auto& r : rows) {
        imap::Envelope e;
        e.uid = r.target_uid;
        e.size = r.size;
        sizes.push_back(std::move(e));
        by_uid[r.target_uid] = &r;
        after = r.target_uid;
      }
      if (level == VerifyLevel::sample) {
        const auto repaired = [id = m.id](Db& db) {
          std::set<std::int64_t> out;
          auto q = db.rows(
              "SELECT n.message FROM note n JOIN message x ON x.id=n.message WHERE x.mailbox=? AND n.kind='repair'",
              id);
          while (q.next()) out.insert(q.integer(0));
          return out;
        };
        const auto mended = co_await store_.run(repaired);
        std::erase_if(sizes, [&](const auto& e) {
          return !in_sample(m.id.value, e) && !mended.contains(by_uid.at(e.uid)->id.value);
        });
      }
      std::vector<state::Outcome> outcomes;
      if (level == VerifyLevel::quick) {
        auto listed =
            co_await imap::list_messages(*target, rows.front().target_uid, Uid(rows.back().target_uid.value + 1));
        if (!listed) throw base::Failed(listed.error());
        std::unordered_map<Uid, imap::Envelope> there;
        for (auto& e : *listed) there[e.uid] = std::move(e);
        for (const auto& r : rows) {
          ++result->messages;
          const auto it = there.find(r.target_uid);
          if (it == there.end()) differ(r, "lost", "the target no longer has it", true);
          else if (r.date && (!it->second.date || !it->second.date->same_instant(*r.date)))
            differ(r, "date",
                   fmt::format("sent {}, the target stores {}", date_text(r.date), date_text(it->second.date)), false);
        }
        progress_.verified += rows.size();
        continue;
      }
      for (auto& window : imap::windows(sizes)) {
        const auto bodies = co_await imap::read_messages(*target, std::move(window), imap::Keep::fingerprint,
                                                         base::Fingerprinter::E1x::always);
        for (const auto& b : bodies) {
          const auto& r = *by_uid.at(b.envelope.uid);
          ++result->messages;
          ++progress_.verified;
          if (b.found == imap::BodyFound::vanished) {
            differ(r, "lost", "the target no longer has it, and it was never seen there after it was stored", true);
            continue;
          }
          if (b.found == imap::BodyFound::refused) {
            differ(r, "unreadable", "the target does not give it out: " + b.words, false);
            continue;
          }
          ++result->bodies;
          if (r.e0 && *r.e0 == b.print.e0) ++result->byte_identical;
          bool rewritten = false;
          if (!same_body(r, b.print, rewritten)) {
            differ(r, "another body", "what the target holds under this UID is not what was sent", false);
            continue;
          }
          state::Outcome o{r.id, r.target_uid, true, {}};
          if (rewritten) o.notes.push_back({"rewritten", "the target rewrote raw 8-bit octets of the header"});
          if (r.date && (!b.envelope.date || !b.envelope.date->same_instant(*r.date)))
            o.notes.push_back({"date", fmt::format("sent {}, the target stores {}", date_text(r.date),
                                                   b.envelope.date ? imap::format_date_time(*b.envelope.date)
                                                                   : std::string("no date"))});
          const std::string have = state::canonical_flags(b.envelope.flags);
          std::vector<std::string> lost;
          const auto h = flag_set(have);
          for (const auto& f : flag_set(r.flags))
            if (!h.contains(f)) lost.push_back(f);
          if (!lost.empty()) o.notes.push_back({"flags", "not kept: " + base::join(lost, " ")});
          outcomes.push_back(std::move(o));
        }
      }
      auto save = [outcomes](Db& db) { state::set_verified(db, outcomes); };
      co_await store_.run_in_order(std::move(save));
      if (stopping_) break;
    }
  }
  co_await target->logout();
}

// ---- verify: everything, both sides ----

asio::awaitable<VerifyResult> Migration::verify_all(VerifyLevel level, Servers servers) {
  VerifyResult result;
  result.level = level;
  progress_.begin("verify", clock_.now());
  auto query = [](Db& db) { return std::make_pair(state::accounts(db), db.integer("SELECT count(*) FROM message")); };
  auto [accounts, total] = co_await store_.run(std::move(query));
  progress_.total = static_cast<std::uint64_t>(total);
  std::erase_if(accounts, [&](const auto& a) { return !selected(a.address) || !a.skip.empty(); });
  std::erase_if(accounts, [&](const auto& a) {
    const auto d = decided_.find(a.address);
    if (d == decided_.end() || d->second.fate != Fate::create) return false;
    result.problems.push_back(fmt::format("{} has no account on the target: \"4d2kms run\" makes it", a.address));
    return true;
  });
  co_await verify_server(&result, true);
  std::function<asio::awaitable<void>(state::AccountRow)> work = [this, &result, level, servers](state::AccountRow a) {
    return verify_all_account(&result, level, servers, std::move(a));
  };
  co_await for_each_account(std::move(accounts), std::move(work));
  co_return result;
}

asio::awaitable<void> Migration::verify_all_account(VerifyResult* result, VerifyLevel level, Servers servers,
                                                    state::AccountRow account) {
  std::function<asio::awaitable<void>()> once = [this, result, level, servers, account] {
    return verify_all_once(result, level, servers, account);
  };
  const std::string error = co_await supervise(account.address, std::move(once));
  if (!error.empty()) result->problems.push_back(fmt::format("{} could not be verified: {}", account.address, error));
}

// With the master password everybody gets in; that its owner does, too, is seen with the account's own.
asio::awaitable<void> Migration::check_own_password(VerifyResult* result, state::AccountRow account) {
  // Those under way may be refused, too.
  while (own_under_way_ > 0 && own_refused_ + own_under_way_ >= own_probes()) co_await clock_.sleep(kHowOthersFare);
  if (own_refused_ >= own_probes()) co_return;
  ++own_under_way_;
  std::optional<base::Error> failed;
  try {
    auto own = co_await open_session_once(Side::target, account.address, imap::Access::read_only, LogIn::own_password);
    co_await own->logout();
  } catch (const base::Failed& f) {
    failed = f.error;
  }
  --own_under_way_;
  if (!failed) co_return;
  if (failed->exit != base::Exit::login_refused) throw base::Failed(*failed);
  refused_.erase({Side::target, account.address});
  // Users change their passwords; the server's guard must not take that for guessing.
  if (++own_refused_ == own_probes())
    result->problems.push_back("own passwords of further accounts were not tried: " +
                               base::plural(static_cast<std::uint64_t>(own_refused_), "refusal") +
                               " so far, and the target's guard may lock us out");
  result->differences.push_back({account.address, "", {}, {}, "log-in", failed->text, true, true});
}

asio::awaitable<void> Migration::verify_all_once(VerifyResult* result, VerifyLevel level, Servers servers,
                                                 state::AccountRow account) {
  // A visit that a lost connection ended is started anew: nothing is counted twice.
  VerifyResult mine;
  std::unique_ptr<imap::Session> source;
  if (servers == Servers::both) source = co_await open_session(Side::source, account.address, imap::Access::read_only);
  if (const auto d = decided_.find(account.address);
      !settings_.master_password.empty() && d != decided_.end() && d->second.fate == Fate::ours)
    co_await check_own_password(&mine, account);
  auto target = co_await open_session(Side::target, account.address, imap::Access::read_only);
  auto query = [id = account.id](Db& db) { return state::mailboxes(db, id); };
  auto rows = co_await store_.run(std::move(query));
  if (source) co_await compare_lists(&mine, &rows, account.address, source.get(), target.get());
  std::optional<EvidenceOfAccount> evidence;
  if (level == VerifyLevel::full) evidence.emplace(account.address);
  // The order in which evidence is made.
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return base::printable(a.target_wire) < base::printable(b.target_wire);
  });
  for (const auto& m : rows) {
    if (stopping_) break;
    if (m.target_wire.empty()) continue;
    co_await verify_mailbox(&mine, level, account, m, source.get(), target.get(), evidence ? &*evidence : nullptr);
  }
  if (source) co_await source->logout();
  co_await target->logout();
  result->messages += mine.messages;
  result->bodies += mine.bodies;
  result->byte_identical += mine.byte_identical;
  result->strangers += mine.strangers;
  std::move(mine.differences.begin(), mine.differences.end(), std::back_inserter(result->differences));
  std::move(mine.problems.begin(), mine.problems.end(), std::back_inserter(result->problems));
  if (evidence && !stopping_) result->evidence.push_back(evidence->finish());
}

// Mailboxes and subscriptions, as both servers list them.
asio::awaitable<void> Migration::compare_lists(VerifyResult* result, const std::vector<state::MailboxRow>* rows,
                                               std::string address, imap::Session* source, imap::Session* target) {
  std::string prefix;
  const auto there_now = co_await extract::find_mailboxes(*source, prefix);
  const auto subscribed = co_await target->lsub();
  for (const auto& f : there_now) {
    if (!f.excluded.empty()) continue;
    const auto row = std::find_if(rows->begin(), rows->end(), [&](const auto& r) { return r.wire == f.wire; });
    if (row == rows->end() || row->target_wire.empty())
      result->differences.push_back({address,
                                     f.name,
                                     {},
                                     {},
                                     "new mailbox",
                                     "it is new at the source since the inventory: run again to move it",
                                     true,
                                     true});
    else if (f.subscribed && !subscribed.contains(row->target_wire))
      result->differences.push_back({address,
                                     f.name,
                                     {},
                                     {},
                                     "subscription",
                                     "it is subscribed at the source and not on the target",
                                     false,
                                     false});
  }
}

namespace {

// The mailbox as it is: envelopes of all, bodies of those the level asks for.
asio::awaitable<base::Result<std::map<Uid, There>>> read_side(imap::Session* session, std::string wire,
                                                              base::UidValidity validity, VerifyLevel level,
                                                              std::int64_t mailbox, const std::set<Uid>* always) {
  std::map<Uid, There> out;
  auto opened = co_await session->examine(wire);
  if (!opened) co_return tl::unexpected(std::move(opened).error());
  if (opened->uid_validity != validity)
    co_return base::fail(base::Scope::mailbox, base::Remedy::skip,
                         "its UIDVALIDITY has changed since; run again to reconcile");
  if (opened->exists == 0) co_return out;
  auto all = co_await imap::list_messages(*session, Uid(1), opened->uid_next);
  if (!all) co_return tl::unexpected(std::move(all).error());
  std::vector<imap::Envelope> read;
  for (auto& e : *all) {
    if (level == VerifyLevel::full ||
        (level == VerifyLevel::sample && (in_sample(mailbox, e) || always->contains(e.uid))))
      read.push_back(e);
    const Uid uid = e.uid;
    out[uid].envelope = std::move(e);
  }
  for (auto& window : imap::windows(read))
    for (auto& b : co_await imap::read_messages(*session, std::move(window), imap::Keep::fingerprint,
                                                base::Fingerprinter::E1x::always))
      if (b.found == imap::BodyFound::whole || b.found == imap::BodyFound::too_large ||
          b.found == imap::BodyFound::empty)
        out[b.envelope.uid].print = b.print;
  co_return out;
}

}  // namespace

asio::awaitable<void> Migration::verify_mailbox(VerifyResult* result, VerifyLevel level, state::AccountRow account,
                                                state::MailboxRow m, imap::Session* source, imap::Session* target,
                                                EvidenceOfAccount* evidence) {
  auto query = [id = m.id](Db& db) { return std::make_pair(ledger_rows(db, id), state::surplus(db)); };
  auto [rows, surplus] = co_await store_.run(std::move(query));
  const auto differ = [&](Uid s, Uid t, const char* kind, std::string detail, bool explained, bool absence) {
    result->differences.push_back({account.address, m.name, s, t, kind, std::move(detail), explained, absence});
  };
  // Sampling must read the same messages on both sides, and all that were repaired.
  std::set<Uid> source_always, target_always;
  if (level == VerifyLevel::sample)
    for (const auto& r : rows) {
      imap::Envelope e;
      e.uid = r.row.uid;
      e.size = r.row.size;
      if (!r.noted("repair") && !in_sample(m.id.value, e)) continue;
      source_always.insert(r.row.uid);
      target_always.insert(r.row.target_uid);
    }
  std::map<Uid, There> src, dst;
  bool have_source = false, have_target = true;
  if (m.present && source != nullptr) {
    auto s = co_await read_side(source, m.wire, m.uid_validity, level, m.id.value, &source_always);
    if (s) {
      src = std::move(*s);
      have_source = true;
    } else {
      result->problems.push_back(fmt::format("\"{}\" of {} could not be read at the source: {}",
                                             base::printable(m.name), account.address, s.error().text));
    }
  }
  if (m.target_validity || !rows.empty()) {
    auto t = co_await read_side(target, m.target_wire, m.target_validity, level, m.id.value, &target_always);
    if (!t && !m.target_validity) {
      have_target = !m.met();  // nothing has been brought there yet, or it is not known what: the next run finds out
    } else if (!t) {
      result->problems.push_back(fmt::format("\"{}\" of {} could not be read on the target: {}",
                                             base::printable(m.target_name), account.address, t.error().text));
      if (evidence != nullptr) evidence->add(m.name, m.target_wire, {}, {});
      co_return;
    } else {
      dst = std::move(*t);
    }
  }
  std::unordered_map<base::Digest, int, base::DigestHash> ours;
  std::map<Uid, Uid> order;  // target -> source
  std::set<Uid> known;
  bool resent = false;
  std::vector<state::MessageId> absent;
  // What was moved, as both servers give it out now; nothing once a part of it could not be read.
  std::optional<std::vector<base::Digest>> source_e1, target_e1;
  if (have_source) source_e1.emplace();
  if (have_target) target_e1.emplace();
  const auto read_as = [](std::optional<std::vector<base::Digest>>& all, const There& there) {
    if (!there.print) all.reset();
    else if (all) all->push_back(there.print->e1);
  };
  for (const auto& r : rows) {
    const auto& row = r.row;
    ++progress_.verified;
    ++result->messages;
    const bool current = row.validity == m.uid_validity;
    const auto s = current ? src.find(row.uid) : src.end();
    if (current) known.insert(row.uid);
    if (row.e1) ++ours[*row.e1];
    resent = resent || row.attempts != 1 || r.noted("found") || r.noted("repair");
    switch (row.state) {
      case MessageState::listed:
      case MessageState::intent:
      case MessageState::acked:
        differ(row.uid, {}, "pending",
               s == src.end() && have_source ? "not copied, and no longer at the source" : "not copied yet: run again",
               true, true);
        continue;
      case MessageState::quarantined:
        differ(row.uid, {}, "quarantined",
               r.notes.contains("quarantine") ? r.notes.at("quarantine").back() : std::string(), true, true);
        continue;
      case MessageState::gone:
        if (s != src.end())
          differ(row.uid, {}, "back at the source",
                 "it was gone when it was to be copied, and is there again: run again", false, true);
        continue;
      case MessageState::excluded:
        if (s != src.end() && !r.noted("excluded"))
          differ(row.uid, {}, "left out", "it is at the source, and no policy says that it is not moved", false, true);
        continue;
      case MessageState::bound:
      case MessageState::verified:
        break;
    }
    if (s != src.end()) read_as(source_e1, s->second);
    const auto d = dst.find(row.target_uid);
    if (d == dst.end()) {
      absent.push_back(row.id);
      const bool was_verified = row.state == MessageState::verified;
      differ(row.uid, row.target_uid, "absent",
             was_verified ? "it was there and verified, and was removed on the target since"
                          : "the target lost it before it was ever verified",
             was_verified, true);
      continue;
    }
    d->second.claimed = true;
    read_as(target_e1, d->second);
    order[row.target_uid] = row.uid;
    bool body_ok = true;
    if (d->second.print) {
      ++result->bodies;
      bool rewritten = false;
      body_ok = same_body(row, *d->second.print, rewritten);
      if (!body_ok)
        differ(row.uid, row.target_uid, "another body", "what the target holds under this UID is not what was sent",
               false, false);
      if (s != src.end() && s->second.print) {
        if (s->second.print->e0 == d->second.print->e0) ++result->byte_identical;
        if (body_ok && s->second.print->e1 != d->second.print->e1 && !rewritten && !r.noted("repair")) {
          body_ok = false;
          differ(row.uid, row.target_uid, "another body",
                 "the source holds another message under this UID than the one that was copied", false, false);
        }
      }
    } else if (level == VerifyLevel::quick && s != src.end() && s->second.envelope.size != d->second.envelope.size &&
               row.state != MessageState::verified) {
      differ(row.uid, row.target_uid, "size",
             fmt::format("{} octets at the source, {} on the target", s->second.envelope.size, d->second.envelope.size),
             false, false);
    }
    if (!body_ok) continue;
    const auto& there = d->second.envelope;
    if (row.date && (!there.date || !there.date->same_instant(*row.date)))
      differ(row.uid, row.target_uid, "date",
             fmt::format("sent {}, the target stores {}", date_text(row.date), date_text(there.date)),
             r.stored_date_on_record(there.date), false);
    const std::string have = state::canonical_flags(there.flags);
    if (have != row.flags) {
      const auto w = flag_set(row.flags), h = flag_set(have);
      std::set<std::string> lost;
      std::set_difference(w.begin(), w.end(), h.begin(), h.end(), std::inserter(lost, lost.end()));
      const bool only_lost = std::includes(w.begin(), w.end(), h.begin(), h.end());
      const bool on_record = only_lost && r.lost_flags_on_record(lost);
      const bool since = row.state == MessageState::verified;
      differ(row.uid, row.target_uid, "flags",
             fmt::format("{}{}", difference_of(row.flags, have),
                         on_record ? ", as recorded"
                         : since   ? ", changed since it was verified"
                                   : ""),
             on_record || since, false);
    }
  }
  for (const auto& [uid, s] : src)
    if (!known.contains(uid))
      differ(uid, {}, "new at the source", "it came after the inventory: run again to move it", true, true);
  auto record = [id = m.id, absent](Db& db) { state::set_absent(db, id, absent); };
  co_await store_.run_in_order(std::move(record));
  // What else the target holds: strangers, or copies of ours that should not be.
  for (auto& [uid, d] : dst) {
    if (d.claimed) continue;
    if (!d.print) target_e1.reset();  // it may be a copy of ours
    const bool copy = d.print && ours.contains(d.print->e1);
    if (!copy) {
      ++result->strangers;
      continue;
    }
    read_as(target_e1, d);
    const auto listed = std::find_if(surplus.begin(), surplus.end(),
                                     [&, u = uid](const auto& x) { return x.mailbox == m.id && x.uid == u; });
    const bool before = uid < m.first_u0;
    differ({}, uid, "duplicate",
           listed != surplus.end() ? listed->detail
           : before                ? "a second copy of a message; it was there before this state first met the mailbox"
                                   : "a second copy of a message that was moved",
           before || listed != surplus.end(), false);
  }
  if (evidence != nullptr) evidence->add(m.name, m.target_wire, std::move(source_e1), std::move(target_e1));
  Uid last;
  for (const auto& [target_uid, source_uid] : order) {
    if (source_uid < last) {
      differ(source_uid, target_uid, "order", "it stands after a later message on the target", resent, false);
      break;
    }
    last = source_uid;
  }
}

}  // namespace pipeline
