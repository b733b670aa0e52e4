// The command line: a thin face over the stages.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/text.hpp"
#include "extract/config/fourd.hpp"
#include "extract/config/roster.hpp"
#include "pipeline/cli/options.hpp"
#include "pipeline/cli/terminal.hpp"
#include "pipeline/control.hpp"
#include "pipeline/migration.hpp"
#include "pipeline/progress.hpp"
#include "pipeline/report/evidence.hpp"
#include "pipeline/report/files.hpp"
#include "pipeline/report/report.hpp"

namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using base::Exit;
using namespace pipeline;

// Mail and passwords pass through this process: no core file, no ptrace by the same user, no file readable by others
// (S24, S25).
void harden() {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_DUMPABLE, 0);
  umask(077);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGUSR1, SIG_IGN);  // asks a running stage for a line; before and after there is nothing to say
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);  // before what is said on standard error next
}

int inspect(const Settings& s) {
  if (!s.roster.empty() && s.source_path.empty()) {
    extract::SourceConfiguration c;
    extract::apply_roster(c, base::or_throw(extract::read_roster(s.roster, s.domains)));
    print(extract::describe(c));
    return 0;
  }
  const auto mapping =
      s.source_mapping.empty() ? extract::default_mapping() : base::or_throw(extract::read_mapping(s.source_mapping));
  print(base::or_throw(extract::inspect_4d(s.source_path.empty() ? extract::kDefault4dPath : s.source_path, mapping)));
  return 0;
}

const state::RunRow* chosen_run(const std::vector<state::RunRow>& runs, std::optional<std::int64_t> number) {
  const state::RunRow* chosen = nullptr;
  for (const auto& r : runs)
    if (number ? r.id.value == *number : r.reported) chosen = &r;
  return chosen;
}

// As --format and --output ask for. `file`: the JSON as it was sealed.
int give_report(const CommandLine& c, const json::object& report, std::string file, state::Db* ledger) {
  const bool files = !c.output.empty() || c.format == "csv" || c.format == "notes" || c.format == "all";
  if (!files) {
    print(c.format == "json" ? file : c.format == "html" ? report_html(report) : report_text(report));
    return 0;
  }
  const std::string folder = c.output.empty() ? c.settings.state + "/reports" : c.output;
  std::set<std::string> formats{c.format};
  if (c.format == "all") formats = {"text", "json", "html", "csv", "notes"};
  const auto& totals = report.if_contains("totals") ? report.at("totals").as_object() : json::object();
  if (formats.contains("csv") && ledger == nullptr && !totals.empty() &&
      totals.at("messages_not_on_target").to_number<std::uint64_t>() + totals.at("remarks").to_number<std::uint64_t>() >
          report.at("messages").as_array().size())
    std::fprintf(stderr,
                 "4d2kms: the ledger has gone on since that run: the file of messages has only those that its report "
                 "lists. The whole one was written into %s/reports when it ended.\n",
                 c.settings.state.c_str());
  const auto problems = write_report(folder, {report, std::move(file), ledger, nullptr}, formats);
  for (const auto& p : problems) std::fprintf(stderr, "4d2kms: %s\n", p.c_str());
  if (problems.empty()) print(fmt::format("Written into {}.\n", folder));
  return static_cast<int>(problems.empty() ? Exit::done : Exit::failed);
}

// While a run works with the state nobody else opens it: the copies in the folder are as good.
int report_beside_a_run(const CommandLine& c) {
  std::int64_t newest = -1;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(c.settings.state + "/reports", ec)) {
    long long n = 0;
    char rest = 0;
    const std::string name = entry.path().filename();
    if (std::sscanf(name.c_str(), "run-%lld.jso%c", &n, &rest) == 2 && rest == 'n' && (!c.run || n == *c.run))
      newest = std::max<std::int64_t>(newest, n);
  }
  const auto path = fmt::format("{}/reports/run-{}.json", c.settings.state, newest);
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  boost::system::error_code bad;
  const auto value = json::parse(text, bad);
  if (newest < 0 || bad || !value.is_object())
    throw base::Failed(
        {base::Scope::run, base::Remedy::retry_later,
         fmt::format("A run is working with {}, and there is no report{} yet; \"4d2kms status\" says how "
                     "far it is.",
                     c.settings.state, c.run ? fmt::format(" of run {}", *c.run) : std::string()),
         Exit::locked});
  std::fprintf(stderr, "4d2kms: a run is working with this state; this is the report of run %lld.\n",
               static_cast<long long>(newest));
  return give_report(c, value.as_object(), text, nullptr);
}

