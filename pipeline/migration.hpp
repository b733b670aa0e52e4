// The stages, in order, over one state store and two servers:
//
//   Migration m(settings, store, dialer, clock, out);
//   m.read_configuration();                   // R9: everything is checked before any network traffic
//   auto plan = co_await m.plan(Inventory::anew);  co_await m.load(plan);  co_await m.verify_new(level);
//
// Stages talk to each other through the store only; what a stage returns is for the person who waits. Everything runs
// on one event-loop thread; SQLite has its own.
#pragma once

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/tasks.hpp"
#include "base/wake.hpp"
#include "extract/config/source_config.hpp"
#include "imap/client/session.hpp"
#include "load/kerio/provision.hpp"
#include "load/window_size.hpp"
#include "pipeline/plan.hpp"
#include "pipeline/progress.hpp"
#include "pipeline/report/evidence.hpp"
#include "pipeline/server_plan.hpp"
#include "pipeline/settings.hpp"
#include "state/store.hpp"

namespace spdlog {
class logger;
}

namespace pipeline {

struct Difference {
  std::string account, mailbox;
  base::Uid source_uid, target_uid;
  std::string kind;  // "lost", "another body", "date", "flags", "duplicate", "subscription", "order", ...
  std::string detail;
  bool explained = false;  // by a record in the ledger
  bool absence = false;    // something of the source is not on the target: exit 3 at least
};

struct VerifyResult {
  VerifyLevel level = VerifyLevel::none;
  std::uint64_t messages = 0, bodies = 0, byte_identical = 0;
  std::uint64_t strangers = 0;  // on the target, and not from this source
  std::vector<Difference> differences;
  std::vector<std::string> problems;  // accounts or mailboxes that could not be verified
  struct Address {
    std::string address, account, delivered_to;  // delivered_to: what the target answered
    bool right = false;
  };
  std::vector<Address> addresses;
  std::vector<AccountEvidence> evidence;  // level full: of every account that was read to its end
  std::string against;                    // the report that the target was compared with; empty: the source was
};

class Migration {
 public:
  Migration(Settings settings, state::Store& store, imap::Dialer& dialer, base::Clock& clock,
            std::shared_ptr<spdlog::logger> log);

  // Reads 4D configuration and roster, checks them whole, writes them into the store. Throws Failed.
  void read_configuration();
  // Refuses a state that belongs to other servers.
  void check_servers();

  // R12, R13: a target that we administer is reached, its services and objects are read, and what becomes of each
  // domain and account is decided, before anything else is done. Nothing to do for a plain IMAP target.
  boost::asio::awaitable<void> connect_target();
  // R11-R13: each of the servers answers on its IMAP port, or nothing begins. Nobody logs in.
  boost::asio::awaitable<void> probe_servers(bool source, bool target);
  boost::asio::awaitable<void> extract();
  // Accounts, by address, that a plan skips for what went wrong when it was made: if that is still the last word on
  // one, the next plan() skips it, too. Without, a load that takes no inventory would not know of it, and call the plan
  // stale.
  boost::asio::awaitable<void> leave_out(std::map<std::string, std::string> reasons);
  // Of the accounts selected. `as_it_is`: the source is not asked, its inventory must be there; `anew`: extract() and
  // this in one, each account on both servers at once. After a stop() it lacks what nobody came to.
  enum class Inventory : std::uint8_t { as_it_is, anew };
  boost::asio::awaitable<Plan> plan(Inventory inventory = Inventory::as_it_is);
  boost::asio::awaitable<void> load(Plan plan);
  // Rows that load has bound and nobody re-read yet.
  boost::asio::awaitable<VerifyResult> verify_new(VerifyLevel level);
  // Everything, against both servers; or what the target has, without asking the source.
  enum class Servers : std::uint8_t { both, target };
  boost::asio::awaitable<VerifyResult> verify_all(VerifyLevel level, Servers servers = Servers::both);
  // Of a target that we administer: domains, aliases, accounts, and where mail for each address is delivered. `all`:
  // every address; else one for each domain and alias.
  boost::asio::awaitable<void> verify_server(VerifyResult* result, bool all);

