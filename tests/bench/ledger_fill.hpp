// Fills a ledger through the functions that a migration calls, for benchmarks.
#pragma once

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "state/ledger.hpp"
#include "state/store.hpp"

namespace bench {

inline constexpr base::UidValidity kSourceValidity{1'600'000'000};
inline constexpr base::UidValidity kTargetValidity{1'700'000'000};
inline constexpr std::size_t kChunk = 4000;  // rows in one transaction, as extract writes them

// A temporary folder on the disk of TMPDIR.
class Folder {
 public:
  Folder() {
    std::string pattern = std::filesystem::temp_directory_path().string() + "/4d2kms-bench-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path() const { return path_; }

 private:
  std::string path_;
};

// Digests as different as real ones: splitmix64.
inline std::uint64_t scatter(std::uint64_t n) {
  n += 0x9E3779B97F4A7C15u;
  n = (n ^ (n >> 30)) * 0xBF58476D1CE4E5B9u;
  n = (n ^ (n >> 27)) * 0x94D049BB133111EBu;
  return n ^ (n >> 31);
}
inline state::Digest digest(std::uint64_t n) {
  state::Digest d{};
  for (std::size_t i = 0; i < d.size(); i += sizeof n) {
    n = scatter(n + i);
    std::memcpy(d.data() + i, &n, sizeof n);
  }
  return d;
}

inline std::string address(int number) { return fmt::format("user{:05}@example.org", number); }

inline std::vector<state::AccountId> add_accounts(state::Db& db, int count) {
  state::ConfiguredPostOffice office;
  office.name = "Main";
  office.domains.emplace_back("example.org");
  for (int i = 0; i < count; ++i)
    office.accounts.push_back({address(i), fmt::format("user{:05}", i), fmt::format("user{:05}", i), "", "", {}});
  state::save_configuration(db, {office});
  std::vector<state::AccountId> out;
  for (const auto& a : state::accounts(db)) out.push_back(a.id);
  return out;
}

// A mailbox as extract finds it, beside those that the account has; found again if it has that name already.
inline state::MailboxId add_mailbox(state::Db& db, state::AccountId account, const std::string& name) {
  std::vector<state::FoundMailbox> all;
  for (const auto& m : state::mailboxes(db, account))
    if (m.wire != name) all.push_back({m.wire, m.name, "/", m.attributes, m.excluded, m.subscribed});
  all.push_back({name, name, "/", "", "", true});
  state::save_mailboxes(db, account, all);
  for (const auto& m : state::mailboxes(db, account))
    if (m.wire == name) return m.id;
  throw std::runtime_error("the mailbox is not there");
}

// Its inventory: UIDs 1 to count.
inline void list_messages(state::Db& db, state::MailboxId mailbox, std::uint32_t count) {
  static constexpr const char* kFlags[] = {"", "\\Seen", "\\Answered \\Seen", "$Forwarded \\Flagged \\Seen"};
  std::vector<state::FoundMessage> chunk;
  for (std::uint32_t uid = 1; uid <= count; ++uid) {
    const auto n = scatter(uid);
    chunk.push_back({base::Uid(uid), 500 + n % 60'000,
                     base::DateTime{1'100'000'000 + static_cast<std::int64_t>(n % 600'000'000), n % 3 ? 60 : 120},
                     kFlags[n % 4]});
    if (chunk.size() < kChunk && uid < count) continue;
    state::InventoryPiece piece{uid <= kChunk, std::move(chunk), {}};
    if (uid == count) piece.end = state::InventoryEnd{base::Uid(count + 1), count, base::ModSeq(7)};
    state::add_inventory(db, mailbox, kSourceValidity, piece);
    chunk.clear();
  }
}

// The window of source UIDs [from, from + size): commits the results of `before` with its intents, and returns those.
// Target UIDs are given out in order.
inline std::vector<state::Intent> send_window(state::Db& db, state::MailboxId mailbox, std::uint32_t from,
                                              const std::vector<state::Intent>& before, std::uint32_t size,
                                              bool reread = false) {
  std::vector<state::Outcome> outcomes;
  for (std::size_t i = 0; i < before.size(); ++i)
    outcomes.push_back({before[i].id, base::Uid(before[i].u0.value + static_cast<std::uint32_t>(i)), reread, {}});
  std::vector<state::Intent> intents;
  if (size > 0)
    for (const auto& m : state::listed(db, mailbox, kSourceValidity, base::Uid(from - 1), static_cast<int>(size))) {
      state::Intent i;
      i.id = m.id;
      i.target_validity = kTargetValidity;
      i.u0 = base::Uid(from);
      i.octets = m.size;
      i.e1 = digest(static_cast<std::uint64_t>(m.id.value));
      std::memcpy(i.e0.data(), i.e1->data() + 8, i.e0.size());
      i.date = m.date;
      intents.push_back(std::move(i));
    }
  state::commit_window(db, outcomes, intents);
  return intents;
}

}  // namespace bench