int report(const CommandLine& c) {
  if (ask_control(c.settings.state, {{"request", "status"}})) return report_beside_a_run(c);
  state::Store store(c.settings.state, state::Store::Mode::existing);
  const auto runs = state::runs(store.db());
  const auto* r = chosen_run(runs, c.run);
  if (r == nullptr || !r->reported)
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                        fmt::format("There is no report in {}{}; \"4d2kms status\" lists the runs.", c.settings.state,
                                    c.run ? fmt::format(" for run {}", *c.run) : std::string())});
  const auto content = state::report(store.db(), r->id);
  // What came after it may have changed the ledger.
  const bool last = r->id == runs.back().id;
  return give_report(c, json::parse(content).as_object(), content + "\n", last ? &store.db() : nullptr);
}

int status_of_state(const CommandLine& c) {
  state::Store store(c.settings.state, state::Store::Mode::existing);
  auto& db = store.db();
  state::Books total;
  for (const auto& [id, b] : state::books_by_mailbox(db)) total += b;
  const auto runs = state::runs(db);
  if (c.settings.json) {
    json::array list;
    for (const auto& r : runs)
      list.push_back({{"run", r.id.value},
                      {"command", r.command},
                      {"started", r.started},
                      {"ended", r.ended},
                      {"exit", r.exit},
                      {"appended", r.appended},
                      {"octets", r.octets}});
    json::object o{{"inventory", total.inventory},     {"bound", total.bound},     {"verified", total.verified},
                   {"quarantined", total.quarantined}, {"pending", total.pending}, {"gone", total.gone},
                   {"excluded", total.excluded},       {"runs", std::move(list)}};
    print(json::serialize(o) + "\n");
    return 0;
  }
  print(fmt::format(
      "{} in the inventory: {} on the target ({} verified), {} pending, {} quarantined, {} gone, {} excluded.\n\n",
      base::plural(total.inventory, "message"), base::human_count(total.bound), base::human_count(total.verified),
      base::human_count(total.pending), base::human_count(total.quarantined), base::human_count(total.gone),
      base::human_count(total.excluded)));
  std::vector<std::vector<std::string>> rows = {{"RUN", "COMMAND", "SENT", "SIZE", "EXIT"}};
  for (const auto& r : runs)
    rows.push_back({std::to_string(r.id.value), r.command, base::human_count(r.appended), base::human_octets(r.octets),
                    r.ended == 0 ? "did not end" : std::to_string(r.exit)});
  print(base::table(rows, {0, 2, 3, 4}));
  return 0;
}

