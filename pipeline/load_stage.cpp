#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <unordered_map>

#include "base/tasks.hpp"
#include "base/text.hpp"
#include "extract/inventory.hpp"
#include "extract/source_reader.hpp"
#include "imap/protocol/mailbox_name.hpp"
#include "load/mailbox_loader.hpp"
#include "pipeline/migration.hpp"

namespace pipeline {

namespace asio = boost::asio;
using base::Remedy;
using base::Scope;
using state::Db;
using namespace std::chrono_literals;

namespace {

// Load's bodies come from extract's reader; here alone the two meet.
class Bodies final : public load::BodySource {
 public:
  explicit Bodies(extract::SourceReader::OpenSession open) : open_(std::move(open)) {}
  asio::awaitable<std::vector<imap::ReadMessage>> read(state::MailboxRow mailbox,
                                                       std::vector<base::Uid> uids) override {
    const auto mine = co_await turn();
    if (reader_->is_open(mailbox)) co_return co_await reader_->read(std::move(uids));
    auto read = co_await reader_->open_and_read(std::move(mailbox), std::move(uids));
    if (!read) throw base::Failed(read.error());
    co_return std::move(*read);
  }
  asio::awaitable<imap::ReadMessage> read_afresh(state::MailboxRow mailbox, base::Uid uid) override {
    const auto turn = co_await turn_at(std::move(mailbox));
    co_return co_await reader_->read_afresh(uid);
  }
  asio::awaitable<imap::ReadMessage> stream(state::MailboxRow mailbox, base::Uid uid,
                                            imap::BodyReceiver& receiver) override {
    const auto turn = co_await turn_at(std::move(mailbox));
    co_return co_await reader_->stream(uid, receiver);
  }
  asio::awaitable<base::Result<std::vector<base::Uid>>> confirm_absent(state::MailboxRow mailbox,
                                                                       std::vector<base::Uid> uids) override {
    const auto turn = co_await turn_at(std::move(mailbox));
    co_return co_await reader_->confirm_absent(std::move(uids));
  }
  // Listed there now, or at least to be opened: then it is not gone.
  asio::awaitable<bool> exists(std::string wire) {
    const auto mine = co_await turn();
    const auto there = co_await session_->list();
    if (std::any_of(there.begin(), there.end(), [&](const auto& i) { return i.name == wire; })) co_return true;
    // A short list under OK is no proof either: the server must say that it is not there.
    co_return (co_await session_->examine(wire)).has_value();
  }
  // On first need, or before: an account with nothing to copy costs the source nothing.
  asio::awaitable<void> connect() {
    if (session_) co_return;
    session_ = co_await open_();
    reader_.emplace(*session_, open_);
  }
  asio::awaitable<void> end() {
    if (session_) co_await session_->logout();
  }

 private:
  asio::awaitable<base::SharedLock::Hold> turn() {
    auto mine = co_await turns_.alone();
    co_await connect();
    co_return mine;
  }
  asio::awaitable<base::SharedLock::Hold> turn_at(state::MailboxRow mailbox) {
    auto mine = co_await turn();
    if (!reader_->is_open(mailbox)) {
      auto opened = co_await reader_->open(std::move(mailbox));
      if (!opened) throw base::Failed(opened.error());
    }
    co_return mine;
  }

