#include "pipeline/run.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>

#include "base/text.hpp"
#include "pipeline/report/evidence.hpp"
#include "pipeline/report/files.hpp"
#include "pipeline/report/report.hpp"

namespace pipeline {

namespace asio = boost::asio;
namespace json = boost::json;
using base::Exit;

namespace {

json::object tuning_json(const Migration& m) {
  const Tuning& t = m.tuning();
  return {{"jobs", t.jobs ? json::value(*t.jobs) : json::value()},
          {"source_connections", t.source_connections},
          {"target_connections", t.target_connections},
          {"accounts_at_once", m.accounts_at_once()},
          {"max_rate", t.max_rate},
          {"quiet_hours", t.quiet ? to_text(*t.quiet) : std::string()}};
}

}  // namespace

bool goes_on(const std::string& command) { return command == "load" || command == "verify" || command == "retry"; }

Run::Run(Order order, state::Store& store, imap::Dialer& dialer, base::Clock& clock,
         std::shared_ptr<spdlog::logger> log)
    : order_(std::move(order)),
      store_(store),
      clock_(clock),
      log_(log),
      migration_(order_.settings, store, dialer, clock, log),
      meter_(migration_.progress()) {}

void Run::prepare() {
  const Settings& settings = order_.settings;
  migration_.read_configuration();
  accounts_ = migration_.selected_accounts();
  if (accounts_.empty() && !(settings.only.empty() && settings.exclude.empty()))
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                        "No account matches --only and --exclude: they are compared with the whole address, such as "
                        "jane@north.example or *@north.example. Nothing was done.",
                        Exit::usage});
  if (goes_on(order_.command) &&
      std::none_of(accounts_.begin(), accounts_.end(), [](const auto& a) { return a.inventoried; }))
    throw base::Failed(
        {base::Scope::run, base::Remedy::ask_admin,
         fmt::format("There is no inventory of these accounts in {}: \"4d2kms run\" or \"plan\" comes first.",
                     settings.state),
         Exit::state_unusable});
  migration_.check_servers();
  started_ = clock_.unix_seconds();
  run_ = state::begin_run(store_.db(), order_.command, std::nullopt, started_);
  migration_.set_run(run_);
}

void Run::sample() {
  meter_.sample(clock_.now());
  draw_curve();
}

// The report's curve: each second at first, then a sixtieth of the time that has passed, at most a minute; and where a
// stage begins.
void Run::draw_curve() {
  const auto at = clock_.unix_seconds();
  const auto& p = migration_.progress();
  const std::int64_t pause = std::clamp<std::int64_t>((at - started_) / 60, 1, 60);
  if (ended_ || p.stage.empty() || (p.stage == drawn_stage_ && at < drawn_ + pause)) return;
  drawn_stage_ = p.stage;
  drawn_ = at;
  store_.post([run = run_, s = point()](state::Db& db) { state::add_sample(db, run, s); });
}

state::Sample Run::point() const {
  const auto& p = migration_.progress();
  const auto load = p.load();
  return {clock_.unix_seconds(), p.stage, load.appended, p.verified, load.octets};
}

json::object Run::status() const {
  json::object out{{"command", order_.command}, {"run", run_.value}, {"pid", getpid()}, {"started", started_}};
  for (auto& [name, value] : meter_.snapshot(clock_.now())) out[name] = std::move(value);
  out["stopping"] = migration_.stopping();
  out["tuning"] = tuning_json(migration_);
  return out;
}

base::Result<json::object> Run::tune(const json::object& request) {
  auto now = tuned(migration_.tuning(), request);
  if (!now) return tl::unexpected(std::move(now).error());
  migration_.tune(*now);
  return tuning_json(migration_);
}

asio::awaitable<void> Run::make_plan(Migration::Inventory inventory) {
  planned_ = co_await migration_.plan(inventory);
  if (migration_.stopping()) co_return;
  const std::string content = json::serialize(to_json(*planned_)), print_ = fingerprint(*planned_);
  auto save = [at = clock_.unix_seconds(), content, print_](state::Db& db) {
    return state::save_plan(db, at, print_, content);
  };
  plan_id_ = co_await store_.run(std::move(save));
}

