#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/tasks.hpp"
#include "extract/inventory.hpp"
#include "pipeline/migration.hpp"

namespace pipeline {

namespace asio = boost::asio;
using state::Db;

asio::awaitable<void> Migration::extract() {
  progress_.begin("inventory", clock_.now());
  auto query = [](Db& db) { return state::accounts(db); };
  auto accounts = co_await store_.run(std::move(query));
  std::erase_if(accounts, [&](const auto& a) { return !selected(a.address) || !a.skip.empty(); });
  std::function<asio::awaitable<void>(state::AccountRow)> work = [this](state::AccountRow a) {
    return extract_account(std::move(a), {});
  };
  co_await for_each_account(std::move(accounts), std::move(work));
}

asio::awaitable<void> Migration::extract_account(state::AccountRow account,
                                                 std::function<asio::awaitable<void>()> meanwhile) {
  std::function<asio::awaitable<void>()> once = [this, account, &meanwhile] {
    return extract_once(account, meanwhile);
  };
  const std::string error = co_await supervise(account.address, std::move(once));
  if (error.empty()) extract_errors_.erase(account.id.value);
  else extract_errors_[account.id.value] = error;
  auto save = [id = account.id, error](Db& db) { state::set_account_error(db, id, error); };
  co_await store_.run_in_order(std::move(save));
}

asio::awaitable<void> Migration::extract_once(state::AccountRow account,
                                              std::function<asio::awaitable<void>()> meanwhile) {
  auto session = co_await open_session(Side::source, account.address, imap::Access::read_only);
  auto beside = meanwhile ? meanwhile() : base::nothing();
  const auto ended = co_await base::run_both(take_inventory(session.get(), account), std::move(beside));
  if (ended.second) std::rethrow_exception(ended.second);
  if (ended.first) std::rethrow_exception(ended.first);
}

asio::awaitable<void> Migration::take_inventory(imap::Session* session, state::AccountRow account) {
  std::string prefix;
  const auto result = co_await extract::inventory(*session, store_, account.id, prefix);
  for (const auto& p : result.problems) log_->warn(fmt::format("{}: {}", account.address, p));
  log_->debug(fmt::format("inventory account={} mailboxes={} unchanged={} messages={}", account.address,
                          result.mailboxes, result.unchanged, result.messages_read));
  auto save = [id = account.id, prefix, at = clock_.unix_seconds()](Db& db) {
    state::set_account_inventoried(db, id, at);
    state::set_meta(db, fmt::format("prefix {}", id.value), prefix);
  };
  co_await store_.run_in_order(std::move(save));
  co_await session->logout();
}

}  // namespace pipeline
