#include "extract/inventory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <set>

#include "base/text.hpp"
#include "imap/client/reader.hpp"
#include "imap/protocol/mailbox_name.hpp"

namespace extract {

namespace asio = boost::asio;
using base::Remedy;
using base::Scope;
using base::Uid;
using state::Db;

namespace {

constexpr std::size_t kChunk = 4000;  // rows a transaction
constexpr const char* kItems = "(UID FLAGS INTERNALDATE RFC822.SIZE)";

std::string readable(const std::string& wire) { return imap::from_mutf7(wire).value_or(wire); }

// A mailbox's list on its way into the store. The last piece waits for the end of the list and goes in with it: a small
// mailbox is one commit, and with many accounts most are small.
struct Listing {
  state::Store& store;
  state::MailboxId mailbox;
  base::UidValidity validity;
  bool begun = false;  // under that UIDVALIDITY
  std::vector<imap::Envelope> held;
};

asio::awaitable<void> write(Listing* l, std::optional<state::InventoryEnd> end) {
  state::InventoryPiece piece{!l->begun, {}, end};
  piece.found.reserve(l->held.size());
  for (auto& e : l->held) piece.found.push_back({e.uid, e.size, e.date, state::canonical_flags(std::move(e.flags))});
  l->held.clear();
  auto work = [mailbox = l->mailbox, validity = l->validity, piece = std::move(piece)](Db& db) {
    state::add_inventory(db, mailbox, validity, piece);
  };
  co_await l->store.run_in_order(std::move(work));
  l->begun = true;
}

asio::awaitable<void> take(Listing* l, std::vector<imap::Envelope> some) {
  if (!l->held.empty()) co_await write(l, std::nullopt);
  l->held = std::move(some);
}

// RFC 7162; QRESYNC implies CONDSTORE.
bool has_modseq(const imap::Session& session) { return session.has("CONDSTORE") || session.has("QRESYNC"); }

asio::awaitable<base::Result<std::uint64_t>> read_mailbox(imap::Session& session, state::Store& store,
                                                          state::MailboxRow m) {
  for (int attempt = 0;; ++attempt) {
    auto opened = co_await session.examine(m.wire, has_modseq(session));
    if (!opened) co_return base::fail(Scope::mailbox, Remedy::skip, "could not be opened: " + opened.error().text);
    if (!opened->uid_validity || opened->uid_not_sticky)
      co_return base::fail(Scope::mailbox, Remedy::skip,
                           "the server gives it no UIDs that last, so that nothing in it could be told apart");
    const auto validity = opened->uid_validity;
    Listing listing{store, m.id, validity, validity == m.uid_validity, {}};
    imap::EnvelopeReceiver receive = [l = &listing](std::vector<imap::Envelope> some) {
      return take(l, std::move(some));
    };
    const std::uint64_t exists = opened->exists;
    std::uint64_t count = 0;
    if (exists > 0) {
      auto listed = co_await imap::list_messages(session, Uid(1), opened->uid_next, kItems, kChunk, std::move(receive));
      if (!listed) {
        co_await write(&listing, std::nullopt);
        co_return base::fail(Scope::mailbox, Remedy::skip, "could not be listed: " + listed.error().text);
      }
      count = *listed;
    }
    if (count != exists) {
      co_await write(&listing, std::nullopt);
      m.uid_validity = validity;
      // Mail came or went in between, or the server gave a short list under OK: never taken for complete.
      if (attempt == 0) continue;
      co_return base::fail(Scope::mailbox, Remedy::skip,
                           fmt::format("the server listed {} of {}", count, base::plural(exists, "message")));
    }
    co_await write(&listing, state::InventoryEnd{opened->uid_next, exists, opened->highest_modseq});
    co_return count;
  }
}

// One mailbox of several that are read together.
struct Together {
  state::MailboxRow* row;
  Listing listing;
  base::Uid last;
};

asio::awaitable<void> take_together(Together* t, imap::Opened opened, std::vector<imap::Envelope> some) {
  if (!opened.uid_validity || opened.uid_not_sticky) co_return;
  t->listing.validity = opened.uid_validity;
  t->listing.begun = t->row->uid_validity == opened.uid_validity;
  t->last = some.back().uid;
  co_await take(&t->listing, std::move(some));
  if (t->listing.begun) t->row->uid_validity = opened.uid_validity;
}

asio::awaitable<void> end_together(Together* t, imap::Opened opened, std::uint64_t count, std::uint64_t* read,
                                   std::set<std::int64_t>* complete) {
  const bool whole = opened.uid_validity && !opened.uid_not_sticky && count == opened.exists &&
                     (count == 0 || t->last < opened.uid_next);
  if (!whole) co_return;
  t->listing.validity = opened.uid_validity;
  t->listing.begun = t->row->uid_validity == opened.uid_validity;
  co_await write(&t->listing, state::InventoryEnd{opened.uid_next, opened.exists, opened.highest_modseq});
  *read += count;
  complete->insert(t->row->id.value);
}

// Without waiting for one mailbox's answers before the next is asked for.
asio::awaitable<void> read_together(imap::Session* session, state::Store* store, std::vector<state::MailboxRow>* rows,
                                    InventoryResult* result, std::set<std::int64_t>* complete) {
  std::deque<Together> all;
  std::vector<imap::MailboxToList> to_list;
  for (auto& m : *rows) {
    Together* t = &all.emplace_back(Together{&m, Listing{*store, m.id, {}, false, {}}, {}});
    to_list.push_back({m.wire,
                       [t](const imap::Opened& opened, std::vector<imap::Envelope> some) {
                         return take_together(t, opened, std::move(some));
                       },
                       [t, result, complete](const imap::Opened& opened, std::uint64_t count) {
                         return end_together(t, opened, count, &result->messages_read, complete);
                       }});
  }
  co_await imap::list_mailboxes(*session, std::move(to_list), has_modseq(*session), kItems, kChunk);
}

}  // namespace

asio::awaitable<std::vector<state::FoundMailbox>> find_mailboxes(imap::Session& session, std::string& prefix) {
  const auto listing = co_await session.listing();
  const auto& spaces = listing.namespaces;
  prefix = spaces.personal.empty() ? std::string() : spaces.personal.front().prefix;
  const auto not_own = [&](const std::string& name) {
    for (const auto* group : {&spaces.others, &spaces.shared})
      for (const auto& e : *group) {
        if (e.prefix.empty()) continue;
        // The namespace's own node too: "shared" for "shared.".
        if (name.starts_with(e.prefix) || name + std::string(1, e.delimiter.value_or('/')) == e.prefix) return true;
      }
    return false;
  };
  std::vector<state::FoundMailbox> out;
  std::set<std::string> seen;
  for (const auto& item : listing.mailboxes) {
    state::FoundMailbox m;
    m.wire = item.name;
    if (!seen.insert(m.wire).second) continue;  // a loop in LIST, or INBOX twice
    m.name = readable(m.wire);
    m.delimiter = item.delimiter ? std::string(1, *item.delimiter) : std::string();
    m.attributes = base::join(item.attributes, " ");
    m.subscribed = listing.subscribed.contains(m.wire);
    if (item.has("\\noselect") || item.has("\\nonexistent")) m.excluded = "holds no messages (\\Noselect)";
    else if (not_own(m.wire)) m.excluded = "not the user's own (shared or another user's)";
    out.push_back(std::move(m));
  }
  co_return out;
}

asio::awaitable<InventoryResult> inventory(imap::Session& session, state::Store& store, state::AccountId account,
                                           std::string& prefix) {
  InventoryResult result;
  const auto found = co_await find_mailboxes(session, prefix);
  auto save = [account, found](Db& db) {
    state::save_mailboxes(db, account, found);
    return state::mailboxes(db, account);
  };
  const auto rows = co_await store.run_in_order(std::move(save));
  const bool modseq = has_modseq(session);
  // Those inventoried before are asked for what has changed, all in one go.
  std::vector<std::string> known;
  for (const auto& m : rows) {
    if (!m.present || !m.excluded.empty()) continue;
    ++result.mailboxes;
    if (m.complete && modseq && m.modseq) known.push_back(m.wire);
  }
  std::set<std::string> unchanged;
  const auto statuses = co_await session.statuses(known, true);
  for (std::size_t i = 0; i < known.size(); ++i) {
    if (!statuses[i]) continue;
    const auto& s = *statuses[i];
    for (const auto& m : rows)
      if (m.wire == known[i] && s.uid_validity == m.uid_validity.value && s.uid_next == m.uid_next.value &&
          s.messages == m.messages && s.highest_modseq == m.modseq.value)
        unchanged.insert(m.wire);
  }
  std::vector<state::MailboxRow> changed;
  for (const auto& m : rows) {
    if (!m.present || !m.excluded.empty()) continue;
    if (unchanged.contains(m.wire)) ++result.unchanged;
    else changed.push_back(m);
  }
  std::set<std::int64_t> complete;
  if (session.pipelines()) co_await read_together(&session, &store, &changed, &result, &complete);
  // One by one what was not to be had in one go, or could not be believed.
  for (const auto& m : changed) {
    if (complete.contains(m.id.value)) continue;
    const auto count = co_await read_mailbox(session, store, m);
    if (count) {
      result.messages_read += *count;
    } else {
      result.problems.push_back(fmt::format("Mailbox \"{}\" {}. Its messages are not migrated.",
                                            base::printable(m.name), count.error().text));
      auto note = [id = m.id, text = count.error().text](Db& db) {
        state::set_source_error(db, id, "at the source: " + text);
      };
      co_await store.run_in_order(std::move(note));
    }
  }
  co_return result;
}

}  // namespace extract