// What the running process says; false if there is none.
bool status_of_run(const CommandLine& c) {
  const bool tty = isatty(STDOUT_FILENO) == 1;
  std::size_t drawn = 0;
  for (bool any = false;; any = true) {
    const auto answer = ask_control(c.settings.state, {{"request", "status"}});
    if (!answer) return any && !c.watch;
    if (c.settings.json) {
      print(json::serialize(*answer) + "\n");
    } else {
      auto lines = status_table(*answer, tty ? columns(STDOUT_FILENO) : 1000);
      if (!tty && c.watch) lines.resize(1);
      if (const auto& failed = answer->at("failed").as_array(); !c.watch)
        for (const auto& f : failed)
          lines.push_back(fmt::format("  failed: {}: {}",
                                      base::printable(std::string_view(f.at("account").as_string())),
                                      base::printable(std::string_view(f.at("why").as_string()))));
      drawn = redraw(stdout, tty ? drawn : 0, lines);
    }
    if (!c.watch) return true;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

int status(const CommandLine& c) {
  // Between the lock and the socket a process takes a moment, at either end; the lock is waited for.
  for (int tries = 0;; ++tries) {
    if (status_of_run(c)) return 0;
    try {
      return status_of_state(c);
    } catch (const base::Failed& f) {
      if (f.error.exit != Exit::locked || tries == 2) throw;
    }
  }
}

json::object ask_running(const CommandLine& c, json::object request) {
  auto answer = ask_control(c.settings.state, std::move(request));
  if (!answer)
    throw base::Failed(
        {base::Scope::run, base::Remedy::ask_admin, fmt::format("No 4d2kms is working with {}.", c.settings.state)});
  return *std::move(answer);
}

int tune(const CommandLine& c) {
  json::object request = c.tune.to_json();
  request["request"] = "tune";
  const auto answer = ask_running(c, std::move(request));
  if (c.settings.json) {
    print(json::serialize(answer) + "\n");
    return 0;
  }
  const auto rate = answer.at("max_rate").to_number<base::Octets>();
  const std::string_view hours = answer.at("quiet_hours").as_string();
  print(fmt::format("{} at once, {}, {}.\n",
                    base::plural(answer.at("accounts_at_once").to_number<std::uint64_t>(), "account"),
                    rate == 0 ? std::string("as many octets a second as there are")
                              : fmt::format("at most {} a second", base::human_octets(rate)),
                    hours.empty() ? std::string("at any time") : "nothing sent between " + base::printable(hours)));
  if (c.tune.jobs && *c.tune.jobs > answer.at("accounts_at_once").as_int64())
    std::fputs("4d2kms: --source-connections or --target-connections allows no more; tune them as well.\n", stderr);
  return 0;
}

int stop(const CommandLine& c) {
  const auto answer = ask_running(c, {{"request", "stop"}});
  print(c.settings.json ? json::serialize(answer) + "\n"
                        : "It stops after the messages that are on their way. The same command again goes on.\n");
  return 0;
}

int plan_diff(const CommandLine& c) {
  state::Store store(c.settings.state, state::Store::Mode::existing);
  const auto read = [&](std::int64_t number) {
    const auto p = state::plan(store.db(), state::PlanId(number));
    if (!p)
      throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                          fmt::format("There is no plan {} in {}.", number, c.settings.state), Exit::usage});
    return boost::json::object(json::parse(p->content).as_object());
  };
  const auto was = read(c.diff.first), is = read(c.diff.second);
  const auto changed = changes(was, is);
  if (c.settings.json) {
    json::array list;
    for (const auto& x : changed) list.emplace_back(x);
    print(json::serialize(list) + "\n");
    return 0;
  }
  if (changed.empty()) print(fmt::format("Plans {} and {} decide the same.\n", c.diff.first, c.diff.second));
  for (const auto& x : changed) print(base::printable(x) + "\n");
  return 0;
}

struct Stages {
  CommandLine line;
  Migration& m;
  std::shared_ptr<spdlog::logger> log;
  std::optional<Plan> planned;
  std::optional<state::PlanId> plan_id;
  VerifyResult verified;
  std::optional<json::object> against;  // the report that the target is compared with
};

asio::awaitable<void> make_plan(Stages* s) {
  s->planned = co_await s->m.plan();
  const std::string content = json::serialize(to_json(*s->planned)), print_ = fingerprint(*s->planned);
  auto save = [at = s->m.clock().unix_seconds(), content, print_](state::Db& db) {
    return state::save_plan(db, at, print_, content);
  };
  s->plan_id = co_await s->m.store().run(std::move(save));
}

