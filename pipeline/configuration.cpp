// Configuration into the store, credentials into memory.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "base/text.hpp"
#include "extract/config/fourd.hpp"
#include "extract/config/roster.hpp"
#include "pipeline/migration.hpp"

namespace pipeline {

using base::Exit;
using base::Remedy;
using base::Scope;
using state::Db;

std::string expand_login(const std::string& pattern, const std::string& login, const std::string& domain,
                         const std::string& post_office) {
  const auto at = login.rfind('@');
  const std::string user = login.substr(0, at);
  const std::string own = at == std::string::npos ? domain : login.substr(at + 1);
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    switch (pattern[++i]) {
      case 'u':
        out += user;
        break;
      case 'd':
        out += own;
        break;
      case 'o':
        out += post_office;
        break;
      case '%':
        out += '%';
        break;
      default:
        out += '%';
        out += pattern[i];
    }
  }
  return out;
}

Migration::Migration(Settings settings, state::Store& store, imap::Dialer& dialer, base::Clock& clock,
                     std::shared_ptr<spdlog::logger> log)
    : settings_(std::move(settings)), store_(store), dialer_(dialer), clock_(clock), log_(std::move(log)) {}

bool Migration::selected(const std::string& address) const {
  const auto any = [&](const std::vector<std::string>& patterns) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const auto& p) { return base::glob_match(p, address); });
  };
  return (settings_.only.empty() || any(settings_.only)) && !any(settings_.exclude);
}

void Migration::read_configuration() {
  std::optional<extract::Roster> roster;
  if (!settings_.roster.empty()) roster = base::or_throw(extract::read_roster(settings_.roster, settings_.domains));
  if (!settings_.source_path.empty() || !roster) {
    const auto mapping = settings_.source_mapping.empty() ? base::Result<extract::Mapping>(extract::default_mapping())
                                                          : extract::read_mapping(settings_.source_mapping);
    const std::string path = settings_.source_path.empty() ? extract::kDefault4dPath : settings_.source_path;
    configuration_ = base::or_throw(extract::read_4d(path, base::or_throw(mapping)));
  }
  const bool from_roster = settings_.source_path.empty() && roster;
  if (roster) extract::apply_roster(configuration_, *roster);
  if (settings_.source.port == 0)
    settings_.source.port = settings_.source.tls == base::TlsMode::tls ? std::uint16_t{993}
                            : configuration_.imap_port != 0            ? configuration_.imap_port
                                                                       : std::uint16_t{143};
  for (const auto& n : configuration_.notes) log_->warn(base::printable(n));

  std::vector<state::ConfiguredPostOffice> save;
  std::set<std::string> names, addresses,
      ambiguous(configuration_.ambiguous_logins.begin(), configuration_.ambiguous_logins.end());
  std::map<std::string, std::string> source_logins, target_logins;
  const std::string pattern = !settings_.source_login.empty() ? settings_.source_login : from_roster ? "%u@%d" : "%u";
  for (const auto& p : configuration_.post_offices) {
    state::ConfiguredPostOffice to;
    to.name = p.name.empty() || names.contains(p.name) ? fmt::format("{} ({})", p.name, p.where) : p.name;
    names.insert(to.name);
    to.domains = p.domains;
    to.problem = base::join(p.problems, " ");
    for (const auto& n : p.not_migrated) to.not_migrated.emplace_back(n.kind, base::printable(n.detail));
    for (const auto& a : p.accounts) {
      state::ConfiguredAccount account;
      account.address = a.address;
      account.full_name = a.full_name;
      account.skip = a.skip_reason;
      const std::string domain = extract::domain_of(a.address);
      account.source_login = a.source_login.empty() ? expand_login(pattern, a.login, domain, p.name) : a.source_login;
      if (settings_.target_kind == TargetKind::kerio) {
        // One target domain a Post Office, named after its first SMTP domain (R1); the others are its aliases, and
        // nobody logs in by an alias.
        const std::string own = a.target_login.empty() ? a.address : a.target_login;
        account.target_login = base::lower(extract::local_part_of(own)) + "@" +
                               (p.domains.empty() ? domain : base::lower(p.domains.front()));
      } else {
        account.target_login =
            a.target_login.empty() ? expand_login(settings_.target_login, a.address, domain, p.name) : a.target_login;
      }
      if (!addresses.insert(a.address).second) {
        account.address = fmt::format("{} ({})", a.address, a.where);
        account.skip = fmt::format("the address {} is there twice in the configuration", a.address);
      }
      if (account.skip.empty() && a.source_login.empty() && pattern == "%u" && ambiguous.contains(a.login))
        account.skip = fmt::format("the log-in \"{}\" is used in two Post Offices; give --source-login, such as %u@%d",
                                   base::printable(a.login));
      if (account.skip.empty()) {
        // Two accounts with one log-in would pour two users' mail into one, or copy one user's twice.
        const auto source = source_logins.emplace(account.source_login, a.address),
                   target = target_logins.emplace(account.target_login, a.address);
        if (!source.second)
          account.skip = fmt::format("its source log-in \"{}\" is that of {} too",
                                     base::printable(account.source_login), source.first->second);
        else if (!target.second)
          account.skip = fmt::format("its target log-in \"{}\" is that of {} too",
                                     base::printable(account.target_login), target.first->second);
      }
      for (const auto& n : a.not_migrated) account.not_migrated.emplace_back(n.kind, base::printable(n.detail));
      credentials_[account.address] = {account.source_login, account.target_login, a.password,
                                       a.target_password.empty() ? a.password : a.target_password};
      to.accounts.push_back(std::move(account));
    }
    save.push_back(std::move(to));
  }
  state::save_configuration(store_.db(), save);
  read_new_passwords();
}