asio::awaitable<void> Run::apply_saved_plan() {
  auto query = [id = order_.plan](state::Db& db) {
    return state::plan(db, id ? std::optional(state::PlanId(*id)) : std::nullopt);
  };
  const auto saved = co_await store_.run(std::move(query));
  if (!saved)
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                        order_.plan ? fmt::format("There is no plan {}. \"4d2kms plan\" makes one.", *order_.plan)
                                    : "There is no plan yet. \"4d2kms plan\" makes one.",
                        Exit::usage});
  auto was = json::parse(saved->content).as_object();
  std::map<std::string, std::string> left_out;
  for (const auto& a : was.at("accounts").as_array())
    if (const auto* reason = a.as_object().if_contains("reason"))
      left_out.emplace(a.as_object().at("account").as_string(), reason->as_string());
  co_await migration_.leave_out(std::move(left_out));
  planned_ = co_await migration_.plan();
  plan_id_ = saved->id;
  std::string what;
  // With --only or --exclude that part of the plan counts.
  if (fingerprint(*planned_) == saved->fingerprint && vanished(was, to_json(*planned_)).empty()) co_return;
  const bool part = !migration_.settings().only.empty() || !migration_.settings().exclude.empty();
  auto& all = was.at("accounts").as_array();
  if (part)
    for (auto it = all.begin(); it != all.end();)
      it = migration_.selected(std::string(it->as_object().at("account").as_string())) ? it + 1 : all.erase(it);
  if (const auto* domains = was.if_contains("domains"); part && domains != nullptr) {
    auto& list = was.at("domains").as_array();
    const auto of_this_run = [&](const json::value& d) {
      return std::any_of(planned_->domains.begin(), planned_->domains.end(), [&](const auto& now) {
        return now.name == std::string_view(d.as_object().at("domain").as_string());
      });
    };
    for (auto it = list.begin(); it != list.end();) it = of_this_run(*it) ? it + 1 : list.erase(it);
  }
  const auto changed = changes(was, to_json(*planned_));
  if (part && changed.empty()) co_return;
  for (const auto& c : changed) what += "\n  " + base::printable(c);
  throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                      fmt::format("Plan {} is stale; nothing was done. Since it was made, this has changed:{}\nLook at "
                                  "a new one (4d2kms plan), then load that.",
                                  saved->id.value, what),
                      Exit::plan_stale});
}

asio::awaitable<void> Run::stages() {
  const std::string& command = order_.command;
  Migration& m = migration_;
  const Settings& settings = m.settings();
  if (command != "extract") co_await m.connect_target();  // R12, R13: before anything else
  // A plan from an inventory that is there asks the source nothing; nor does a comparison with a report: it may be
  // gone by then.
  co_await m.probe_servers((command != "plan" || settings.refresh) && !order_.against, command != "extract");
  if (m.stopping()) co_return;
  auto inventory = Migration::Inventory::as_it_is;
  if (command == "extract") {
    co_await m.extract();
  } else if (command == "run" || (command == "plan" && settings.refresh)) {
    inventory = Migration::Inventory::anew;
  } else if (command == "plan") {
    auto query = [](state::Db& db) {
      return db.integer("SELECT count(*) FROM account WHERE inventoried IS NULL AND skip=''");
    };
    if (co_await store_.run(std::move(query)) > 0) {
      co_await m.probe_servers(true, false);
      inventory = Migration::Inventory::anew;
    } else {
      log_->warn("The inventory of an earlier run is used, and the source was not asked; --refresh takes a new one.");
    }
  }
  if (m.stopping() || command == "extract") co_return;
  if (order_.against) {
    const auto& against = *order_.against;
    verified_ = co_await m.verify_all(VerifyLevel::full, Migration::Servers::target);
    if (m.stopping()) co_return;
    compare_with_report(
        against, [&m](const std::string& a) { return m.selected(a); }, &verified_);
    verified_.against = fmt::format("report of run {} ({})", against.at("run").as_object().at("number").as_int64(),
                                    std::string_view(against.at("fingerprint").as_string()).substr(0, 16));
    co_return;
  }
  if (command == "verify") {
    verified_ = co_await m.verify_all(settings.verify == VerifyLevel::none ? VerifyLevel::quick : settings.verify);
    co_return;
  }
  if (command == "retry") {
    auto again = [&m](state::Db& db) {
      std::int64_t n = 0;
      for (const auto& a : state::accounts(db))
        if (m.selected(a.address)) n += state::retry_quarantined(db, a.id);
      return n;
    };
    const auto n = co_await store_.run(std::move(again));
    log_->info(
        fmt::format("retry: {} taken out of quarantine", base::plural(static_cast<std::uint64_t>(n), "message")));
  }
  if (command == "load") co_await apply_saved_plan();
  else co_await make_plan(inventory);
  if (m.stopping() || command == "plan") co_return;
  co_await m.load(*planned_);
  if (m.stopping()) co_return;
  verified_ = co_await m.verify_new(settings.verify);
  if (settings.verify != VerifyLevel::none && m.made_accounts()) {
    // The mail is there, whatever the administration answers now: the report must come.
    std::string failed;
    try {
      co_await m.verify_server(&verified_, false);
    } catch (const base::Failed& f) {
      failed = f.error.text;
    }
    if (!failed.empty()) verified_.problems.push_back("The addresses could not be checked: " + failed);
  }
}

