// Sessions: one log-in attempt per account and run, pauses after refusals, supervision of what a lost connection leaves
// behind.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/tasks.hpp"
#include "base/text.hpp"
#include "pipeline/migration.hpp"

namespace pipeline {

namespace asio = boost::asio;
using base::Exit;
using base::Remedy;
using base::Scope;
using namespace std::chrono_literals;

namespace {
constexpr int kPauseAfterRefusals = 3;  // F26: servers lock out who guesses
constexpr int kStopAfterRefusals = 10;
constexpr auto kPause = 5s;
constexpr int kAttempts = 5;
constexpr auto kOften = 1s;       // how often a long pause looks whether it was interrupted
constexpr int kUnreachable = 12;  // connections in a row that came to nothing: long enough for a server to restart
}  // namespace

asio::awaitable<void> Migration::wait_before_log_in(Side side, std::string address) {
  const LogIns& l = log_ins_[static_cast<int>(side)];
  const char* name = side == Side::source ? "source" : "target";
  for (;;) {
    if (l.refused_in_a_row >= kStopAfterRefusals)
      throw base::Failed(
          {Scope::run, Remedy::ask_admin,
           fmt::format("The {} server refused {} log-ins in a row. No more are tried, so that it does not lock us out. "
                       "Check the passwords and the form of the log-in (--{}-login), then run again.",
                       name, l.refused_in_a_row, name),
           Exit::login_refused});
    // Those under way may be refused too: until the server has taken one, they count as if they were.
    const bool in_doubt = !l.any_taken || l.refused_in_a_row > 0;
    if (in_doubt && l.under_way > 0 && l.refused_in_a_row + l.under_way >= kPauseAfterRefusals) {
      co_await clock_.sleep(kHowOthersFare);
    } else if (l.refused_in_a_row >= kPauseAfterRefusals && clock_.now() < l.last_refused + kPause) {
      const Waiting shown(progress_, address, fmt::format("the next log-in, after {} refusals", l.refused_in_a_row),
                          l.last_refused + kPause);
      co_await clock_.sleep(l.last_refused + kPause - clock_.now());
    } else {
      co_return;
    }
  }
}

asio::awaitable<void> Migration::trust(base::Endpoint* endpoint) {
  if (!endpoint->ca_file.empty()) co_return;  // then it is that CA's word that counts
  const std::string host = endpoint->host;
  const auto port = endpoint->port;
  if (!endpoint->pins.empty() || endpoint->tls == base::TlsMode::none) co_return;
  auto query = [host, port](state::Db& db) { return state::pinned(db, host, port); };
  const auto pin = co_await store_.run(std::move(query));
  if (!pin.empty()) endpoint->pins.push_back(pin);
  // A certificate nobody vouches for, on this very machine: taken once, shown, and pinned from then on.
  if (!base::is_loopback(host)) co_return;
  endpoint->accept_unknown = [host, port, log = log_, this](const std::string& fingerprint) {
    // Several sessions may meet it at the same time.
    const auto [known, is_new] = accepted_.emplace(std::make_pair(host, port), fingerprint);
    if (!is_new) return known->second == fingerprint;
    log->warn(fmt::format(
        "The certificate of {}:{} is signed by nobody we know. As the server is on this machine it is accepted and "
        "remembered: {}",
        host, port, fingerprint));
    auto work = [host, port, fingerprint](state::Db& db) { state::pin(db, host, port, fingerprint); };
    store_.post(std::move(work));
    return true;
  };
}

asio::awaitable<void> Migration::probe(Side side) {
  base::Endpoint endpoint = side == Side::source ? settings_.source : settings_.target;
  imap::refuse_cleartext(endpoint);
  co_await trust(&endpoint);
  constexpr int kTries = 3;
  for (int attempt = 1;; ++attempt) {
    std::optional<base::Error> failed;
    try {
      auto connection = co_await dialer_.dial(endpoint);
      connection->close();
      co_return;
    } catch (const base::Failed& f) {
      failed = f.error;
    }
    if (failed->scope == Scope::run) throw base::Failed(*failed);
    if (attempt == kTries) {
      const std::string option = side == Side::source ? "--source-port" : "--target-imap-port";
      throw base::Failed({Scope::run, Remedy::ask_admin,
                          fmt::format("The {} does not answer, so nothing was begun. {} (The port is given with {}.)",
                                      side == Side::source ? "source" : "target", failed->text, option)});
    }
    co_await clock_.sleep(std::chrono::seconds(attempt));
  }
}

asio::awaitable<void> Migration::probe_servers(bool source, bool target) {
  std::vector<asio::awaitable<void>> probes;
  if (source) probes.push_back(probe(Side::source));
  if (target) probes.push_back(probe(Side::target));
  co_await base::run_all(std::move(probes));
}

// An account that this run has just made may take a moment until it can log in.
asio::awaitable<std::unique_ptr<imap::Session>> Migration::open_session(Side side, std::string address,
                                                                        imap::Access access) {
  for (int patience = side == Side::target && made_now_.contains(address) ? 3 : 0;; --patience) {
    std::optional<base::Error> refused;
    try {
      co_return co_await open_session_once(side, address, access);
    } catch (const base::Failed& f) {
      refused = f.error;
    }
    if (patience == 0 || refused->exit != Exit::login_refused || refused->scope == Scope::run)
      throw base::Failed(*refused);
    refused_.erase({side, address});
    --log_ins_[static_cast<int>(side)].refused_in_a_row;
    co_await clock_.sleep(kPause);
  }
}

asio::awaitable<std::unique_ptr<imap::Session>> Migration::open_session_once(Side side, std::string address,
                                                                             imap::Access access, LogIn log_in) {
  const auto known = credentials_.find(address);
  if (known == credentials_.end())
    throw base::Failed(
        {Scope::account, Remedy::ask_admin, fmt::format("{} is not in the configuration of this run.", address)});
  const Credentials& c = known->second;
  const bool source = side == Side::source;
  if (refused_.contains({side, address}))
    throw base::Failed({Scope::account, Remedy::ask_admin,
                        fmt::format("The {} server has refused the log-in of {} in this run already.",
                                    source ? "source" : "target", address),
                        Exit::login_refused});
  imap::SessionOptions options;
  options.endpoint = source ? settings_.source : settings_.target;
  options.user = source ? c.source_login : c.target_login;
  options.password = source ? c.source_password : c.target_password;
  options.access = access;
  options.pipelining = source && settings_.source_pipelining;
  options.clock = &clock_;
  options.rest = [this, address](std::chrono::milliseconds d) { return rest(address, d); };
  if (settings_.verbose)
    options.trace = [log = log_, tag = fmt::format("{} {}", source ? "source" : "target", address)](
                        const std::string& line) { log->debug(fmt::format("{} {}", tag, line)); };
  if (!source && log_in != LogIn::own_password) options.master_password = settings_.master_password;
  co_await trust(&options.endpoint);
  co_await wait_before_log_in(side, address);
  LogIns& l = log_ins_[static_cast<int>(side)];
  ++l.under_way;
  std::optional<base::Error> refused;
  std::unique_ptr<imap::Session> session;
  try {
    session = co_await imap::Session::open(dialer_, options);
  } catch (const base::Failed& f) {
    refused = f.error;
  } catch (...) {
    --l.under_way;
    throw;
  }
  --l.under_way;
  if (refused) {
    if (helped_.contains(address)) {
      // Perhaps one connection too many for one user: without help it has enough of them.
      if (refused->exit == Exit::login_refused)
        refused = base::Error{Scope::account, Remedy::retry_later, refused->text};
    } else if (refused->exit == Exit::login_refused) {
      refused_.insert({side, address});
      ++l.refused_in_a_row;
      l.last_refused = clock_.now();
    } else if (refused->remedy == Remedy::reconnect && ++l.unreachable_in_a_row >= kUnreachable) {
      // It is not this account: nobody gets through. Better to stop than to try thousands of accounts in vain.
      refused->scope = Scope::run;
    }
    throw base::Failed(*refused);
  }
  remember_server(side);
  remember_words(side, *session);
  l.refused_in_a_row = 0;
  l.unreachable_in_a_row = 0;
  l.any_taken = true;
  co_return session;
}

asio::awaitable<void> Migration::rest(std::string address, std::chrono::milliseconds d) {
  heard_enough();
  log_->warn(fmt::format("{}: waiting {} because the server asked.", address, base::human_duration(d)));
  const Waiting shown(progress_, std::move(address), "the server asked for it", clock_.now() + d);
  co_await sleep_unless_stopped(d);
}

asio::awaitable<void> Migration::sleep_unless_stopped(std::chrono::milliseconds d) {
  const auto until = clock_.now() + d;
  while (!stopping_ && clock_.now() < until)
    co_await clock_.sleep(std::min<std::chrono::milliseconds>(kOften, until - clock_.now()));
}

asio::awaitable<void> Migration::worker(std::vector<state::AccountRow>* queue,
                                        std::function<asio::awaitable<void>(state::AccountRow)> work) {
  while (!queue->empty() && !stopping_) {
    if (connections_wanted() >= accounts_at_once()) {
      co_await changed_.wait();
      continue;
    }
    const auto account = queue->back();
    queue->pop_back();
    accounts_waiting_ = queue->size();
    progress_.running[account.address];
    std::exception_ptr failure;
    try {
      co_await work(account);
    } catch (...) {
      failure = std::current_exception();
    }
    progress_.finished += progress_.running[account.address].load;
    progress_.running.erase(account.address);
    if (failure) {
      stop();  // what ends the run ends it for all: the others finish their window
      std::rethrow_exception(failure);
    }
    ++progress_.accounts_done;
    progress_.ended.insert(account.address);
    look_at_speed();
    // Whoever waits for its turn, or could help; this one goes on first, as it did when nobody waited.
    if (queue->empty()) changed_.notify();
  }
}

void Migration::look_at_speed() {
  // A message costs about as much as 32 KiB more of one; an account takes its log-in and its lists.
  const auto load = progress_.load();
  const double done = static_cast<double>(load.settled + progress_.verified) +
                      static_cast<double>(load.octets) / 32768 + static_cast<double>(progress_.accounts_done) * 20;
  const int before = accounts_at_once();
  if (!sizing_.look(clock_.now(), done, connections_wanted(), tuning())) return;
  log_->debug(fmt::format("accounts at once: {}, not {}", accounts_at_once(), before));
  changed_.notify();
}

void Migration::heard_enough() {
  if (sizing_.refused(clock_.now(), tuning()))
    log_->info(fmt::format("A server has had enough: {} at once for a while.",
                           base::plural(static_cast<std::uint64_t>(accounts_at_once()), "account")));
}

asio::awaitable<void> Migration::for_each_account(std::vector<state::AccountRow> accounts,
                                                  std::function<asio::awaitable<void>(state::AccountRow)> work) {
  progress_.accounts = accounts.size();
  progress_.accounts_done = 0;
  sizing_.begin_stage();
  accounts_waiting_ = accounts.size();
  std::reverse(accounts.begin(), accounts.end());
  std::vector<asio::awaitable<void>> tasks;
  // As many as there may ever be: those above the present limit wait for a change.
  const auto n = std::min<std::size_t>(kMostJobs, accounts.size());
  for (std::size_t i = 0; i < n; ++i) tasks.push_back(worker(&accounts, work));
  co_await base::run_all(std::move(tasks));
}

asio::awaitable<std::string> Migration::supervise(std::string address, std::function<asio::awaitable<void>()> once) {
  std::uint64_t before = progress_.load().settled;
  // However well other accounts get on meanwhile, nothing is tried for ever.
  int tries = 0;
  for (int attempt = 1;; ++attempt) {
    std::optional<base::Error> error;
    try {
      co_await once();
      co_return std::string();
    } catch (const base::Failed& f) {
      error = f.error;
    }
    if (error->scope == Scope::run) throw base::Failed(*error);
    const bool again = error->remedy == Remedy::reconnect || error->remedy == Remedy::retry_later;
    if (progress_.load().settled != before) attempt = 1;  // it gets on, if slowly
    before = progress_.load().settled;
    const auto asked = base::stated_pause(error->text);
    if (asked || error->remedy == Remedy::retry_later) heard_enough();
    if (asked) --attempt;  // it will have us back: no reason to give the account up
    if (!again || attempt >= kAttempts || ++tries >= 10 * kAttempts || stopping_) {
      log_->error(fmt::format("{}: {}", address, error->text));
      progress_.failed.emplace(address, error->text);
      co_return error->text;
    }
    const auto own = std::chrono::milliseconds(500 << attempt) * (error->remedy == Remedy::retry_later ? 5 : 1);
    const auto pause = std::max(own, asked.value_or(own));
    const char* because = asked && *asked >= own ? " because the server asked" : "";
    log_->warn(fmt::format("{}: {} Trying again in {}{}.", address, error->text, base::human_duration(pause), because));
    const Waiting shown(progress_, address, fmt::format("it is tried again{}: {}", because, error->text),
                        clock_.now() + pause);
    co_await sleep_unless_stopped(pause);
  }
}

}  // namespace pipeline
