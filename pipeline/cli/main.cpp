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
#include "pipeline/progress.hpp"
#include "pipeline/report/evidence.hpp"
#include "pipeline/report/files.hpp"
#include "pipeline/report/report.hpp"
#include "pipeline/run.hpp"
#include "pipeline/wizard/wizard.hpp"

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
  if (c.tune.jobs &&
      *c.tune.jobs > std::min(answer.at("source_connections").as_int64(), answer.at("target_connections").as_int64()))
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

// What the terminal shows of a run, a few times a second.
asio::awaitable<void> tick(Run* run, Terminal* terminal) {
  base::SystemClock clock;
  for (;;) {
    co_await clock.sleep(std::chrono::milliseconds(200));
    run->sample();
    terminal->show(run->status(), clock.now());
  }
}

// Takes a run to its end on a fresh event loop, with progress and signals.
Outcome drive(Run& run, Terminal& terminal, asio::io_context& io, asio::signal_set& usr1) {
  asio::signal_set signals(io);
  add_stop_signals(signals);
  std::function<void()> wait = [&] {
    signals.async_wait([&](boost::system::error_code ec, int) {
      if (ec) return;
      if (run.stopping()) {
        terminal.line("Stopped at once. Run the same command again to go on.");
        _exit(static_cast<int>(Exit::interrupted));  // every commit is durable: this is as safe as a power cut
      }
      terminal.line("Stopping after the messages that are on their way; once more to stop at once.");
      run.stop();
      wait();
    });
  };
  wait();
  std::function<void()> on_usr1 = [&] {
    usr1.async_wait([&](boost::system::error_code ec, int) {
      if (ec) return;
      terminal.line(status_line(run.status()));
      on_usr1();
    });
  };
  on_usr1();
  std::exception_ptr failure;
  Outcome outcome;
  asio::co_spawn(io, tick(&run, &terminal), asio::detached);
  asio::co_spawn(io, run.work(), [&](std::exception_ptr e, Outcome o) {
    failure = e;
    outcome = std::move(o);
    io.stop();
  });
  io.run();
  terminal.clear();
  if (failure) std::rethrow_exception(failure);
  return outcome;
}

void print_inventory(state::Db& db, const std::vector<state::AccountRow>& accounts) {
  std::uint64_t errors = 0, skipped = 0;
  state::Books total;
  for (const auto& [id, b] : state::books_by_mailbox(db)) total += b;
  for (const auto& a : accounts) {
    errors += a.skip.empty() && !a.error.empty();
    skipped += !a.skip.empty();
    if (a.skip.empty() && !a.error.empty()) print(fmt::format("{}: {}\n", a.address, a.error));
  }
  print(fmt::format("{} in the inventory, {}; {} skipped, {} with an error.\n",
                    base::plural(total.inventory, "message"), base::human_octets(total.octets),
                    base::plural(skipped, "account"), base::plural(errors, "account")));
}

int work(CommandLine line) {
  const Settings settings = line.settings;
  std::optional<json::object> against;
  if (line.command == "verify" && !line.against.empty()) against = read_evidence(line.against);
  // The loop outlives everything that was spawned on it, and the store's thread, whose last steps still know the loop.
  asio::io_context io(1);
  asio::signal_set usr1(io, SIGUSR1);
  Terminal terminal(settings.quiet, settings.json);
  state::Store store(settings.state, goes_on(line.command) ? state::Store::Mode::existing : state::Store::Mode::create);
  auto log =
      terminal.logger(settings.log_file.empty() ? settings.state + "/4d2kms.log" : settings.log_file, settings.verbose);
  auto dialer = imap::network_dialer();
  base::SystemClock clock;
  Run run({line.command, settings, line.plan, std::move(against)}, store, *dialer, clock, log);
  run.prepare();
  const auto stop = [&] {
    if (!run.stopping())
      terminal.line("Asked to stop over the control socket: stopping after the messages that are on their way.");
    run.stop();
    return json::object{{"stopping", true}};
  };
  const ControlServer control(
      io, settings.state,
      {[&run] { return run.status(); }, [&run](const json::object& r) { return run.tune(r); }, stop});
  if (!control.problem().empty())
    log->warn(fmt::format(
        "There is no control socket ({}): \"4d2kms status\", \"tune\" and \"stop\" will not reach this run.",
        control.problem()));
  const Outcome done = drive(run, terminal, io, usr1);
  for (const auto& problem : done.problems) std::fprintf(stderr, "4d2kms: %s\n", problem.c_str());
  if (done.plan) {
    print(settings.json ? json::serialize(to_json(*done.plan)) + "\n"
                        : to_text(*done.plan, done.plan_id->value, fingerprint(*done.plan)));
    if (!settings.quiet && !settings.json)
      terminal.line(
          fmt::format("To do exactly this: 4d2kms load --plan {} with the same options.", done.plan_id->value));
  } else if (line.command == "extract") {
    print_inventory(store.db(), run.accounts());
  } else if (settings.json) {
    print(done.file);
  } else if (settings.quiet) {
    print(done.sentence + "\n");
  } else {
    print(report_text(done.report));
  }
  return static_cast<int>(done.exit);
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
    if (line.command == "wizard") return wizard::run_wizard(line);
    return work(std::move(line));
  } catch (const base::Failed& f) {
    std::fprintf(stderr, "4d2kms: %s\n", f.error.text.c_str());
    return static_cast<int>(f.error.exit);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "4d2kms: unexpected: %s\n", e.what());
    return static_cast<int>(Exit::failed);
  }
}