  extract::SourceReader::OpenSession open_;
  std::unique_ptr<imap::Session> session_;
  std::optional<extract::SourceReader> reader_;
  base::SharedLock turns_;
};

}  // namespace

asio::awaitable<void> Migration::load(Plan plan) {
  if (settings_.target_kind == TargetKind::kerio) co_await provision(&plan);
  if (stopping_) co_return;
  progress_.begin("copy", clock_.now());
  std::vector<state::TargetName> targets;
  std::vector<state::AccountRow> accounts;
  std::map<std::int64_t, const PlannedAccount*> planned;
  for (const auto& a : plan.accounts) {
    if (!a.skip.empty()) continue;
    if (const auto e = provision_errors_.find(a.address); e != provision_errors_.end()) {
      auto note = [id = a.id, text = e->second](Db& db) { state::set_account_error(db, id, text); };
      co_await store_.run(std::move(note));
      continue;
    }
    for (const auto& m : a.mailboxes) {
      targets.push_back({m.map.id, m.map.wire, m.map.name});
      progress_.total += m.to_move;
      progress_.total_octets += m.octets;
    }
    if (a.nothing_to_do()) continue;
    planned[a.id.value] = &a;
    state::AccountRow row;
    row.id = a.id;
    row.address = a.address;
    accounts.push_back(std::move(row));
  }
  auto save = [targets = std::move(targets)](Db& db) { state::set_targets(db, targets); };
  co_await store_.run(std::move(save));
  std::function<asio::awaitable<void>(state::AccountRow)> work = [this, &planned](state::AccountRow a) {
    return load_account(planned.at(a.id.value));
  };
  co_await for_each_account(std::move(accounts), std::move(work));
}

asio::awaitable<void> Migration::load_account(const PlannedAccount* planned) {
  std::function<asio::awaitable<void>()> once = [this, planned] { return load_once(planned); };
  const std::string error = co_await supervise(planned->address, std::move(once));
  helped_.erase(planned->address);
  auto save = [id = planned->id, error](Db& db) { state::set_account_error(db, id, error); };
  co_await store_.run(std::move(save));
}

// Nothing, or why it is not there.
asio::awaitable<std::string> Migration::why_not_made(imap::Session* target, const PlannedAccount* planned,
                                                     load::MappedMailbox mailbox, imap::Answer answer) {
  if (answer.ok()) {
    event("mailbox created", fmt::format("\"{}\" for {}", base::printable(mailbox.name), planned->address), planned->id,
          mailbox.id);
    co_return std::string();
  }
  // Another session, or an earlier attempt whose answer was lost, may have made it: look, and only then believe the NO.
  for (const auto& i : co_await target->list())
    if (i.name == mailbox.wire) co_return std::string();
  co_return fmt::format(
      "Could not create \"{}\" on the target for {}: server said {}. Its messages stay pending. If the name holds a "
      "character that this server does not take, add --escape with that character and run again.",
      base::printable(mailbox.name), planned->address, answer.tagged.verbatim());
}

// Below --target-prefix instead, where that is allowed and free; `wire` is where it went.
asio::awaitable<bool> Migration::make_below_prefix(imap::Session* target, const PlannedAccount* planned,
                                                   load::MappedMailbox mailbox, std::set<std::string> there,
                                                   std::string* wire) {
  const std::string below = settings_.target_prefix;
  if (settings_.target_kind != TargetKind::kerio || below.empty() ||
      base::iequals(mailbox.name.substr(0, below.size() + 1), below + "/"))
    co_return false;
  load::MappedMailbox moved = mailbox;
  const auto used = [&](const std::string& name) {
    return std::any_of(planned->mailboxes.begin(), planned->mailboxes.end(),
                       [&](const auto& x) { return base::iequals(x.map.name, name); });
  };
  moved.name = below + "/" + mailbox.name;
  for (int n = 2; used(moved.name); ++n) moved.name = fmt::format("{}/{} ({})", below, mailbox.name, n);
  moved.wire = imap::to_mutf7(moved.name);
  if (!there.contains(moved.wire)) {
    auto answer = co_await target->create(moved.wire);
    const std::string error = co_await why_not_made(target, planned, moved, std::move(answer));
    if (!error.empty()) co_return false;
  }
  *wire = moved.wire;
  event("mailbox name",
        fmt::format("\"{}\" of {} goes to \"{}\": the target did not take \"{}\"", base::printable(mailbox.from),
                    planned->address, base::printable(moved.name), base::printable(mailbox.name)),
        planned->id, mailbox.id);
  auto save = [moved, asked = mailbox.name](Db& db) {
    state::set_target_name(db, state::TargetName{moved.id, moved.wire, moved.name}, asked);
  };
  co_await store_.run(std::move(save));
  co_return true;
}

asio::awaitable<Migration::Made> Migration::create_mailboxes(imap::Session* target, const PlannedAccount* planned) {
  Made out;
  const bool any = std::any_of(planned->mailboxes.begin(), planned->mailboxes.end(),
                               [](const auto& m) { return m.create || m.subscribe; });
  if (!any) co_return out;
  std::set<std::string> there;
  const auto listing = co_await target->listing();
  for (const auto& i : listing.mailboxes)
    if (!i.has("\\noselect")) there.insert(i.name);
  std::vector<std::string> wanted;
  for (const auto& m : planned->mailboxes)
    if (!there.contains(m.map.wire)) wanted.push_back(m.map.wire);
  const auto created = co_await target->create_each(wanted);
  std::map<std::string, imap::Answer> answers;
  for (std::size_t i = 0; i < wanted.size(); ++i) answers[wanted[i]] = created[i];
  std::vector<std::pair<state::MailboxId, std::string>> errors;
  std::vector<std::string> to_subscribe;
  std::vector<state::MailboxId> subscribing;
  for (const auto& m : planned->mailboxes) {
    std::string error;
    std::string wire = m.map.wire;
    if (const auto a = answers.find(wire); a != answers.end()) {
      error = co_await why_not_made(target, planned, m.map, a->second);
      if (a->second.ok()) out.made.insert(m.map.id.value);
      // A target that takes no new mailboxes at the top may take them below another.
      if (!error.empty()) {
        const bool moved = co_await make_below_prefix(target, planned, m.map, there, &wire);
        if (moved) error.clear();
      }
    }
    if (!error.empty()) out.not_made.insert(m.map.id.value);
    if (error.empty() && m.subscribe && !listing.subscribed.contains(wire)) {
      to_subscribe.push_back(wire);
      subscribing.push_back(m.map.id);
    }
    errors.emplace_back(m.map.id, std::move(error));
  }
  const auto answered = co_await target->subscribe_each(to_subscribe);
  for (std::size_t i = 0; i < answered.size(); ++i) {
    if (answered[i].ok()) continue;
    auto& text = out.not_subscribed[subscribing[i].value];
    text = fmt::format("{} {} to \"{}\": server said {}.", kNotSubscribed, planned->address,
                       base::printable(imap::from_mutf7(to_subscribe[i]).value_or(to_subscribe[i])),
                       answered[i].tagged.verbatim());
    log_->warn(text);
  }
  for (const auto& [id, error] : errors)
    if (!error.empty()) log_->warn(error);
  auto save = [errors](Db& db) {
    state::Transaction t(db);
    for (const auto& [id, error] : errors) state::set_target_error(db, id, error);
    t.commit();
  };
  co_await store_.run_in_order(std::move(save));
  co_return out;
}

// Quiet hours and the limit of octets a second, for one account.
class Migration::WindowGate final : public load::Gate {
 public:
  WindowGate(Migration& m, std::string account) : m_(m), account_(std::move(account)) {}