namespace {
std::string server_key(const base::Endpoint& e) { return e.side + " server"; }
std::string server_name(const base::Endpoint& e) { return fmt::format("{}:{}", e.host, e.port); }
}  // namespace

const base::Endpoint& Migration::identity(Side side) const {
  if (side == Side::source) return settings_.source;
  // The IMAP port of a target that we administer is learnt from it.
  return settings_.target_kind == TargetKind::kerio ? settings_.api : settings_.target;
}

void Migration::check_servers() {
  for (const Side side : {Side::source, Side::target}) {
    const auto& e = identity(side);
    const std::string was = state::meta(store_.db(), server_key(e));
    if (!was.empty() && was != server_name(e) && !settings_.moved_servers)
      throw base::Failed(
          {Scope::run, Remedy::ask_admin,
           fmt::format(
               "The state in {} belongs to the {} server {}, not to {}. Use another --state folder for another server; "
               "or, if it is the same server under a new address, add --same-servers.",
               settings_.state, e.side, was, server_name(e)),
           Exit::state_unusable});
  }
}

// Only once somebody has logged in there: a mistyped port must not bind the state.
void Migration::remember_server(Side side) {
  if (std::exchange(remembered_[static_cast<int>(side)], true)) return;
  const auto& e = identity(side);
  auto work = [key = server_key(e), name = server_name(e)](Db& db) { state::set_meta(db, key, name); };
  store_.post(std::move(work));
}

// For the report: with what both servers were spoken to.
void Migration::remember_words(Side side, const imap::Session& session) {
  if (std::exchange(words_remembered_[static_cast<int>(side)], true)) return;
  const std::string key = side == Side::source ? "source" : "target";
  auto work = [key, greeting = base::printable(session.greeting()),
               capabilities = base::printable(base::join(session.capabilities().names, " "))](Db& db) {
    state::set_meta(db, key + " greeting", greeting);
    state::set_meta(db, key + " capabilities", capabilities);
  };
  store_.post(std::move(work));
}

std::vector<state::AccountRow> Migration::selected_accounts() {
  auto all = state::accounts(store_.db());
  std::erase_if(all, [&](const auto& a) { return !selected(a.address); });
  return all;
}

void Migration::event(const std::string& kind, const std::string& detail, std::optional<state::AccountId> account,
                      std::optional<state::MailboxId> mailbox) {
  log_->info(fmt::format("{}: {}", kind, detail));
  const auto at = clock_.unix_seconds();
  // Not waited for: the store's thread keeps the order, and the next commit carries it.
  auto work = [run = run_, at, account, mailbox, kind, detail](Db& db) {
    state::add_event(db, run, at, account, mailbox, kind, detail);
  };
  store_.post(std::move(work));
}

}  // namespace pipeline