asio::awaitable<void> apply_saved_plan(Stages* s) {
  auto query = [id = s->line.plan](state::Db& db) {
    return state::plan(db, id ? std::optional(state::PlanId(*id)) : std::nullopt);
  };
  const auto saved = co_await s->m.store().run(std::move(query));
  if (!saved)
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                        s->line.plan ? fmt::format("There is no plan {}. \"4d2kms plan\" makes one.", *s->line.plan)
                                     : "There is no plan yet. \"4d2kms plan\" makes one.",
                        Exit::usage});
  auto was = json::parse(saved->content).as_object();
  std::map<std::string, std::string> left_out;
  for (const auto& a : was.at("accounts").as_array())
    if (const auto* reason = a.as_object().if_contains("reason"))
      left_out.emplace(a.as_object().at("account").as_string(), reason->as_string());
  co_await s->m.leave_out(std::move(left_out));
  s->planned = co_await s->m.plan();
  s->plan_id = saved->id;
  std::string what;
  // With --only or --exclude that part of the plan counts.
  if (fingerprint(*s->planned) == saved->fingerprint && vanished(was, to_json(*s->planned)).empty()) co_return;
  const bool part = !s->m.settings().only.empty() || !s->m.settings().exclude.empty();
  auto& all = was.at("accounts").as_array();
  if (part)
    for (auto it = all.begin(); it != all.end();)
      it = s->m.selected(std::string(it->as_object().at("account").as_string())) ? it + 1 : all.erase(it);
  if (const auto* domains = was.if_contains("domains"); part && domains != nullptr) {
    auto& list = was.at("domains").as_array();
    const auto of_this_run = [&](const json::value& d) {
      return std::any_of(s->planned->domains.begin(), s->planned->domains.end(), [&](const auto& now) {
        return now.name == std::string_view(d.as_object().at("domain").as_string());
      });
    };
    for (auto it = list.begin(); it != list.end();) it = of_this_run(*it) ? it + 1 : list.erase(it);
  }
  const auto changed = changes(was, to_json(*s->planned));
  if (part && changed.empty()) co_return;
  for (const auto& c : changed) what += "\n  " + base::printable(c);
  throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                      fmt::format("Plan {} is stale; nothing was done. Since it was made, this has changed:{}\nLook at "
                                  "a new one (4d2kms plan), then load that.",
                                  saved->id.value, what),
                      Exit::plan_stale});
}

asio::awaitable<void> stages(Stages* s) {
  const std::string& command = s->line.command;
  Migration& m = s->m;
  const Settings& settings = m.settings();
  if (command != "extract") co_await m.connect_target();  // R12, R13: before anything else
  // A plan from an inventory that is there asks the source nothing; nor does a comparison with a report: it may be
  // gone by then.
  co_await m.probe_servers((command != "plan" || settings.refresh) && !s->against, command != "extract");
  if (m.stopping()) co_return;
  if (command == "extract" || command == "run" || (command == "plan" && settings.refresh)) {
    co_await m.extract();
  } else if (command == "plan") {
    auto query = [](state::Db& db) {
      return db.integer("SELECT count(*) FROM account WHERE inventoried IS NULL AND skip=''");
    };
    if (co_await m.store().run(std::move(query)) > 0) {
      co_await m.probe_servers(true, false);
      co_await m.extract();
    } else {
      s->log->warn("The inventory of an earlier run is used, and the source was not asked; --refresh takes a new one.");
    }
  }
  if (m.stopping() || command == "extract") co_return;
  if (command == "verify") {
    if (s->against) {
      s->verified = co_await m.verify_all(VerifyLevel::full, Migration::Servers::target);
      if (m.stopping()) co_return;
      compare_with_report(
          *s->against, [&m](const std::string& a) { return m.selected(a); }, &s->verified);
      s->verified.against =
          fmt::format("report of run {} ({})", s->against->at("run").as_object().at("number").as_int64(),
                      std::string_view(s->against->at("fingerprint").as_string()).substr(0, 16));
      co_return;
    }
    s->verified = co_await m.verify_all(settings.verify == VerifyLevel::none ? VerifyLevel::quick : settings.verify);
    co_return;
  }
  if (command == "retry") {
    auto again = [&m](state::Db& db) {
      std::int64_t n = 0;
      for (const auto& a : state::accounts(db))
        if (m.selected(a.address)) n += state::retry_quarantined(db, a.id);
      return n;
    };
    const auto n = co_await m.store().run(std::move(again));
    s->log->info("retry: {} taken out of quarantine", base::plural(static_cast<std::uint64_t>(n), "message"));
  }
  if (command == "load") co_await apply_saved_plan(s);
  else co_await make_plan(s);
  if (m.stopping() || command == "plan") co_return;
  co_await m.load(*s->planned);
  if (m.stopping()) co_return;
  s->verified = co_await m.verify_new(settings.verify);
  if (settings.verify != VerifyLevel::none && m.made_accounts()) {
    // The mail is there, whatever the administration answers now: the report must come.
    std::string failed;
    try {
      co_await m.verify_server(&s->verified, false);
    } catch (const base::Failed& f) {
      failed = f.error.text;
    }
    if (!failed.empty()) s->verified.problems.push_back("The addresses could not be checked: " + failed);
  }
}