  // What is on its way is finished and recorded; nothing new begins.
  void stop() {
    stopping_ = true;
    changed_.notify();
  }
  bool stopping() const { return stopping_; }
  const Tuning& tuning() const { return settings_.tuning; }
  void tune(Tuning tuning) {
    settings_.tuning = std::move(tuning);
    changed_.notify();
  }
  int accounts_at_once() const { return sizing_.at_once(settings_.tuning); }
  Progress& progress() { return progress_; }
  const Progress& progress() const { return progress_; }
  const Settings& settings() const { return settings_; }
  state::Store& store() { return store_; }
  base::Clock& clock() { return clock_; }
  void set_run(state::RunId run) { run_ = run; }
  bool selected(const std::string& address) const;
  std::size_t refused_logins() const { return refused_.size(); }  // accounts, in this run
  // Log-ins were tried in this run, and each of them was refused.
  bool every_log_in_refused() const { return !refused_.empty() && !log_ins_[0].any_taken && !log_ins_[1].any_taken; }
  bool made_accounts() const { return !made_now_.empty(); }
  const extract::SourceConfiguration& configuration() const { return configuration_; }
  std::vector<state::AccountRow> selected_accounts();

 private:
  struct Credentials {
    std::string source_login, target_login;
    base::Secret source_password, target_password;
  };
  enum class Side : std::uint8_t { source, target };

