// A whole server's ledger, filled and read by the functions that a migration calls, and timed: for
// tests/ledger_scale.py.
//
//   ledger_scale DIR ACCOUNTS MESSAGES [NOTED]
//
// NOTED: so many messages have a remark (default none). DIR is made; its state stays for the program itself to be run
// on. A JSON line a phase on standard output. The plan is the real one, against a model server in memory.
#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "pipeline/migration.hpp"
#include "pipeline/report/files.hpp"
#include "pipeline/report/report.hpp"
#include "tests/bench/ledger_fill.hpp"
#include "tests/support/model_server.hpp"

namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using state::Db;

constexpr int kMailboxes = 5;                 // an account
constexpr std::uint32_t kLargeWindow = 5000;  // what fills the ledger where load's own windows are not measured
constexpr std::uint32_t kWindow = 64, kWindows = 200;

// One phase: its time, and the memory it needed at most (of the whole process, reset before it).
class Phase {
 public:
  explicit Phase(std::string name) : name_(std::move(name)) {
    std::ofstream("/proc/self/clear_refs") << "5";
    before_ = memory("VmRSS:");
    start_ = std::chrono::steady_clock::now();
  }
  void done(std::uint64_t items, json::object more = {}) {
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    json::object o;
    o["phase"] = name_;
    o["seconds"] = s;
    o["items"] = items;
    o["a_second"] = s > 0 ? static_cast<double>(items) / s : 0;
    o["memory_before_mib"] = before_;
    o["memory_peak_mib"] = memory("VmHWM:");
    for (auto& [key, value] : more) o[key] = value;
    std::cout << json::serialize(o) << std::endl;
  }

 private:
  static double memory(const std::string& field) {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
      if (word == field && status >> word) return std::stod(word) / 1024;
    return 0;
  }
  std::string name_;
  double before_ = 0;
  std::chrono::steady_clock::time_point start_;
};

struct Box {
  state::MailboxId id;
  std::uint32_t messages = 0;
};

// Five mailboxes an account, of which one holds a tenth of everything: what is not linear in a mailbox shows there.
std::vector<Box> make_mailboxes(Db& db, std::uint64_t messages) {
  std::vector<Box> out;
  const auto accounts = state::accounts(db);
  for (const auto& a : accounts) {
    std::vector<state::FoundMailbox> found;
    for (const char* name : {"INBOX", "Sent", "Archive/2018", "Archive/2019", "Trash"})
      found.push_back({name, name, "/", "", "", true});
    state::save_mailboxes(db, a.id, found);
    for (const auto& m : state::mailboxes(db, a.id)) out.push_back({m.id, 0});
    state::set_account_inventoried(db, a.id, 1);
  }
  const std::uint64_t large = messages / 10, each = (messages - large) / out.size();
  for (auto& b : out) b.messages = static_cast<std::uint32_t>(each);
  out.front().messages += static_cast<std::uint32_t>(messages - each * out.size());
  return out;
}

void send(Db& db, const Box& box, std::uint32_t from, std::uint32_t to, std::uint32_t size) {
  std::vector<state::Intent> before;
  for (; from < to; from += size)
    before = bench::send_window(db, box.id, from, before, std::min(size, to - from), true);
  bench::send_window(db, box.id, from, before, 0, true);
}

asio::awaitable<void> plan_into(pipeline::Migration* m, pipeline::Plan* to) { *to = co_await m->plan(); }

void plan(const std::string& name, pipeline::Migration& m, state::Store& store, asio::io_context& io) {
  Phase phase(name);
  pipeline::Plan planned;
  std::exception_ptr failure;
  io.restart();
  asio::co_spawn(io, plan_into(&m, &planned), [&](std::exception_ptr e) {
    failure = e;
    io.stop();
  });
  io.run();
  if (failure) std::rethrow_exception(failure);
  const auto print = pipeline::fingerprint(planned);
  const auto content = json::serialize(pipeline::to_json(planned));
  state::save_plan(store.db(), 1, print, content);
  const auto text = pipeline::to_text(planned, 1, print);
  std::uint64_t to_move = 0, skipped = 0;
  for (const auto& a : planned.accounts) {
    skipped += !a.skip.empty();
    for (const auto& box : a.mailboxes) to_move += box.to_move;
  }
  phase.done(planned.accounts.size(), {{"messages_to_move", to_move},
                                       {"skipped", skipped},
                                       {"json_octets", content.size()},
                                       {"text_octets", text.size()}});
}

void octets(Db& db, std::uint64_t messages) {
  json::object tables;
  double ours = 0;
  auto r = db.rows("SELECT name, sum(pgsize) FROM dbstat GROUP BY name HAVING sum(pgsize)>?", messages / 100);
  while (r.next()) {
    const double each = static_cast<double>(r.integer(1)) / static_cast<double>(messages);
    const auto table = r.text(0);
    tables[table] = each;
    if (table.starts_with("message") || table.starts_with("intent")) ours += each;
  }
  std::cout << json::serialize(json::object{{"phase", "octets a message"}, {"message", ours}, {"tables", tables}})
            << std::endl;
}