json::object tuning_json(const Tuning& t) {
  return {{"jobs", t.jobs},
          {"source_connections", t.source_connections},
          {"target_connections", t.target_connections},
          {"accounts_at_once", t.accounts_at_once()},
          {"max_rate", t.max_rate},
          {"quiet_hours", t.quiet ? to_text(*t.quiet) : std::string()}};
}

// What a running process says of itself, and what it can be told: for terminal, socket and signal.
struct Desk {
  Migration& m;
  Terminal& terminal;
  Meter meter;
  std::string command;
  std::int64_t run, started;

  json::object snapshot() const {
    json::object out{{"command", command}, {"run", run}, {"pid", getpid()}, {"started", started}};
    for (auto& [name, value] : meter.snapshot(m.clock().now())) out[name] = std::move(value);
    out["stopping"] = m.stopping();
    out["tuning"] = tuning_json(m.tuning());
    return out;
  }
  base::Result<json::object> tune(const json::object& request) {
    auto now = tuned(m.tuning(), request);
    if (!now) return tl::unexpected(std::move(now).error());
    m.tune(*now);
    return tuning_json(*now);
  }
  json::object stop() {
    if (!m.stopping())
      terminal.line("Asked to stop over the control socket: stopping after the messages that are on their way.");
    m.stop();
    return {{"stopping", true}};
  }
  ControlHandler handler() {
    return {[this] { return snapshot(); }, [this](const json::object& r) { return tune(r); },
            [this] { return stop(); }};
  }
};

// The report's curve: each second at first, then a sixtieth of the time that has passed, at most a minute; and where a
// stage begins.
class Curve {
 public:
  explicit Curve(const Desk& desk) : desk_(desk) {}
  void tick() {
    const auto at = desk_.m.clock().unix_seconds();
    const auto& stage = desk_.m.progress().stage;
    const std::int64_t pause = std::clamp<std::int64_t>((at - desk_.started) / 60, 1, 60);
    if (ended_ || stage.empty() || (stage == stage_ && at < before_ + pause)) return;
    stage_ = stage;
    before_ = at;
    desk_.m.store().post(sample());
  }
  // The last one, and with it all that was posted: afterwards the store's thread is idle.
  asio::awaitable<void> end() {
    ended_ = true;
    return desk_.m.store().run(sample());
  }

 private:
  std::function<void(state::Db&)> sample() const {
    const auto& p = desk_.m.progress();
    const auto load = p.load();
    return [run = state::RunId(desk_.run),
            s = state::Sample{desk_.m.clock().unix_seconds(), p.stage, load.appended, p.verified, load.octets}](
               state::Db& db) { state::add_sample(db, run, s); };
  }
  const Desk& desk_;
  std::string stage_;
  std::int64_t before_ = 0;
  bool ended_ = false;
};

asio::awaitable<void> tick(Desk* desk, Curve* curve) {
  base::SystemClock clock;
  for (;;) {
    co_await clock.sleep(std::chrono::milliseconds(200));
    desk->meter.sample(clock.now());
    curve->tick();
    desk->terminal.show(desk->snapshot(), clock.now());
  }
}

