// What the ledger costs a message. On a disk, because a commit is a sync: set TMPDIR to the disk that counts.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "tests/bench/ledger_fill.hpp"

namespace {

using bench::Folder;

// An inventory of 50,000 messages in chunks as extract writes them: mailboxes new to the ledger, or (1) known already.
void inventory(benchmark::State& state) {
  const Folder folder;
  state::Store store(folder.path() + "/state", state::Store::Mode::create);
  auto& db = store.db();
  constexpr std::uint32_t kMessages = 50'000;
  const bool again = state.range(0) != 0;
  auto account = bench::add_accounts(db, 1).front();
  int round = 0;
  if (again) bench::list_messages(db, bench::add_mailbox(db, account, "again"), kMessages);
  for (auto _ : state) {
    state.PauseTiming();
    const auto box = bench::add_mailbox(db, account, again ? "again" : fmt::format("new{}", round++));
    state.ResumeTiming();
    bench::list_messages(db, box, kMessages);
  }
  state.SetLabel(again ? "known" : "new");
  state.SetItemsProcessed(state.iterations() * kMessages);
}
BENCHMARK(inventory)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

// One commit of load: the results of the window before and the intents of this one. One sync.
void window(benchmark::State& state) {
  const Folder folder;
  state::Store store(folder.path() + "/state", state::Store::Mode::create);
  auto& db = store.db();
  const auto account = bench::add_accounts(db, 1).front();
  const auto size = static_cast<std::uint32_t>(state.range(0));
  state::MailboxId box;
  std::uint32_t next = 1, left = 0;
  int round = 0;
  std::vector<state::Intent> before;
  for (auto _ : state) {
    if (left == 0) {
      state.PauseTiming();
      box = bench::add_mailbox(db, account, fmt::format("box{}", round++));
      bench::list_messages(db, box, 6400);
      left = 6400 / size;
      next = 1;
      before.clear();
      state.ResumeTiming();
    }
    before = bench::send_window(db, box, next, before, size);
    next += size;
    --left;
  }
  state.SetItemsProcessed(state.iterations() * size);
}
BENCHMARK(window)->Arg(1)->Arg(64)->UseRealTime();

// A tagged OK without a UID, then bound by its content, each by itself: what a target without UIDPLUS costs.
void bind_by_content(benchmark::State& state) {
  const Folder folder;
  state::Store store(folder.path() + "/state", state::Store::Mode::create);
  auto& db = store.db();
  const auto account = bench::add_accounts(db, 1).front();
  constexpr std::uint32_t kMessages = 6400;
  state::MailboxId box;
  std::uint32_t at = kMessages;
  int round = 0;
  std::vector<state::MessageRow> rows;
  for (auto _ : state) {
    if (at == kMessages) {
      state.PauseTiming();
      box = bench::add_mailbox(db, account, fmt::format("box{}", round++));
      bench::list_messages(db, box, kMessages);
      std::vector<state::Intent> none;
      const auto sent = bench::send_window(db, box, 1, none, kMessages);
      std::vector<state::Outcome> acked;
      for (const auto& i : sent) acked.push_back({i.id, {}, false, {}});
      state::commit_window(db, acked, {});
      rows = state::in_doubt(db, box);
      at = 0;
      state.ResumeTiming();
    }
    state::commit_window(db, {{rows[at].id, base::Uid(at + 1), true, {}}}, {});
    ++at;
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(bind_by_content)->UseRealTime();

// What a plan asks the ledger for n accounts of 5 mailboxes; no server is asked.
void plan(benchmark::State& state) {
  const Folder folder;
  state::Store store(folder.path() + "/state", state::Store::Mode::create);
  auto& db = store.db();
  for (const auto a : bench::add_accounts(db, static_cast<int>(state.range(0))))
    for (int m = 0; m < 5; ++m) bench::list_messages(db, bench::add_mailbox(db, a, fmt::format("box{}", m)), 20);
  for (auto _ : state)
    for (const auto& a : state::accounts(db))
      for (const auto& m : state::mailboxes(db, a.id)) {
        benchmark::DoNotOptimize(state::pending(db, m.id));
        benchmark::DoNotOptimize(state::flag_changes(db, m.id));
      }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(plan)->Arg(10)->Arg(100)->Arg(1000)->Unit(benchmark::kMillisecond);

// The rows behind a report and a status.
void books(benchmark::State& state) {
  const Folder folder;
  state::Store store(folder.path() + "/state", state::Store::Mode::create);
  auto& db = store.db();
  const auto account = bench::add_accounts(db, 1).front();
  for (int m = 0; m < 20; ++m) bench::list_messages(db, bench::add_mailbox(db, account, fmt::format("box{}", m)), 5000);
  for (auto _ : state) {
    benchmark::DoNotOptimize(state::books_by_mailbox(db));
    benchmark::DoNotOptimize(state::broken_invariants(db));
  }
  state.SetItemsProcessed(state.iterations() * 100'000);
}
BENCHMARK(books)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