void Run::finish(state::Db& db, Exit exit, const std::string& report) {
  const auto load = migration_.progress().load();
  state::end_run(db, run_, static_cast<int>(exit), load.appended, load.octets, report, clock_.unix_seconds());
}

// On the store's thread: of a large server this takes a while, and nobody else touches the migration any more.
Outcome Run::conclude(state::Db& db, bool interrupted) {
  Migration& m = migration_;
  const std::string& command = order_.command;
  Outcome out;
  out.plan_id = plan_id_;
  if (command == "plan" && !interrupted) {
    const bool none_moves = std::all_of(planned_->accounts.begin(), planned_->accounts.end(),
                                        [](const auto& a) { return !a.skip.empty(); });
    const bool any_skip = std::any_of(planned_->accounts.begin(), planned_->accounts.end(),
                                      [](const auto& a) { return !a.skip.empty(); });
    out.exit = m.refused_logins() > 0 && none_moves ? Exit::login_refused : any_skip ? Exit::incomplete : Exit::done;
    out.plan = std::move(planned_);
    finish(db, out.exit, "");
    return out;
  }
  state::add_sample(db, run_, point());
  auto row = state::runs(db).back();
  row.ended = clock_.unix_seconds();
  row.appended = m.progress().load().appended;
  row.octets = m.progress().load().octets;
  out.report = make_report(
      db, verified_, row, [&m](const std::string& a) { return m.selected(a); }, interrupted);
  const Verdict verdict = verdict_of(out.report);
  out.exit = verdict.exit;
  out.sentence = verdict.sentence;
  if (command == "extract") {
    // An inventory alone is complete when every account has one.
    accounts_ = m.selected_accounts();
    const bool errors = std::any_of(accounts_.begin(), accounts_.end(),
                                    [](const auto& a) { return a.skip.empty() && !a.error.empty(); });
    out.exit = interrupted ? Exit::interrupted : errors ? Exit::incomplete : Exit::done;
  }
  if (m.every_log_in_refused()) out.exit = Exit::login_refused;
  out.report["verdict"].as_object()["exit"] = static_cast<int>(out.exit);
  out.file = seal(&out.report);
  finish(db, out.exit, out.file.substr(0, out.file.size() - 1));
  if (command != "extract")
    out.problems = write_report(store_.reports_directory(), {out.report, out.file, &db, &verified_},
                                {"text", "json", "html", "csv", "notes"});
  return out;
}

asio::awaitable<Outcome> Run::work() {
  std::optional<base::Error> failed;
  try {
    co_await stages();
  } catch (const base::Failed& f) {
    failed = f.error;
  }
  ended_ = true;
  if (failed && failed->exit == Exit::state_unusable) throw base::Failed(*failed);
  if (failed) {
    auto record = [this, exit = failed->exit](state::Db& db) { finish(db, exit, ""); };
    co_await store_.run(std::move(record));
    throw base::Failed(*failed);
  }
  // Who asks it to stop from now on comes too late, and on another thread.
  auto end = [this, interrupted = migration_.stopping()](state::Db& db) { return conclude(db, interrupted); };
  co_return co_await store_.run(std::move(end));
}

}  // namespace pipeline