  boost::asio::awaitable<void> probe(Side side);
  // What a state belongs to on that side.
  const base::Endpoint& identity(Side side) const;
  void remember_server(Side side);
  void remember_words(Side side, const imap::Session& session);
  boost::asio::awaitable<std::unique_ptr<imap::Session>> open_session(Side side, std::string address,
                                                                      imap::Access access);
  enum class LogIn : std::uint8_t { as_configured, own_password };
  boost::asio::awaitable<std::unique_ptr<imap::Session>> open_session_once(Side side, std::string address,
                                                                           imap::Access access,
                                                                           LogIn log_in = LogIn::as_configured);
  boost::asio::awaitable<void> check_own_password(VerifyResult* result, state::AccountRow account);
  boost::asio::awaitable<std::unique_ptr<load::kerio::ApiClient>> open_administration(imap::Access access);
  // Pins of the store; on this machine a certificate nobody vouches for is taken once.
  boost::asio::awaitable<void> trust(base::Endpoint* endpoint);
  boost::asio::awaitable<void> provision(const Plan* plan);
  // Waits until the target shows no connection of ours to that account but the one we hold: what a lost one was still
  // storing is stored then. Nothing where the target cannot be asked.
  boost::asio::awaitable<void> fence(const PlannedAccount* planned);
  load::NameRules name_rules() const;
  void keep_new_password(const std::string& address, const base::Secret& password);
  void drop_new_password(const std::string& address);
  void read_new_passwords();
  boost::asio::awaitable<void> wait_before_log_in(Side side, std::string address);
  // As long as a server asked for (F25).
  boost::asio::awaitable<void> rest(std::string address, std::chrono::milliseconds d);
  boost::asio::awaitable<void> sleep_unless_stopped(std::chrono::milliseconds d);
  boost::asio::awaitable<void> for_each_account(std::vector<state::AccountRow> accounts,
                                                std::function<boost::asio::awaitable<void>(state::AccountRow)> work);
  // Of bodies that have been read and wait for the target, whatever the number of connections.
  static constexpr base::Octets kOctetsInFlight = 16 * 1024 * 1024;
  boost::asio::awaitable<void> worker(std::vector<state::AccountRow>* queue,
                                      std::function<boost::asio::awaitable<void>(state::AccountRow)> work);
  // Of accounts that are running, and of those that help one.
  int connections_wanted() const { return static_cast<int>(progress_.running.size()) + helping_; }
  // More accounts at once, or fewer?
  void look_at_speed();
  void heard_enough();
  // Runs `once` until it succeeds, gives the account up for this run, or throws what ends the run.
  boost::asio::awaitable<std::string> supervise(std::string address,
                                                std::function<boost::asio::awaitable<void>()> once);
  // `meanwhile`: what is done beside it once the source has let us in; with each attempt.
  boost::asio::awaitable<void> extract_account(state::AccountRow account,
                                               std::function<boost::asio::awaitable<void>()> meanwhile);
  boost::asio::awaitable<void> extract_once(state::AccountRow account,
                                            std::function<boost::asio::awaitable<void>()> meanwhile);
  boost::asio::awaitable<void> take_inventory(imap::Session* session, state::AccountRow account);
  struct TargetLook;
  boost::asio::awaitable<void> take_and_plan_account(PlannedAccount* planned, state::AccountRow account);
  boost::asio::awaitable<void> look_ahead(std::string address, TargetLook* look);
  boost::asio::awaitable<void> look_at_target(std::string address, TargetLook* look);
  boost::asio::awaitable<void> plan_account(PlannedAccount* planned, state::AccountRow account, TargetLook look);
  boost::asio::awaitable<void> plan_once(PlannedAccount* planned, std::string address, TargetLook* look);
  class WindowGate;
  boost::asio::awaitable<void> load_account(const PlannedAccount* planned);
  boost::asio::awaitable<void> open_target(std::string address, std::unique_ptr<imap::Session>* target);
  boost::asio::awaitable<void> load_once(const PlannedAccount* planned);
  struct CopyWork;
  struct Lane;
  boost::asio::awaitable<void> open_lane(Lane* lane, std::string address, bool with_source);
  void enter(Lane* lane, CopyWork* work);
  boost::asio::awaitable<void> prepare(Lane* lane, CopyWork* work);
  boost::asio::awaitable<void> settle_doubts(Lane* lane, CopyWork* work);
  boost::asio::awaitable<void> select_on_target(imap::Session* target, CopyWork* work,
                                                std::vector<const state::MailboxRow*> mailboxes);
  boost::asio::awaitable<void> read_ahead(Lane* lane, CopyWork* work);
  boost::asio::awaitable<void> copy_in(Lane* lane, CopyWork* work);
  boost::asio::awaitable<void> help(CopyWork* work);
  boost::asio::awaitable<void> help_once(CopyWork* work);
  boost::asio::awaitable<void> copy_mailboxes(Lane* lane, CopyWork* work);
  boost::asio::awaitable<void> copy_mailbox(Lane* lane, CopyWork* work, const state::MailboxRow* mailbox);
  boost::asio::awaitable<void> verify_new_account(VerifyResult* result, VerifyLevel level, state::AccountRow account);
  boost::asio::awaitable<void> verify_new_once(VerifyResult* result, VerifyLevel level, state::AccountRow account);
  boost::asio::awaitable<void> verify_all_account(VerifyResult* result, VerifyLevel level, Servers servers,
                                                  state::AccountRow account);
  boost::asio::awaitable<void> verify_all_once(VerifyResult* result, VerifyLevel level, Servers servers,
                                               state::AccountRow account);
  boost::asio::awaitable<void> compare_lists(VerifyResult* result, const std::vector<state::MailboxRow>* rows,
                                             std::string address, imap::Session* source, imap::Session* target);
  // `source`: nothing where only the target is read. `evidence`: nothing but at level full.
  boost::asio::awaitable<void> verify_mailbox(VerifyResult* result, VerifyLevel level, state::AccountRow account,
                                              state::MailboxRow mailbox, imap::Session* source, imap::Session* target,
                                              EvidenceOfAccount* evidence);
  boost::asio::awaitable<bool> mailbox_survives(boost::asio::awaitable<void> work, state::MailboxId mailbox);
  struct Made {
    std::set<std::int64_t> made;                         // by this session
    std::set<std::int64_t> not_made;                     // not there, and refused: opening them would only hide why
    std::map<std::int64_t, std::string> not_subscribed;  // what was said; recorded when the mailbox has been copied
  };
  boost::asio::awaitable<Made> create_mailboxes(imap::Session* target, const PlannedAccount* planned);
  boost::asio::awaitable<std::string> why_not_made(imap::Session* target, const PlannedAccount* planned,
                                                   load::MappedMailbox mailbox, imap::Answer answer);
  boost::asio::awaitable<bool> make_below_prefix(imap::Session* target, const PlannedAccount* planned,
                                                 load::MappedMailbox mailbox, std::set<std::string> there,
                                                 std::string* wire);
  boost::asio::awaitable<void> adapt_to_target(imap::Session* target, PlannedAccount* planned);
  boost::asio::awaitable<void> plan_mailboxes(PlannedAccount* planned, const load::TargetView* view,
                                              imap::Session* target);
  void event(const std::string& kind, const std::string& detail, std::optional<state::AccountId> account,
             std::optional<state::MailboxId> mailbox);

