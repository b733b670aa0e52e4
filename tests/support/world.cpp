#include "tests/support/world.hpp"

#include <spdlog/sinks/null_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <fstream>
#include <map>

namespace test {

namespace asio = boost::asio;

TempFolder::TempFolder() {
  // On a RAM disk where there is one: thousands of stores are made and thrown away.
  const std::string root =
      std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path().string();
  std::string pattern = root + "/4d2kms-test-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ec;
  std::filesystem::remove_all(path_, ec);
}

std::string mail(const std::string& subject, const std::string& body) {
  return "From: a@example.org\r\nSubject: " + subject + "\r\nDate: Fri, 17 Jul 2020 02:44:25 +0000\r\n\r\n" + body;
}

World::World() {
  source.read_only = true;
  source.passwords[kUser] = target.passwords[kUser] = "secret";
  source.users[kUser]["INBOX"].uid_validity = 11;
  target.users[kUser]["INBOX"].uid_validity = 21;
  clock.on_sleep = [this] {
    source.tick();
    target.tick();
  };
  settings.source.side = "source";
  settings.target.side = "target";
  settings.source.host = settings.target.host = "localhost";
  settings.source.tls = settings.target.tls = base::TlsMode::none;
  settings.source.port = 143;
  settings.target.port = 144;
  settings.roster = folder.path() + "/roster.csv";
  settings.state = folder.path() + "/state";
  settings.tuning.jobs = 1;
  std::ofstream(settings.roster) << "address;password;source_login;target_login\njane@example.org;secret;jane;jane\n";
  chmod(settings.roster.c_str(), 0600);
}

void World::lose_state() { std::filesystem::remove_all(settings.state); }

namespace {
asio::awaitable<void> stages(pipeline::Migration* m, std::string command, pipeline::VerifyLevel level,
                             pipeline::VerifyResult* verified) {
  if (command == "verify") {
    *verified = co_await m->verify_all(pipeline::VerifyLevel::full);
    co_return;
  }
  if (command == "retry") {
    auto again = [](state::Db& db) { return state::retry_quarantined(db, state::accounts(db).front().id); };
    co_await m->store().run(std::move(again));
  }
  using Inventory = pipeline::Migration::Inventory;
  auto plan = co_await m->plan(command == "run" ? Inventory::anew : Inventory::as_it_is);
  if (command == "plan") co_return;
  co_await m->load(std::move(plan));
  *verified = co_await m->verify_new(level);
}
}  // namespace

World::Ran World::run(const std::string& command, std::uint64_t die_at) {
  Ran ran;
  bool dead = false;
  const auto step = [&] {
    ++ran.steps;
    if (on_step && !dead) on_step(ran.steps);
    const bool now = ran.steps == die_at || (dies && dies());
    if (dead || now) {
      if (!dead && on_death) on_death();
      dead = true;
      throw Died();
    }
  };
  ModelDialer dialer(source, target);
  dialer.step = step;
  auto log = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::null_sink_mt>());
  asio::io_context io(1);  // outlives the store's thread
  try {
    state::Store store(settings.state, state::Store::Mode::create);
    pipeline::Migration m(settings, store, dialer, clock, log);
    stop = [&m] { m.stop(); };
    m.read_configuration();
    m.check_servers();
    m.set_run(state::begin_run(store.db(), command, std::nullopt, clock.unix_seconds()));
    store.set_before(step);
    std::exception_ptr failure;
    asio::co_spawn(io, stages(&m, command, settings.verify, &ran.verified), [&](std::exception_ptr e) {
      failure = e;
      io.stop();
    });
    io.run();
    ran.appended = m.progress().load().appended;
    ran.settled = m.progress().load().settled;
    if (failure) std::rethrow_exception(failure);
    store.set_before({});
    auto row = state::runs(store.db()).back();
    ran.report = pipeline::make_report(
        store.db(), ran.verified, row, [](const std::string&) { return true; }, false);
    ran.exit = static_cast<int>(pipeline::verdict_of(ran.report).exit);
  } catch (const Died&) {
    ran.died = true;
  } catch (const base::Failed& f) {
    ran.error = f.error.text;
    ran.exit = static_cast<int>(f.error.exit);
  }
  stop = {};
  return ran;
}

std::int64_t World::query(const std::string& sql) {
  state::Store store(settings.state, state::Store::Mode::existing);
  return store.db().integer(sql.c_str());
}

void World::expect_in_order() {
  EXPECT_TRUE(source.violations.empty()) << source.violations.front();
  EXPECT_TRUE(target.violations.empty()) << target.violations.front();
  state::Store store(settings.state, state::Store::Mode::existing);
  const auto broken = state::broken_invariants(store.db());
  EXPECT_TRUE(broken.empty()) << broken.front();
  for (const auto& [id, b] : state::books_by_mailbox(store.db())) EXPECT_TRUE(b.closed());
}

void World::expect_equal(const std::string& when) {
  for (const auto& [name, box] : source.users[kUser]) {
    std::map<std::string, int> want, have;
    const auto canon = [](std::string s) {
      std::erase(s, '\r');
      std::replace(s.begin(), s.end(), '\0', '\x80');
      while (s.ends_with('\n')) s.pop_back();
      return s;
    };
    for (const auto& b : source.bodies(kUser, name)) ++want[canon(b)];
    for (const auto& b : target.bodies(kUser, name)) ++have[canon(b)];
    EXPECT_EQ(want, have) << "in " << name << " " << when;
  }
}

}  // namespace test