int measure(const std::string& folder, int accounts, std::uint64_t messages, std::uint64_t noted) {
  std::filesystem::create_directory(folder);
  test::VirtualClock clock;
  test::ModelServer source(clock, "source"), target(clock, "target");
  pipeline::Settings settings;
  settings.source.host = settings.target.host = "localhost";
  settings.source.tls = settings.target.tls = base::TlsMode::none;
  settings.source.port = 143;
  settings.target.port = 144;
  settings.roster = folder + "/roster.csv";
  settings.state = folder + "/state";
  {
    std::ofstream roster(settings.roster);
    roster << "address;password;source_login;target_login\n";
    for (int i = 0; i < accounts; ++i) {
      roster << fmt::format("{};secret;u{};u{}\n", bench::address(i), i, i);
      target.passwords[fmt::format("u{}", i)] = "secret";
      target.users[fmt::format("u{}", i)]["INBOX"].uid_validity = 21;
    }
  }
  chmod(settings.roster.c_str(), 0600);
  test::ModelDialer dialer(source, target);
  auto log = std::make_shared<spdlog::logger>("scale", std::make_shared<spdlog::sinks::null_sink_mt>());
  asio::io_context io(1);
  auto store = std::make_unique<state::Store>(settings.state, state::Store::Mode::create);
  auto* db = &store->db();
  pipeline::Migration m(settings, *store, dialer, clock, log);
  {
    Phase phase("configuration");
    m.read_configuration();
    phase.done(static_cast<std::uint64_t>(accounts));
  }
  m.check_servers();
  const auto run = state::begin_run(*db, "run", std::nullopt, 1);
  m.set_run(run);
  std::vector<Box> boxes;
  {
    Phase phase("mailboxes");
    boxes = make_mailboxes(*db, messages);
    phase.done(boxes.size());
  }
  {
    Phase phase("inventory, one mailbox");
    bench::list_messages(*db, boxes.front().id, boxes.front().messages);
    phase.done(boxes.front().messages);
  }
  {
    Phase phase("inventory, the others");
    std::uint64_t rows = 0;
    for (std::size_t i = 1; i < boxes.size(); ++i) {
      bench::list_messages(*db, boxes[i].id, boxes[i].messages);
      rows += boxes[i].messages;
    }
    phase.done(rows);
  }
  plan("plan, nothing moved", m, *store, io);
  {
    Phase phase("inventory again, one mailbox");
    bench::list_messages(*db, boxes.front().id, boxes.front().messages);
    phase.done(boxes.front().messages);
  }
  const auto sampled = std::min(kWindow * kWindows, boxes.front().messages);
  {
    Phase phase("windows of 64");
    send(*db, boxes.front(), 1, sampled + 1, kWindow);
    phase.done(sampled);
  }
  {
    Phase phase("windows of 5000");
    std::uint64_t rows = 0;
    for (const auto& b : boxes) {
      const std::uint32_t from = &b == &boxes.front() ? sampled + 1 : 1;
      send(*db, b, from, b.messages + 1, kLargeWindow);
      rows += b.messages + 1 - from;
    }
    phase.done(rows);
  }
  plan("plan, all moved", m, *store, io);
  if (noted > 0) {
    Phase phase("remarks");
    state::Transaction t(*db);
    db->run(
        "INSERT INTO note(message, kind, detail) SELECT id, 'date', 'sent 17-Jul-1996 02:44:25 -0700, the target "
        "stores ' "
        "|| id FROM message ORDER BY id LIMIT ?",
        noted);
    t.commit();
    phase.done(noted);
  }
  json::object report;
  std::string file;
  {
    Phase phase("report");
    state::RunRow row;
    row.id = run;
    row.command = "run";
    report = pipeline::make_report(
        *db, {}, row, [](const std::string&) { return true; }, false);
    file = pipeline::seal(&report);
    state::end_run(*db, run, 0, messages, 0, file, 2);
    phase.done(messages, {{"verdict", pipeline::verdict_of(report).sentence}, {"json_octets", file.size()}});
  }
  for (const char* format : {"json", "text", "html", "csv", "notes"}) {
    Phase phase(std::string("report as ") + format);
    const auto problems = pipeline::write_report(settings.state + "/reports", {report, file, db, nullptr}, {format});
    if (!problems.empty()) throw std::runtime_error(problems.front());
    phase.done(static_cast<std::uint64_t>(accounts));
  }
  {
    Phase phase("close");
    store.reset();
    phase.done(1);
  }
  {
    Phase phase("open");
    store = std::make_unique<state::Store>(settings.state, state::Store::Mode::existing);
    db = &store->db();
    phase.done(
        1, {{"file_octets_a_message", static_cast<double>(std::filesystem::file_size(settings.state + "/state.db")) /
                                          static_cast<double>(messages)}});
  }
  octets(*db, messages);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::cerr << "ledger_scale DIR ACCOUNTS MESSAGES [NOTED]\n";
    return 2;
  }
  try {
    return measure(argv[1], std::stoi(argv[2]), std::stoull(argv[3]), argc == 5 ? std::stoull(argv[4]) : 0);
  } catch (const base::Failed& f) {
    std::cerr << f.error.text << "\n";
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
  }
  return 1;
}