// Runs one coroutine to its end on a fresh event loop, with progress and signals.
void drive(Desk& desk, asio::io_context& io, asio::signal_set& usr1, asio::awaitable<void> work) {
  Migration& m = desk.m;
  Terminal& terminal = desk.terminal;
  asio::signal_set signals(io, SIGINT, SIGTERM);
  std::function<void()> wait = [&] {
    signals.async_wait([&](boost::system::error_code ec, int) {
      if (ec) return;
      if (m.stopping()) {
        terminal.line("Stopped at once. Run the same command again to go on.");
        _exit(static_cast<int>(Exit::interrupted));  // every commit is durable: this is as safe as a power cut
      }
      terminal.line("Stopping after the messages that are on their way; once more to stop at once.");
      m.stop();
      wait();
    });
  };
  wait();
  std::function<void()> on_usr1 = [&] {
    usr1.async_wait([&](boost::system::error_code ec, int) {
      if (ec) return;
      terminal.line(status_line(desk.snapshot()));
      on_usr1();
    });
  };
  on_usr1();
  std::exception_ptr failure;
  Curve curve(desk);
  asio::co_spawn(io, tick(&desk, &curve), asio::detached);
  asio::co_spawn(io, std::move(work), [&](std::exception_ptr e) {
    failure = e;
    io.stop();
  });
  io.run();
  terminal.clear();
  // Whatever went wrong: a store that lets nothing through any more says so to whoever uses it next.
  io.restart();
  asio::co_spawn(io, curve.end(), [&](const std::exception_ptr&) { io.stop(); });
  io.run();
  if (failure) std::rethrow_exception(failure);
}