  Settings settings_;
  state::Store& store_;
  imap::Dialer& dialer_;
  base::Clock& clock_;
  std::shared_ptr<spdlog::logger> log_;
  extract::SourceConfiguration configuration_;
  std::map<std::string, Credentials> credentials_;                         // by address
  std::map<std::pair<std::string, std::uint16_t>, std::string> accepted_;  // certificates, in this run
  std::optional<TargetPicture> picture_;                                   // of a target that we administer
  std::vector<PlannedDomain> domains_;
  std::map<std::string, PlannedAccount> decided_;        // by address
  std::set<std::string> made_now_;                       // accounts that this run made
  std::map<std::string, std::string> provision_errors_;  // by address
  std::map<std::int64_t, std::string> extract_errors_;   // of this process: such an account is skipped by the plan
  Progress progress_;
  RateLimit rate_limit_;
  Sizing sizing_;
  std::size_t accounts_waiting_ = 0;  // for their turn
  int helping_ = 0;                   // lanes beside the first one of an account
  std::set<std::string> helped_;      // accounts that have, or just had, further connections: a refusal says nothing
  std::set<std::string> not_helped_;  // accounts whose further connections failed in this run
  static constexpr int kMostHelpers = 7;  // of one account: servers allow about ten connections of one user
  load::WindowSize window_size_;
  std::chrono::milliseconds slowest_append_{0};
  static constexpr std::string_view kNotSubscribed = "Could not subscribe";
  static constexpr std::chrono::milliseconds kLookStaysTrue = std::chrono::minutes(1);
  static constexpr std::chrono::milliseconds kLongestSettle = std::chrono::minutes(15);  // for a slow server's sake
  base::Budget in_flight_{kOctetsInFlight};
  base::Wake changed_;  // accounts at once, or who of them is running, or that we stop
  bool stopping_ = false;
  std::optional<state::RunId> run_;
  std::set<std::pair<Side, std::string>> refused_;  // never tried twice in one run
  std::int64_t new_passwords_before_ = 0;           // octets of the file of new passwords before its last line
  static constexpr std::chrono::milliseconds kHowOthersFare{20};  // until log-ins under way are looked at again
  int own_refused_ = 0;  // log-ins with an account's own password, beside the master password
  int own_under_way_ = 0;
  int own_probes() const {
    return picture_ && picture_->server.refusals_to_block > 0 ? std::clamp(picture_->server.refusals_to_block - 1, 1, 3)
                                                              : 3;
  }
  bool remembered_[2] = {false, false}, words_remembered_[2] = {false, false};
  // How one server has met us in this run (F26).
  struct LogIns {
    int refused_in_a_row = 0;
    int unreachable_in_a_row = 0;
    int under_way = 0;
    bool any_taken = false;
    std::chrono::milliseconds last_refused{0};
  };
  LogIns log_ins_[2];
};

}  // namespace pipeline
