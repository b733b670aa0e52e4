#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/text.hpp"
#include "extract/inventory.hpp"
#include "imap/protocol/date_time.hpp"
#include "imap/protocol/mailbox_name.hpp"
#include "pipeline/migration.hpp"

namespace pipeline {

namespace asio = boost::asio;
using state::Db;

namespace {

std::string policies(const Settings& s) {
  const char* deleted = s.load.deleted == load::DeletedPolicy::keep     ? "keep"
                        : s.load.deleted == load::DeletedPolicy::unmark ? "unmark"
                                                                        : "skip";
  const std::string target =
      s.target_kind == TargetKind::imap
          ? std::string("target imap; existing accounts are adopted")
          : fmt::format("target kerio; existing domains: {}; existing accounts: {}; refused passwords: {}",
                        s.adopt_domains ? "adopt" : "skip", s.adopt_accounts ? "adopt" : "skip",
                        s.generate_passwords ? "generate new ones" : "skip the account");
  return fmt::format("{}; \\Deleted: {}; refused messages are repaired minimally or quarantined{}", target, deleted,
                     s.escape.empty() ? "" : fmt::format("; '{}' escaped in mailbox names", s.escape));
}

// What is known of a mailbox's messages before one of them is sent.
struct Known {
  std::uint64_t to_move = 0, empty = 0, undated = 0, too_large = 0;
  base::Octets octets = 0, largest = 0;
  std::vector<std::string> flagsets;  // of the messages to move
  std::size_t flag_changes = 0;       // of those that were moved
  std::uint64_t bound = 0;            // moved, and the target's UID is known
};

Known known(Db& db, state::MailboxId mailbox, std::int64_t now, std::optional<base::Octets> limit) {
  Known k;
  k.flag_changes = state::flag_changes(db, mailbox).size();
  k.bound = static_cast<std::uint64_t>(
      db.integer("SELECT count(*) FROM message WHERE mailbox=? AND target_uid IS NOT NULL", mailbox));
  if (limit)
    k.too_large = static_cast<std::uint64_t>(
        db.integer("SELECT count(*) FROM message WHERE mailbox=? AND state<3 AND size>?", mailbox, *limit));
  auto r = db.rows(
      "SELECT count(*), total(size), max(size), sum(size=0), sum(date IS NULL OR date<1 OR date>?2) FROM message WHERE "
      "mailbox=?1 AND state<3",
      mailbox, now + 2 * 86400);
  if (r.next()) {
    k.to_move = static_cast<std::uint64_t>(r.integer(0));
    k.octets = static_cast<base::Octets>(r.integer(1));
    k.largest = static_cast<base::Octets>(r.integer(2));
    k.empty = static_cast<std::uint64_t>(r.integer(3));
    k.undated = static_cast<std::uint64_t>(r.integer(4));
  }
  auto f = db.rows(
      "SELECT DISTINCT f.names FROM message m JOIN flagset f ON f.id=m.flags WHERE m.mailbox=? AND m.state<3", mailbox);
  while (f.next()) k.flagsets.push_back(f.text(0));
  return k;
}

}  // namespace

// What the target has of an account, and the session that saw it.
struct Migration::TargetLook {
  std::unique_ptr<imap::Session> session;
  load::TargetView view;
  std::chrono::milliseconds at{0};
  std::optional<base::Error> failed;  // instead
};

asio::awaitable<Plan> Migration::plan(Inventory inventory) {
  const bool anew = inventory == Inventory::anew;
  progress_.begin(anew ? "inventory" : "plan", clock_.now());
  Plan plan;
  plan.policies = policies(settings_);
  auto query = [](Db& db) { return state::accounts(db); };
  auto accounts = co_await store_.run(std::move(query));
  std::erase_if(accounts, [&](const auto& a) { return !selected(a.address); });
  plan.accounts.resize(accounts.size());
  std::vector<state::AccountRow> to_do;
  std::map<std::int64_t, PlannedAccount*> places;
  for (std::size_t i = 0; i < accounts.size(); ++i) {
    const auto& a = accounts[i];
    auto& p = plan.accounts[i];
    p.id = a.id;
    p.post_office = a.post_office;
    p.address = a.address;
    p.target_login = a.target_login;
    p.skip = a.skip;
    if (const auto d = decided_.find(a.address); d != decided_.end()) {
      const std::string office = std::move(p.post_office);
      p = d->second;
      p.post_office = office;
    }
    if (!anew) {
      if (const auto e = extract_errors_.find(a.id.value); p.skip.empty() && e != extract_errors_.end())
        p.skip = e->second;
      if (p.skip.empty() && !a.inventoried) p.skip = a.error.empty() ? "it has not been inventoried" : a.error;
    }
    if (!p.skip.empty()) continue;
    places[a.id.value] = &p;
    to_do.push_back(a);
  }
  std::function<asio::awaitable<void>(state::AccountRow)> work = [this, &places, anew](state::AccountRow a) {
    auto* const place = places.at(a.id.value);
    return anew ? take_and_plan_account(place, std::move(a)) : plan_account(place, std::move(a), TargetLook{});
  };
  co_await for_each_account(std::move(to_do), std::move(work));
  plan.domains = domains_;
  if (picture_) {
    std::uint64_t create = 0;
    base::Octets octets = 0;
    for (const auto& a : plan.accounts) {
      create += a.skip.empty() && a.fate == Fate::create;
      for (const auto& m : a.mailboxes) octets += m.octets;
    }
    for (auto& r : server_remarks(picture_->server, create, octets, !settings_.master_password.empty()))
      plan.remarks.push_back(std::move(r));
  }
  const auto unused = configuration_.unused.size();
  if (unused > 0)
    plan.remarks.push_back(
        fmt::format("{} of the source configuration were not understood by the mapping; \"4d2kms inspect\" lists them.",
                    base::plural(unused, "node")));
  plan.remarks.push_back(
      "Only what IMAP shows is moved: mailboxes, messages, flags, dates, subscriptions. Filters, address books and "
      "passwords of "
      "other services are not.");
  co_return plan;
}

asio::awaitable<void> Migration::leave_out(std::map<std::string, std::string> reasons) {
  auto query = [](Db& db) { return state::accounts(db); };
  for (const auto& a : co_await store_.run(std::move(query)))
    if (const auto r = reasons.find(a.address); r != reasons.end() && !a.error.empty() && a.error == r->second)
      extract_errors_.emplace(a.id.value, a.error);
}

// While the source is read for the inventory the target has time to be looked at; not before the source has let us in:
// a password that is wrong there is not tried here as well.
asio::awaitable<void> Migration::take_and_plan_account(PlannedAccount* planned, state::AccountRow account) {
  TargetLook look;
  std::function<asio::awaitable<void>()> meanwhile;
  if (planned->fate != Fate::create)
    meanwhile = [this, address = account.address, &look] { return look_ahead(address, &look); };
  co_await extract_account(account, std::move(meanwhile));
  if (stopping_) co_return;
  if (const auto e = extract_errors_.find(account.id.value); e != extract_errors_.end()) {
    planned->skip = e->second;
    co_return;
  }
  // Long ago, after a large inventory: a server may have tired of a session that was idle, or have got over its
  // trouble.
  if (clock_.now() - look.at > kLookStaysTrue && (!look.failed || look.failed->remedy != base::Remedy::ask_admin))
    look = {};
  co_await plan_account(planned, std::move(account), std::move(look));
}

// Once: what came of it is acted on when the inventory is there.
asio::awaitable<void> Migration::look_ahead(std::string address, TargetLook* look) {
  if (look->session || look->failed) co_return;
  std::optional<base::Error> failed;
  try {
    co_await look_at_target(std::move(address), look);
  } catch (const base::Failed& f) {
    failed = f.error;
  }
  look->at = clock_.now();
  if (failed && failed->scope == base::Scope::run) {
    stop();  // no further account is begun meanwhile
    throw base::Failed(*failed);
  }
  look->failed = std::move(failed);
}

asio::awaitable<void> Migration::plan_account(PlannedAccount* planned, state::AccountRow account, TargetLook look) {
  std::function<asio::awaitable<void>()> once = [this, planned, &account, &look] {
    return plan_once(planned, account.address, &look);
  };
  const std::string error = co_await supervise(account.address, std::move(once));
  if (error.empty()) co_return;
  planned->skip = error;
  auto save = [id = account.id, error](Db& db) { state::set_account_error(db, id, error); };
  co_await store_.run(std::move(save));
}

namespace {

asio::awaitable<load::TargetView> view_of(imap::Session* target) {
  load::TargetView view;
  const auto listing = co_await target->listing();
  const auto& spaces = listing.namespaces;
  if (!spaces.personal.empty()) {
    view.prefix = spaces.personal.front().prefix;
    if (spaces.personal.front().delimiter) view.delimiter = std::string(1, *spaces.personal.front().delimiter);
  }
  for (const auto& item : listing.mailboxes) {
    if (spaces.personal.empty() && item.delimiter) view.delimiter = std::string(1, *item.delimiter);
    const std::string& wire = item.name;
    view.mailboxes.push_back({wire, imap::from_mutf7(wire).value_or(wire), item.attributes,
                              listing.subscribed.contains(wire),
                              !item.has("\\noselect") && !item.has("\\nonexistent")});
  }
  co_return view;
}

// PERMANENTFLAGS of Kerio Connect (transcript of an 8.5.1 session): no further keywords.
std::vector<std::string> kerio_flags() {
  std::vector<std::string> out;
  for (const char* f : {"\\Deleted", "\\Seen", "\\Answered", "\\Draft", "\\Flagged", "$MDNSent", "$Forwarded",
                        "$AutoJunk", "$AutoNotJunk", "$Junk", "$NotJunk"})
    out.emplace_back(f);
  return out;
}

}  // namespace

asio::awaitable<void> Migration::look_at_target(std::string address, TargetLook* look) {
  auto session = co_await open_session(Side::target, std::move(address), imap::Access::read_only);
  look->view = co_await view_of(session.get());
  look->session = std::move(session);  // not before the view is whole: nothing is planned from half of one
}

asio::awaitable<void> Migration::plan_once(PlannedAccount* planned, std::string address, TargetLook* look) {
  planned->mailboxes.clear();
  planned->left_out.clear();
  if (planned->fate == Fate::create) {
    // Nobody can log in to it yet: planned from what such an account has at first; load looks before it acts.
    const load::TargetView view = load::fresh_kerio_account();
    co_await plan_mailboxes(planned, &view, nullptr);
    co_return;
  }
  if (look->failed) throw base::Failed(*std::exchange(look->failed, std::nullopt));
  if (!look->session) co_await look_at_target(std::move(address), look);
  const auto target = std::move(look->session);
  co_await plan_mailboxes(planned, &look->view, target.get());
  if (!target->has("UIDPLUS"))
    planned->remarks.push_back(
        "the target does not report UIDs (no UIDPLUS): each message is read back to be sure, and surplus copies can "
        "only be listed");
  co_await target->logout();
}

// Of an account that was planned before it existed: the names as its mailboxes really are.
asio::awaitable<void> Migration::adapt_to_target(imap::Session* target, PlannedAccount* planned) {
  auto query = [id = planned->id](Db& db) {
    return std::make_pair(state::mailboxes(db, id), state::meta(db, fmt::format("prefix {}", id.value)));
  };
  const auto [rows, prefix] = co_await store_.run(std::move(query));
  const auto view = co_await view_of(target);
  for (const auto& now : load::map_mailboxes(rows, prefix, view, name_rules())) {
    for (auto& m : planned->mailboxes) {
      if (m.map.id != now.id || m.map.wire == now.wire) continue;
      const auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.id == now.id; });
      if (row->target_wire == now.wire) {  // an earlier attempt of this run has told it
        m.map = now;
        continue;
      }
      event("mailbox name",
            fmt::format("\"{}\" of {} goes to \"{}\" instead of \"{}\": {}", base::printable(now.from),
                        planned->address, base::printable(now.name), base::printable(m.map.name),
                        now.why.empty() ? "as the new account has it" : now.why),
            planned->id, now.id);
      auto save = [now, asked = m.map.name](Db& db) {
        state::set_target_name(db, state::TargetName{now.id, now.wire, now.name}, asked);
      };
      co_await store_.run(std::move(save));
      m.asked = m.map.name;
      m.map = now;
    }
  }
}

