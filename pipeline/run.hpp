// One command over one state, from its first check to its report: what the command line and the wizard both call.
//
//   Run run({"load", settings, {}}, store, *dialer, clock, log);
//   run.prepare();                     // blocks: configuration and servers are checked, the run goes on record
//   auto outcome = co_await run.work();
//
// Everything but prepare() belongs to the event loop's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "pipeline/control.hpp"
#include "pipeline/migration.hpp"
#include "pipeline/progress.hpp"

namespace pipeline {

struct Order {
  std::string command;  // "extract", "plan", "load", "run", "verify", "retry"
  Settings settings;
  std::optional<std::int64_t> plan;            // load: its number; nothing: the newest
  std::optional<boost::json::object> against;  // verify: the report that the target is compared with
};
// These go on from something: a mistyped --state must not look like a finished one.
bool goes_on(const std::string& command);

struct Outcome {
  base::Exit exit = base::Exit::done;
  std::string sentence;
  std::optional<Plan> plan;  // of "plan"
  std::optional<state::PlanId> plan_id;
  boost::json::object report;         // of everything else
  std::string file;                   // the report's JSON as it was sealed
  std::vector<std::string> problems;  // files that could not be written
};

class Run {
 public:
  Run(Order order, state::Store& store, imap::Dialer& dialer, base::Clock& clock, std::shared_ptr<spdlog::logger> log);
  // On the store's thread, or before the loop. Throws Failed; then nothing is on record but the configuration.
  void prepare();
  // Once, after prepare(). What it throws is on record already.
  boost::asio::awaitable<Outcome> work();

  // What status, tune and stop of the control socket say and do.
  void sample();  // a few times a second
  boost::json::object status() const;
  base::Result<boost::json::object> tune(const boost::json::object& request);
  void stop() { migration_.stop(); }
  bool stopping() const { return migration_.stopping(); }

  const std::string& command() const { return order_.command; }
  const std::vector<state::AccountRow>& accounts() const { return accounts_; }  // selected ones
  Progress& progress() { return migration_.progress(); }

 private:
  boost::asio::awaitable<void> make_plan(Migration::Inventory inventory);
  boost::asio::awaitable<void> apply_saved_plan();
  boost::asio::awaitable<void> stages();
  Outcome conclude(state::Db& db, bool interrupted);
  void draw_curve();
  state::Sample point() const;
  void finish(state::Db& db, base::Exit exit, const std::string& report);

  Order order_;
  state::Store& store_;
  base::Clock& clock_;
  std::shared_ptr<spdlog::logger> log_;
  Migration migration_;
  Meter meter_;
  std::vector<state::AccountRow> accounts_;
  std::int64_t started_ = 0;
  state::RunId run_;
  std::optional<Plan> planned_;
  std::optional<state::PlanId> plan_id_;
  VerifyResult verified_;
  bool ended_ = false;       // what is posted from now on could meet whoever uses the store without the loop
  std::string drawn_stage_;  // of the newest point of the report's curve
  std::int64_t drawn_ = 0;   // when that was
};

}  // namespace pipeline