  bool try_pass(base::Octets octets) override {
    m_.look_at_speed();  // windows are what measures the servers; no timer is needed for it
    if (quiet().count() > 0 || until_free().count() > 0) return false;
    m_.rate_limit_.send(octets);
    return true;
  }
  asio::awaitable<bool> wait(base::Octets octets) override {
    for (;;) {
      if (m_.stopping_) co_return false;
      const auto hours = quiet(), free = until_free();
      if (hours.count() == 0 && free.count() == 0) break;
      const Waiting shown(m_.progress_, account_,
                          hours.count() > 0 ? "the quiet hours " + to_text(*m_.tuning().quiet) + " to end"
                                            : "its turn under the limit of octets a second",
                          m_.clock_.now() + std::max(hours, free));
      // In short steps: limits may change, we may be asked to stop, somebody else may have taken the turn.
      co_await m_.clock_.sleep(std::min<std::chrono::milliseconds>(std::max(hours, free), 500ms));
    }
    m_.rate_limit_.send(octets);
    co_return true;
  }
  asio::awaitable<void> more(base::Octets octets) override {
    for (auto left = until_free(); left.count() > 0 && !m_.stopping_; left = until_free())
      co_await m_.clock_.sleep(std::min<std::chrono::milliseconds>(left, 500ms));
    m_.rate_limit_.send(octets);
  }

 private:
  std::chrono::milliseconds quiet() const {
    const auto& q = m_.tuning().quiet;
    if (!q) return 0ms;
    const std::time_t now = m_.clock_.unix_seconds();
    std::tm local{};
    localtime_r(&now, &local);
    const int minute = local.tm_hour * 60 + local.tm_min;
    return q->hold(minute) ? std::chrono::minutes(q->minutes_left(minute)) - std::chrono::seconds(local.tm_sec) : 0s;
  }
  std::chrono::milliseconds until_free() { return m_.rate_limit_.until_free(m_.clock_.now(), m_.tuning().max_rate); }