int work(CommandLine line) {
  Settings& settings = line.settings;
  std::optional<json::object> against;
  if (line.command == "verify" && !line.against.empty()) against = read_evidence(line.against);
  // The loop outlives everything that was spawned on it, and the store's thread, whose last steps still know the loop.
  asio::io_context io(1);
  asio::signal_set usr1(io, SIGUSR1);
  Terminal terminal(settings.quiet, settings.json);
  // These go on from something: a mistyped --state must not look like a finished one.
  const bool goes_on = line.command == "load" || line.command == "verify" || line.command == "retry";
  state::Store store(settings.state, goes_on ? state::Store::Mode::existing : state::Store::Mode::create);
  auto log =
      terminal.logger(settings.log_file.empty() ? settings.state + "/4d2kms.log" : settings.log_file, settings.verbose);
  auto dialer = imap::network_dialer();
  base::SystemClock clock;
  Migration m(settings, store, *dialer, clock, log);
  m.read_configuration();
  const auto chosen = m.selected_accounts();
  if (chosen.empty() && !(settings.only.empty() && settings.exclude.empty()))
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                        "No account matches --only and --exclude: they are compared with the whole address, such as "
                        "jane@north.example or *@north.example. Nothing was done.",
                        Exit::usage});
  if (goes_on && std::none_of(chosen.begin(), chosen.end(), [](const auto& a) { return a.inventoried; }))
    throw base::Failed(
        {base::Scope::run, base::Remedy::ask_admin,
         fmt::format("There is no inventory of these accounts in {}: \"4d2kms run\" or \"plan\" comes first.",
                     settings.state),
         Exit::state_unusable});
  m.check_servers();

  Stages s{line, m, log, {}, {}, {}, std::move(against)};
  const auto started = clock.unix_seconds();
  const auto run = state::begin_run(store.db(), line.command, std::nullopt, started);
  m.set_run(run);
  const auto finish = [&](int exit, const std::string& text) {
    state::end_run(store.db(), run, exit, m.progress().load().appended, m.progress().load().octets, text,
                   clock.unix_seconds());
  };
  Desk desk{m, terminal, Meter(m.progress()), line.command, run.value, started};
  try {
    const ControlServer control(io, settings.state, desk.handler());
    if (!control.problem().empty())
      log->warn("There is no control socket ({}): \"4d2kms status\", \"tune\" and \"stop\" will not reach this run.",
                control.problem());
    drive(desk, io, usr1, stages(&s));
  } catch (const base::Failed& f) {
    if (f.error.exit != Exit::state_unusable) finish(static_cast<int>(f.error.exit), "");
    throw;
  }
  if (line.command == "plan" && !m.stopping()) {
    print(settings.json ? json::serialize(to_json(*s.planned)) + "\n"
                        : to_text(*s.planned, s.plan_id->value, fingerprint(*s.planned)));
    const bool none_moves = std::all_of(s.planned->accounts.begin(), s.planned->accounts.end(),
                                        [](const auto& a) { return !a.skip.empty(); });
    const bool any_skip = std::any_of(s.planned->accounts.begin(), s.planned->accounts.end(),
                                      [](const auto& a) { return !a.skip.empty(); });
    const Exit exit = m.refused_logins() > 0 && none_moves ? Exit::login_refused
                      : any_skip                           ? Exit::incomplete
                                                           : Exit::done;
    finish(static_cast<int>(exit), "");
    if (!settings.quiet && !settings.json)
      terminal.line(fmt::format("To do exactly this: 4d2kms load --plan {} with the same options.", s.plan_id->value));
    return static_cast<int>(exit);
  }
  auto row = state::runs(store.db()).back();
  row.ended = clock.unix_seconds();
  row.appended = m.progress().load().appended;
  row.octets = m.progress().load().octets;
  auto report = make_report(
      store.db(), s.verified, row, [&m](const std::string& a) { return m.selected(a); }, m.stopping());
  Verdict verdict = verdict_of(report);
  if (line.command == "extract") {
    // An inventory alone is complete when every account has one.
    std::uint64_t errors = 0, skipped = 0;
    state::Books total;
    for (const auto& [id, b] : state::books_by_mailbox(store.db())) total += b;
    for (const auto& a : m.selected_accounts()) {
      errors += a.skip.empty() && !a.error.empty();
      skipped += !a.skip.empty();
      if (a.skip.empty() && !a.error.empty()) print(fmt::format("{}: {}\n", a.address, a.error));
    }
    print(fmt::format("{} in the inventory, {}; {} skipped, {} with an error.\n",
                      base::plural(total.inventory, "message"), base::human_octets(total.octets),
                      base::plural(skipped, "account"), base::plural(errors, "account")));
    verdict.exit = m.stopping() ? Exit::interrupted : errors > 0 ? Exit::incomplete : Exit::done;
  }
  if (m.every_log_in_refused()) verdict.exit = Exit::login_refused;
  report["verdict"].as_object()["exit"] = static_cast<int>(verdict.exit);
  const std::string file = seal(&report);
  finish(static_cast<int>(verdict.exit), file.substr(0, file.size() - 1));
  if (line.command == "extract") return static_cast<int>(verdict.exit);
  for (const auto& problem : write_report(store.reports_directory(), {report, file, &store.db(), &s.verified},
                                          {"text", "json", "html", "csv", "notes"}))
    std::fprintf(stderr, "4d2kms: %s\n", problem.c_str());
  if (settings.json) print(file);
  else if (settings.quiet) print(verdict.sentence + "\n");
  else print(report_text(report));
  return static_cast<int>(verdict.exit);
}

}  // namespace

int main(int argc, char** argv) {
  harden();
  try {
    CommandLine line = parse_command_line(argc, argv);
    if (line.exit >= 0) return line.exit;
    if (line.command == "inspect") return inspect(line.settings);
    if (line.command == "report") return report(line);
    if (line.command == "status") return status(line);
    if (line.command == "tune") return tune(line);
    if (line.command == "stop") return stop(line);
    if (line.command == "plan diff") return plan_diff(line);
    return work(std::move(line));
  } catch (const base::Failed& f) {
    std::fprintf(stderr, "4d2kms: %s\n", f.error.text.c_str());
    return static_cast<int>(f.error.exit);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "4d2kms: unexpected: %s\n", e.what());
    return static_cast<int>(Exit::failed);
  }
}