asio::awaitable<void> Migration::plan_mailboxes(PlannedAccount* planned, const load::TargetView* view_there,
                                                imap::Session* target) {
  const load::TargetView& view = *view_there;
  auto query = [id = planned->id](Db& db) {
    return std::make_pair(state::mailboxes(db, id), state::meta(db, fmt::format("prefix {}", id.value)));
  };
  const auto [rows, prefix] = co_await store_.run(std::move(query));
  const auto mapped = load::map_mailboxes(rows, prefix, view, name_rules());

  const auto row_of = [&](const load::MappedMailbox& m) {
    return std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.id == m.id; });
  };
  const auto limit = target == nullptr ? std::optional<base::Octets>() : target->append_limit();
  std::vector<state::MailboxId> ids;
  for (const auto& m : mapped) ids.push_back(m.id);
  auto look = [ids, now = clock_.unix_seconds(), limit](Db& db) {
    std::vector<Known> out;
    for (const auto id : ids) out.push_back(known(db, id, now, limit));
    return out;
  };
  const auto all_known = co_await store_.run(std::move(look));

  // As load left it? One STATUS each, in one go.
  std::vector<std::string> ask;
  for (const auto& m : mapped)
    if (target != nullptr && m.exists && row_of(m)->target_validity) ask.push_back(m.wire);
  std::map<std::string, imap::StatusItem> statuses;
  if (!ask.empty()) {
    const auto answers = co_await target->statuses(ask, false);
    for (std::size_t i = 0; i < ask.size(); ++i)
      if (answers[i]) statuses[ask[i]] = *answers[i];
  }
  const bool any_flags = std::any_of(all_known.begin(), all_known.end(), [](const Known& k) {
    return std::any_of(k.flagsets.begin(), k.flagsets.end(), [](const auto& set) { return !set.empty(); });
  });
  imap::Opened kept;  // what of flags
  if (target == nullptr) {
    kept.permanent_flags = kerio_flags();
  } else if (any_flags) {
    // PERMANENTFLAGS of one mailbox stands for all: a server's rule, seldom a mailbox's.
    auto opened = co_await target->examine("INBOX");
    // Many servers say "()" to EXAMINE, since nothing can be kept on a read-only mailbox: that says nothing about
    // APPEND.
    if (opened && opened->permanent_flags && !opened->permanent_flags->empty()) kept = *opened;
  }
  for (std::size_t at = 0; at < mapped.size(); ++at) {
    const auto& m = mapped[at];
    const Known& k = all_known[at];
    const auto row = row_of(m);
    PlannedMailbox p;
    p.map = m;
    const auto existing =
        std::find_if(view.mailboxes.begin(), view.mailboxes.end(), [&](const auto& e) { return e.wire == m.wire; });
    if (row->target_name == m.name) p.asked = row->asked_name;
    p.create = existing == view.mailboxes.end() || !existing->selectable;
    p.subscribe = row->subscribed && !(existing != view.mailboxes.end() && existing->subscribed);
    p.source_validity = row->uid_validity;
    p.source_uid_next = row->uid_next;
    p.source_messages = row->messages;
    p.to_move = k.to_move;
    p.octets = k.octets;
    // The same mailbox as when load last saw it.
    const auto found = statuses.find(m.wire);
    const imap::StatusItem* status =
        found != statuses.end() && found->second.uid_validity == row->target_validity.value ? &found->second : nullptr;
    p.untouched = status != nullptr && k.flag_changes == 0 && status->uid_next == row->low_water.value;
    // A mailbox that has never had a message needs no look.
    if (!p.create && row->messages == 0 && k.to_move == 0 && !row->target_validity) p.untouched = true;
    // A user's new mail can hide a loss from this count; that many fewer cannot be anything else.
    constexpr std::string_view kFewer = "the target shows only ";
    const bool fewer = status != nullptr && status->messages.value_or(k.bound) < k.bound;
    // Mended since, on the target or by taking it back at the source.
    const bool subscribed = row->error.starts_with(kNotSubscribed) && !p.subscribe;
    if (fewer || subscribed || (status != nullptr && row->error.starts_with(kFewer))) {
      const std::string text =
          fewer ? fmt::format("{}{} of the {} that were moved there: \"4d2kms verify\" names those that are gone",
                              kFewer, *status->messages, base::plural(k.bound, "message"))
                : std::string();
      auto note = [id = m.id, text](Db& db) { state::set_target_error(db, id, text); };
      co_await store_.run_in_order(std::move(note));
      if (fewer) p.remarks.push_back(text);
    }
    if (!row->error.empty() && !subscribed && !row->error.starts_with(kFewer)) p.remarks.push_back(row->error);
    if (k.empty > 0)
      p.remarks.push_back(
          fmt::format("{} of no octets: no server stores such; quarantined", base::plural(k.empty, "message")));
    if (k.too_large > 0)
      p.remarks.push_back(fmt::format("{} larger than the target takes ({}): they would be quarantined",
                                      base::plural(k.too_large, "message"), base::human_octets(*limit)));
    if (k.undated > 0)
      p.remarks.push_back(fmt::format("{} without a usable INTERNALDATE: the Date: header is used",
                                      base::plural(k.undated, "message")));
    std::set<std::string> lost;
    for (const auto& set : k.flagsets)
      for (const auto& f : state::flag_names(set))
        if (!kept.keeps(f)) lost.insert(f);
    const bool any_deleted = std::any_of(k.flagsets.begin(), k.flagsets.end(),
                                         [](const auto& set) { return state::has_flag(set, "\\Deleted"); });
    if (any_deleted && settings_.load.deleted == load::DeletedPolicy::unmark) lost.insert("\\Deleted");
    p.flags_lost.assign(lost.begin(), lost.end());
    planned->mailboxes.push_back(std::move(p));
  }
  for (const auto& r : rows)
    if (r.present && !r.excluded.empty()) planned->left_out.emplace_back(r.name, r.excluded);
}

}  // namespace pipeline