  Migration& m_;
  std::string account_;
};

namespace {

asio::awaitable<void> look_again(load::MailboxLoader* loader, bool* more) { *more = co_await loader->look_again(); }

asio::awaitable<void> bring(load::MailboxLoader* loader, bool looked) {
  if (!looked) co_await loader->open_and_look();
  co_await loader->bring_flags();
  co_await loader->copy();
}

// One more of something, as long as it lives.
class Counted {
 public:
  explicit Counted(int& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  int& count_;
};

}  // namespace

// What spoils one mailbox is recorded there, and the others go on; anything worse is thrown on.
asio::awaitable<bool> Migration::mailbox_survives(asio::awaitable<void> work, state::MailboxId mailbox) {
  std::optional<base::Error> failed;
  try {
    co_await std::move(work);
  } catch (const base::Failed& f) {
    failed = f.error;
  }
  if (!failed) co_return true;
  if (failed->scope != Scope::mailbox || failed->remedy == Remedy::reconnect) throw base::Failed(*failed);
  log_->warn(failed->text);
  auto save = [mailbox, text = failed->text](Db& db) { state::set_target_error(db, mailbox, text); };
  co_await store_.run(std::move(save));
  co_return false;
}

// The mailboxes of one account that are copied, shared by its lanes.
struct Migration::CopyWork {
  CopyWork(PlannedAccount* account, load::LoadCounters& counted, WindowGate asked)
      : planned(account), counters(counted), gate(std::move(asked)) {}
  PlannedAccount* planned;
  load::LoadCounters& counters;
  WindowGate gate;
  std::unordered_map<std::int64_t, const PlannedMailbox*> plans;
  std::vector<state::MailboxRow> rows;  // the largest first, so that none is left alone at the end
  std::set<std::int64_t> in_doubt;      // mailboxes
  std::map<std::int64_t, std::unique_ptr<load::MailboxLoader>> loaders;  // that have looked already, in the first lane
  std::map<std::int64_t, imap::Opened> selected;
  std::map<std::int64_t, std::unique_ptr<load::WindowReader>> ahead;  // of the first lane: it has begun to read
  std::set<std::int64_t> given_up;
  std::map<std::int64_t, std::uint64_t> pending;  // messages, once nothing is in doubt any more
  std::set<std::int64_t> taken;
  std::set<std::string> at_work;  // their names on the target
  std::exception_ptr failure;     // the first one: what the others meet afterwards is its consequence
  bool opening = false;           // a lane beside the first logs in
  std::map<std::int64_t, std::string> not_subscribed;  // mailboxes: what was said

  const PlannedMailbox* plan_of(const state::MailboxRow& m) const {
    const auto p = plans.find(m.id.value);
    return p == plans.end() ? nullptr : p->second;
  }
  bool is_free(const state::MailboxRow& m) const { return !taken.contains(m.id.value); }
  bool may_be_helped(const state::MailboxRow& m) const {
    return is_free(m) && !loaders.contains(m.id.value) && !ahead.contains(m.id.value);
  }
  // Messages; one of 40 KiB costs about as much as two of nothing.
  std::uint64_t may_be_helped_with() const {
    std::uint64_t messages = 0;
    for (const auto& m : rows)
      if (const auto* p = plan_of(m); p != nullptr && may_be_helped(m)) messages += p->to_move + p->octets / 40960;
    return messages;
  }
};

// A pair of connections.
struct Migration::Lane {
  explicit Lane(extract::SourceReader::OpenSession open_source) : bodies(std::move(open_source)) {}
  bool helps = false;  // beside the account's first
  std::unique_ptr<imap::Session> target;
  Bodies bodies;
  base::SharedLock target_use;
  std::optional<load::LoadContext> context;
};

asio::awaitable<void> Migration::open_target(std::string address, std::unique_ptr<imap::Session>* target) {
  auto opened = co_await open_session(Side::target, std::move(address), imap::Access::read_write);
  *target = std::move(opened);
}

// Both log-ins at once.
asio::awaitable<void> Migration::open_lane(Lane* lane, std::string address, bool with_source) {
  auto source = with_source ? lane->bodies.connect() : base::nothing();
  co_await base::both(open_target(address, &lane->target), std::move(source));
}

void Migration::enter(Lane* lane, CopyWork* work) {
  lane->context.emplace(
      load::LoadContext{store_, *lane->target, lane->target_use, lane->bodies, clock_, settings_.load, work->counters,
                        work->planned->address, [this, work] { return stopping_ || work->failure != nullptr; },
                        [this, id = work->planned->id](const std::string& kind, const std::string& detail,
                                                       state::MailboxId mailbox) { event(kind, detail, id, mailbox); },
                        slowest_append_,
                        [this, address = work->planned->address] {
                          return open_session(Side::target, address, imap::Access::read_write);
                        },
                        work->gate, window_size_, in_flight_, work->at_work});
}

// Several mailboxes at once over the same two connections: while one waits for the target, the other sends.
asio::awaitable<void> Migration::copy_in(Lane* lane, CopyWork* work) {
  std::vector<asio::awaitable<void>> workers;
  for (int i = 0; i < std::max(1, settings_.mailboxes_at_once); ++i) workers.push_back(copy_mailboxes(lane, work));
  co_await base::run_all(std::move(workers));
  if (work->failure) co_return;
  co_await base::both(lane->bodies.end(), lane->target->logout());
}

asio::awaitable<void> Migration::copy_mailboxes(Lane* lane, CopyWork* work) {
  try {
    while (!lane->context->stopping() && !(lane->helps && connections_wanted() > accounts_at_once())) {
      const auto m = std::find_if(work->rows.begin(), work->rows.end(), [&](const auto& row) {
        return lane->helps ? work->may_be_helped(row) : work->is_free(row);
      });
      if (m == work->rows.end()) break;
      work->taken.insert(m->id.value);
      co_await copy_mailbox(lane, work, &*m);
      if (const auto refused = work->not_subscribed.find(m->id.value); refused != work->not_subscribed.end()) {
        auto save = [id = m->id, text = refused->second](Db& db) { state::add_target_error(db, id, text); };
        co_await store_.run_in_order(std::move(save));
      }
    }
  } catch (...) {
    if (!work->failure) work->failure = std::current_exception();
    // It need not be the helper that failed: a server may end one connection of a user because of the other.
    if (helped_.contains(work->planned->address)) not_helped_.insert(work->planned->address);
  }
  changed_.notify();  // those who would help may have nothing left to do
}

// When no account waits for its turn, a connection that is free serves one that is still busy: the largest account
// would be alone at the end of the night.
asio::awaitable<void> Migration::help(CopyWork* work) {
  const std::string address = work->planned->address;
  while (!stopping_ && !work->failure && !not_helped_.contains(address) &&
         work->may_be_helped_with() >= settings_.helped_from) {
    // One log-in at a time: where the first is refused, no other is tried.
    if (accounts_waiting_ > 0 || connections_wanted() >= accounts_at_once() || work->opening) {
      co_await changed_.wait();
      continue;
    }
    {
      const Counted helping(helping_);
      work->opening = true;
      co_await help_once(work);
    }
    changed_.notify();
  }
}

asio::awaitable<void> Migration::help_once(CopyWork* work) {
  const std::string address = work->planned->address;
  Lane lane([this, address] { return open_session(Side::source, address, imap::Access::read_only); });
  lane.helps = true;
  std::optional<base::Error> refused;
  helped_.insert(address);
  try {
    co_await open_lane(&lane, address, true);
  } catch (const base::Failed& f) {
    refused = f.error;
  }
  work->opening = false;
  changed_.notify();
  if (refused) {
    // It goes on without; a limit of connections for one user says nothing of other accounts.
    log_->debug(fmt::format("{}: no second connection: {}", address, refused->text));
    not_helped_.insert(address);
    if (base::stated_pause(refused->text)) heard_enough();
    co_return;
  }
  enter(&lane, work);
  co_await copy_in(&lane, work);
}

asio::awaitable<void> Migration::copy_mailbox(Lane* lane, CopyWork* work, const state::MailboxRow* mailbox) {
  const auto& m = *mailbox;
  // Whatever becomes of the mailbox, what was read of it ahead is not kept for longer.
  std::unique_ptr<load::WindowReader> windows;
  if (const auto begun = work->ahead.extract(m.id.value); !begun.empty()) windows = std::move(begun.mapped());
  const auto pending = work->pending.at(m.id.value);
  if (!m.present && pending > 0) {
    // Listed in the inventory, and no longer in LIST: this session's list is the second that lacks it.
    if (co_await lane->bodies.exists(m.wire)) co_return;
    auto gone = [id = m.id](Db& db) { state::set_mailbox_gone(db, id); };
    co_await store_.run(std::move(gone));
    co_return;
  }
  const auto* p = work->plan_of(m);
  if (work->given_up.contains(m.id.value) || p == nullptr || (pending == 0 && p->untouched)) co_return;
  if (pending == 0 && p->create && m.messages == 0) co_return;
  std::unique_ptr<load::MailboxLoader> l;
  if (const auto had = work->loaders.find(m.id.value); had != work->loaders.end()) l = std::move(had->second);
  const bool looked = l != nullptr;
  if (!looked) {
    const auto s = work->selected.find(m.id.value);
    const auto known = s == work->selected.end() ? std::nullopt : std::optional(s->second);
    l = std::make_unique<load::MailboxLoader>(*lane->context, m, known, std::move(windows));
  }
  co_await mailbox_survives(bring(l.get(), looked), m.id);
}

// What is in doubt, all of it, so that at most one settle is owed to the account.
asio::awaitable<void> Migration::settle_doubts(Lane* lane, CopyWork* work) {
  auto& given_up = work->given_up;
  auto& loaders = work->loaders;
  base::Octets doubtful_octets = 0;
  std::size_t doubtful = 0;
  for (const auto& m : work->rows) {
    if (m.target_wire.empty() || given_up.contains(m.id.value) || !work->in_doubt.contains(m.id.value)) continue;
    auto l = std::make_unique<load::MailboxLoader>(*lane->context, m);
    if (!co_await mailbox_survives(l->open_and_look(), m.id)) {
      given_up.insert(m.id.value);
      continue;
    }
    doubtful += l->in_doubt();
    doubtful_octets += l->octets_in_doubt();
    loaders[m.id.value] = std::move(l);
  }
  if (doubtful > 0) {
    // Not as long as one likes: a pause that the server asked for is in the time an APPEND took.
    const auto settle = std::max({settings_.load.settle, std::min(slowest_append_ * 3, kLongestSettle),
                                  std::chrono::milliseconds(doubtful_octets / (1024 * 1024) * 1000)});
    event("settle",
          fmt::format("{} of {} may still be on the way to the target: waiting {} before the verdict",
                      base::plural(doubtful, "message"), work->planned->address, base::human_duration(settle)),
          work->planned->id, std::nullopt);
    for (int round = 0; round < 5; ++round) {
      {
        const Waiting shown(progress_, work->planned->address, "to be sure what the target has stored",
                            clock_.now() + settle);
        co_await sleep_unless_stopped(settle);
      }
      co_await fence(work->planned);
      bool more = false;
      for (auto& [id, l] : loaders) {
        if (!l || l->in_doubt() == 0) continue;
        bool more_here = false;
        if (!co_await mailbox_survives(look_again(l.get(), &more_here), state::MailboxId(id))) {
          given_up.insert(id);
          l.reset();
        }
        more = more || more_here;
      }
      if (!more) break;
    }
  }
  // Asked to stop, perhaps before the target had closed an old connection: the next run decides.
  for (auto& [id, l] : loaders) {
    if (stopping_) break;
    if (!l || co_await mailbox_survives(l->give_verdict(), state::MailboxId(id))) continue;
    given_up.insert(id);
    l.reset();
  }
}

// All that the target must do before messages are sent to it.
asio::awaitable<void> Migration::prepare(Lane* lane, CopyWork* work) {
  imap::Session* const target = lane->target.get();
  if (work->planned->fate == Fate::create) co_await adapt_to_target(target, work->planned);
  auto ready = co_await create_mailboxes(target, work->planned);
  work->given_up = std::move(ready.not_made);
  work->not_subscribed = std::move(ready.not_subscribed);
  auto names = [id = work->planned->id](Db& db) {
    std::map<std::int64_t, std::string> wires;
    for (auto& m : state::mailboxes(db, id)) wires[m.id.value] = std::move(m.target_wire);
    return wires;
  };
  auto wires = co_await store_.run(std::move(names));  // the target may have taken others than were asked for
  for (auto& m : work->rows) m.target_wire = wires[m.id.value];
  co_await settle_doubts(lane, work);

  auto count = [work](Db& db) {
    std::map<std::int64_t, std::uint64_t> pending;
    for (const auto& m : work->rows) pending[m.id.value] = state::pending(db, m.id);
    return pending;
  };
  work->pending = co_await store_.run(std::move(count));

  // What the target has of each, in one round trip; a mailbox with nothing new need not be selected again.
  if (!target->pipelines()) co_return;
  std::vector<const state::MailboxRow*> now, unless_like_it;
  for (const auto& m : work->rows) {
    if (m.target_wire.empty() || work->given_up.contains(m.id.value) || work->loaders.contains(m.id.value) ||
        work->pending[m.id.value] == 0)
      continue;
    const bool empty =
        ready.made.contains(m.id.value) && target->has("UIDPLUS") && settings_.target_kind != TargetKind::kerio;
    (empty ? unless_like_it : now).push_back(&m);
  }
  if (now.empty() && !unless_like_it.empty()) {
    now.push_back(unless_like_it.back());
    unless_like_it.pop_back();
  }
  co_await select_on_target(target, work, now);
  // Those that we have just made are empty, and an APPENDUID tells their UIDVALIDITY. They are not selected if they can
  // be expected to take the flags that another one takes, whatever they are.
  const bool any = std::any_of(now.begin(), now.end(), [&](const auto* m) {
    const auto s = work->selected.find(m->id.value);
    return s != work->selected.end() && s->second.keeps_every_flag() && !s->second.uid_not_sticky;
  });
  imap::Opened as_made;
  as_made.uid_next = base::Uid(1);
  if (!any) co_await select_on_target(target, work, unless_like_it);
  else
    for (const auto* m : unless_like_it) work->selected[m->id.value] = as_made;
}

asio::awaitable<void> Migration::select_on_target(imap::Session* target, CopyWork* work,
                                                  std::vector<const state::MailboxRow*> mailboxes) {
  std::vector<std::string> names;
  for (const auto* m : mailboxes) names.push_back(m->target_wire);
  const auto opened = co_await target->select_each(std::move(names));
  for (std::size_t i = 0; i < opened.size(); ++i)
    if (opened[i] && opened[i]->uid_validity) work->selected[mailboxes[i]->id.value] = *opened[i];
}

// The first bodies of the account, while the target makes its mailboxes. One window: who holds a part of the budget and
// waits for more could wait for ever. Nothing where messages are in doubt: some may be listed again.
asio::awaitable<void> Migration::read_ahead(Lane* lane, CopyWork* work) {
  if (!work->in_doubt.empty()) co_return;
  for (const auto& m : work->rows) {
    const auto* p = work->plan_of(m);
    if (!m.present || p == nullptr || p->to_move == 0) continue;
    auto& begun = work->ahead[m.id.value];
    begun = std::make_unique<load::WindowReader>(lane->context->windows(), m);
    co_await begun->read_ahead();
    co_return;
  }
}

asio::awaitable<void> Migration::load_once(const PlannedAccount* as_planned) {
  PlannedAccount planned = *as_planned;
  Lane lane([this, address = planned.address] { return open_session(Side::source, address, imap::Access::read_only); });
  const bool copies =
      std::any_of(planned.mailboxes.begin(), planned.mailboxes.end(), [](const auto& m) { return m.to_move > 0; });
  co_await open_lane(&lane, planned.address, copies);
  helped_.erase(planned.address);  // not before: the server may count connections that were lost for a while yet
  auto query = [id = planned.id](Db& db) {
    auto rows = state::mailboxes(db, id);
    std::set<std::int64_t> in_doubt;
    for (const auto& m : rows)
      if (!state::in_doubt(db, m.id).empty()) in_doubt.insert(m.id.value);
    return std::make_pair(std::move(rows), std::move(in_doubt));
  };
  auto [rows, in_doubt] = co_await store_.run(std::move(query));
  auto& running = progress_.running[planned.address];
  running.messages = 0;
  for (const auto& m : planned.mailboxes) running.messages += m.to_move;
  CopyWork work(&planned, running.load, WindowGate(*this, planned.address));
  work.rows = std::move(rows);
  work.in_doubt = std::move(in_doubt);
  for (const auto& m : planned.mailboxes) work.plans[m.map.id.value] = &m;
  std::stable_sort(work.rows.begin(), work.rows.end(), [&](const auto& a, const auto& b) {
    const auto size = [&](const auto& m) {
      const auto* p = work.plan_of(m);
      return p == nullptr ? 0 : p->octets;
    };
    return size(a) > size(b);
  });
  enter(&lane, &work);
  co_await base::both(prepare(&lane, &work), read_ahead(&lane, &work));
  std::vector<asio::awaitable<void>> lanes;
  lanes.push_back(copy_in(&lane, &work));
  for (int i = 0; i < kMostHelpers; ++i) lanes.push_back(help(&work));
  co_await base::run_all(std::move(lanes));
  if (work.failure) std::rethrow_exception(work.failure);
}

}  // namespace pipeline
