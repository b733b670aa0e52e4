// A target that we administer (Kerio Connect): read and decided before anything else, provisioned before the mail,
// compared after it.
#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/text.hpp"
#include "extract/config/csv.hpp"
#include "pipeline/migration.hpp"

namespace pipeline {

namespace asio = boost::asio;
namespace kerio = load::kerio;
using base::Exit;
using base::Remedy;
using base::Scope;
using state::Db;
using state::ObjectState;
using state::TargetObject;
using namespace std::chrono_literals;

namespace {
constexpr auto kAccountsAppear = 3s;  // between the last account made and the first log-in (field report)
constexpr std::chrono::milliseconds kFence = 10min, kFencePoll = 1s;
constexpr const char* kNewPasswords = "/new-passwords.csv";
}  // namespace

asio::awaitable<std::unique_ptr<kerio::ApiClient>> Migration::open_administration(imap::Access access) {
  kerio::ApiClient::Settings s;
  s.endpoint = settings_.api;
  s.user = settings_.target_user;
  s.password = settings_.target_password;
  s.access = access;
  if (settings_.verbose)
    s.trace = [log = log_](const std::string& line) { log->debug(fmt::format("administration {}", line)); };
  co_await trust(&s.endpoint);
  co_return co_await kerio::ApiClient::open(dialer_, clock_, std::move(s));
}

asio::awaitable<void> Migration::fence(const PlannedAccount* planned) {
  if (settings_.target_kind != TargetKind::kerio) co_return;
  std::string why;
  try {
    auto api = co_await open_administration(imap::Access::read_only);
    kerio::Admin admin(*api);
    const auto until = clock_.now() + kFence;
    for (bool told = false; !stopping_;) {
      const auto open = co_await admin.imap_connections(planned->address);
      if (kerio::from_our_host(open) <= 1) {
        if (told) event("fence", "the target has closed the old connection to " + planned->address, planned->id, {});
        co_await api->logout();
        co_return;
      }
      if (clock_.now() >= until) break;
      const Waiting shown(progress_, planned->address, "the target to close an old connection", until);
      if (!std::exchange(told, true))
        event("fence",
              fmt::format("the target still works on an old connection to {}: waiting up to {} for its end",
                          planned->address, base::human_duration(kFence)),
              planned->id, {});
      co_await clock_.sleep(kFencePoll);
    }
    co_await api->logout();
    why = "an old connection is still open on the target";
  } catch (const base::Failed& f) {
    why = f.error.text;
  }
  if (!stopping_)
    event("fence",
          fmt::format("{}: {}. The settle alone decides, and the next look finds what comes later", planned->address,
                      why),
          planned->id, {});
}

asio::awaitable<void> Migration::connect_target() {
  if (settings_.target_kind != TargetKind::kerio) co_return;
  progress_.begin("target", clock_.now());
  auto api = co_await open_administration(imap::Access::read_only);
  remember_server(Side::target);
  kerio::Admin admin(*api);
  TargetPicture picture;
  picture.server = co_await admin.server();
  auto remember = [version = base::printable(picture.server.version)](Db& db) {
    state::set_meta(db, "target version", version);
  };
  store_.post(std::move(remember));
  const bool tls = settings_.target.tls == base::TlsMode::tls;
  const auto offered = tls ? picture.server.imaps_port : picture.server.imap_port;
  if (settings_.target.port == 0) settings_.target.port = offered;
  if (settings_.target.port == 0)
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("The service \"{}\" does not run on the target, so no mail can be moved there. Start it in "
                     "its administration (Configuration, Services), or {}. Nothing was done.",
                     tls ? "Secure IMAP" : "IMAP", tls ? "use --target-tls starttls" : "use --target-tls tls")});
  picture.domains = co_await admin.domains();
  if (std::none_of(picture.domains.begin(), picture.domains.end(), [](const auto& d) { return d.primary; }))
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         "The target has no primary domain (R14). Create one that is none of the source's, then run again. "
         "Nothing was done."});
  auto query = [](Db& db) {
    return std::make_tuple(state::post_offices(db), state::accounts(db), state::target_objects(db));
  };
  auto [offices, accounts, known] = co_await store_.run(std::move(query));
  std::erase_if(accounts, [&](const auto& a) { return !selected(a.address); });
  const bool some_left_out = !settings_.only.empty() || !settings_.exclude.empty();
  std::erase_if(offices, [&](const auto& p) {
    return some_left_out &&
           std::none_of(accounts.begin(), accounts.end(), [&](const auto& a) { return a.post_office == p.name; });
  });
  const ServerPolicies policies{settings_.adopt_domains, settings_.adopt_accounts, settings_.generate_passwords};
  domains_ = decide_domains(offices, picture.domains, known, policies);
  for (const auto& d : domains_) {
    if (d.id.empty() || d.fate == Fate::fail || d.fate == Fate::skip) continue;
    picture.users[d.name] = co_await admin.users(d.id);
    std::vector<std::string> fresh;
    for (const auto& a : accounts) {
      const std::string login = base::lower(extract::local_part_of(a.target_login));
      const auto& there = picture.users[d.name];
      if (a.skip.empty() && a.post_office == d.post_office &&
          std::none_of(there.begin(), there.end(), [&](const auto& u) { return u.login == login; }))
        fresh.push_back(login);
    }
    picture.collisions[d.name] = co_await admin.collisions(d.id, std::move(fresh));
  }
  co_await api->logout();

  decided_.clear();
  std::vector<std::pair<state::AccountId, std::string>> skips;
  for (const auto& a : accounts) {
    if (!a.skip.empty()) continue;
    PlannedAccount p;
    p.id = a.id;
    p.address = a.address;
    p.target_login = a.target_login;
    p.full_name = a.full_name;
    const auto d =
        std::find_if(domains_.begin(), domains_.end(), [&](const auto& x) { return x.post_office == a.post_office; });
    if (d == domains_.end()) continue;
    const auto c = credentials_.find(a.address);
    const base::Secret none;
    decide_account(p, *d, picture, known, policies, c == credentials_.end() ? none : c->second.target_password);
    if (!p.skip.empty()) skips.emplace_back(p.id, p.skip);
    decided_[a.address] = std::move(p);
  }
  auto save = [skips](Db& db) {
    for (const auto& [id, why] : skips) state::set_account_skip(db, id, why);
  };
  co_await store_.run(std::move(save));
  picture_ = std::move(picture);
}

load::NameRules Migration::name_rules() const {
  load::NameRules rules;
  rules.escape = settings_.escape;
  rules.kerio = settings_.target_kind == TargetKind::kerio;
  rules.windows = picture_ && picture_->server.windows;
  return rules;
}

asio::awaitable<void> Migration::provision(const Plan* plan) {
  provision_errors_.clear();
  std::vector<kerio::WantedDomain> domains;
  std::vector<TargetObject> on_record;
  base::Octets octets = 0;
  for (const auto& d : plan->domains) {
    // What is left out by a clash is on record too, so that every report lists it.
    if (d.fate == Fate::fail || d.fate == Fate::skip)
      on_record.push_back({"domain", d.name, {}, ObjectState::refused, {}, d.why});
    for (const auto& a : d.aliases)
      if (!a.dropped.empty()) on_record.push_back({"alias", a.name, d.name, ObjectState::refused, {}, a.dropped});
    for (const auto& a : d.aliases)
      if (a.there)
        on_record.push_back(
            {"alias", a.name, d.name, d.fate == Fate::ours ? ObjectState::ours : ObjectState::adopted, {}, {}});
    if (d.fate == Fate::adopt) on_record.push_back({"domain", d.name, {}, ObjectState::adopted, d.id, {}});
    if (d.fate != Fate::create && d.fate != Fate::ours) continue;
    // R13: while none of its accounts can be read at the source, nothing is made for it.
    const auto of_it = [&](const PlannedAccount& a) { return a.post_office == d.post_office; };
    if (std::none_of(plan->accounts.begin(), plan->accounts.end(),
                     [&](const auto& a) { return of_it(a) && a.skip.empty(); }) &&
        std::any_of(plan->accounts.begin(), plan->accounts.end(),
                    [&](const auto& a) { return of_it(a) && extract_errors_.contains(a.id.value); }))
      continue;
    kerio::WantedDomain w;
    w.name = d.name;
    w.id = d.id;
    w.description = fmt::format("4D Post Office {}", base::printable(d.post_office));
    for (const auto& a : d.aliases)
      if (a.dropped.empty()) w.aliases.push_back(a.name);
    const bool complete =
        std::all_of(d.aliases.begin(), d.aliases.end(), [](const auto& a) { return a.there || !a.dropped.empty(); });
    if (d.fate == Fate::create || !complete) domains.push_back(std::move(w));
    // Found by its mark after a lost state: on record again.
    if (d.fate == Fate::ours) on_record.push_back({"domain", d.name, {}, ObjectState::ours, d.id, {}});
  }
  std::map<std::string, std::vector<const PlannedAccount*>> to_create;
  for (const auto& a : plan->accounts) {
    if (!a.skip.empty()) continue;
    for (const auto& m : a.mailboxes) octets += m.octets;
    const std::string name = a.login + "@" + a.target_domain;
    if (a.fate == Fate::create) to_create[a.target_domain].push_back(&a);
    else
      on_record.push_back({"account",
                           name,
                           a.target_domain,
                           a.fate == Fate::ours ? ObjectState::ours : ObjectState::adopted,
                           a.target_id,
                           {}});
  }
  if (picture_) {
    const auto disk = disk_problem(picture_->server, octets);
    if (!disk.empty()) throw base::Failed({Scope::run, Remedy::ask_admin, disk + " Nothing was done."});
  }
  auto save = [on_record](Db& db) {
    const auto known = state::target_objects(db);
    std::vector<TargetObject> fresh;
    for (const auto& o : on_record)
      if (std::none_of(known.begin(), known.end(), [&](const auto& k) {
            return k.kind == o.kind && k.name == o.name && k.state == o.state && k.target_id == o.target_id &&
                   (k.detail == o.detail || o.state != ObjectState::refused);
          }))
        fresh.push_back(o);
    if (!fresh.empty()) state::save_objects(db, fresh);
  };
  co_await store_.run(std::move(save));
  if (domains.empty() && to_create.empty()) co_return;

  progress_.begin("accounts", clock_.now());
  auto api = co_await open_administration(imap::Access::read_write);
  kerio::Admin admin(*api);
  kerio::Provisioner::Context context{store_, clock_, settings_.load.settle, {}, {}, {}, {}};
  context.event = [this](const std::string& kind, const std::string& detail) {
    event(kind, detail, std::nullopt, std::nullopt);
  };
  context.stopping = [this] { return stopping_; };
  if (settings_.generate_passwords) {
    context.keep_new_password = [this](const std::string& address, const base::Secret& p) {
      keep_new_password(address, p);
    };
    context.drop_new_password = [this](const std::string& address) { drop_new_password(address); };
  }
  kerio::Provisioner provisioner(admin, std::move(context));
  const auto domain_errors = co_await provisioner.domains(domains);
  for (const auto& [name, why] : domain_errors) log_->error(why);
  std::map<std::string, std::string> ids = provisioner.domain_ids();
  for (const auto& d : plan->domains)
    if (!d.id.empty()) ids.emplace(d.name, d.id);
  // What the server gave to a new domain by itself can hurt what is moved into it.
  if (!provisioner.domain_ids().empty())
    for (const auto& d : co_await admin.domains())
      if (provisioner.domain_ids().contains(d.name))
        for (const auto& h : d.hazards)
          event("take care", fmt::format("{}: {}", d.name, h), std::nullopt, std::nullopt);
  for (const auto& [domain, list] : to_create) {
    if (stopping_) break;
    const auto id = ids.find(domain);
    if (id == ids.end()) {
      const auto why = domain_errors.find(domain);
      for (const auto* a : list)
        provision_errors_[a->address] = why == domain_errors.end() ? "its domain was not made" : why->second;
      continue;
    }
    std::vector<kerio::WantedAccount> wanted;
    for (const auto* a : list)
      wanted.push_back({a->address, a->login, a->full_name, credentials_.at(a->address).target_password});
    const auto errors = co_await provisioner.accounts(domain, id->second, std::move(wanted));
    for (const auto& [address, why] : errors) log_->error(why);
    provision_errors_.insert(errors.begin(), errors.end());
    progress_.accounts_done += list.size();
  }
  made_now_.insert(provisioner.made().begin(), provisioner.made().end());
  co_await api->logout();
  if (!made_now_.empty() && !stopping_)
    co_await clock_.sleep(std::min<std::chrono::milliseconds>(kAccountsAppear, settings_.load.settle));
}

// On disk before it is on the server: a password that nobody knows would lock the account's owner out.
void Migration::keep_new_password(const std::string& address, const base::Secret& password) {
  const std::string path = settings_.state + kNewPasswords;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  std::string line = "\"" + address + "\",\"";
  for (const char c : password.reveal()) line += c == '"' ? std::string("\"\"") : std::string(1, c);
  line += "\"\n";
  const off_t before = fd >= 0 ? ::lseek(fd, 0, SEEK_END) : 0;
  new_passwords_before_ = before;
  const bool kept =
      fd >= 0 && ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) && ::fsync(fd) == 0;
  if (fd >= 0 && !kept && ::ftruncate(fd, before) != 0)
    log_->error(fmt::format("{} ends in half a line: remove that.", path));
  OPENSSL_cleanse(line.data(), line.size());
  if (fd >= 0) ::close(fd);
  const int folder = ::open(settings_.state.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && ::fsync(folder) == 0;
  if (folder >= 0) ::close(folder);
  if (!kept || !synced)
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("Could not write the new password of {} to {}; the account was not made. Make room, or "
                     "check the rights of the folder, then run again.",
                     address, path)});
  const auto c = credentials_.find(address);
  if (c != credentials_.end()) c->second.target_password = password;
}

// Whoever hands the passwords out must not hand out one that is nobody's.
void Migration::drop_new_password(const std::string& address) {
  const std::string path = settings_.state + kNewPasswords;
  if (::truncate(path.c_str(), static_cast<off_t>(new_passwords_before_)) != 0)
    log_->error(fmt::format("The new password of {} in {} was not used: remove its last line.", address, path));
}

namespace {
// A power cut while a line was written leaves part of it. Its account was not made yet, so nothing is lost with it;
// left there it would make the file unreadable. Only the last line can be so: each is synced before the next.
void drop_torn_line(const std::string& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  std::string text = std::move(all).str();
  if (text.empty()) return;
  const auto line = text.size() < 2 ? 0 : text.rfind('\n', text.size() - 2) + 1;  // npos + 1 is 0
  const bool torn = text.back() != '\n' || text.find('\0', line) != std::string::npos;
  OPENSSL_cleanse(text.data(), text.size());
  if (torn && ::truncate(path.c_str(), static_cast<off_t>(line)) != 0)
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("{} ends in half a line, and it could not be removed: {}. Check its rights, then run "
                     "again.",
                     path, std::strerror(errno))});
}
}  // namespace

// The last line of an address counts.
void Migration::read_new_passwords() {
  const std::string path = settings_.state + kNewPasswords;
  if (::access(path.c_str(), F_OK) != 0) return;
  drop_torn_line(path);
  const auto known = state::target_objects(store_.db());
  const auto table = base::or_throw(extract::read_csv(path));
  for (const auto& row : table.records) {
    if (row.fields.size() != 2) continue;
    const auto c = credentials_.find(row.fields[0]);
    if (c == credentials_.end()) continue;
    // Generated, and refused as well: what the roster says now counts again.
    const auto o = std::find_if(known.begin(), known.end(), [&](const auto& k) {
      return k.kind == "account" && k.name == base::lower(c->second.target_login);
    });
    if (o == known.end() || o->detail == state::kNewPassword) c->second.target_password = base::Secret(row.fields[1]);
  }
}

asio::awaitable<void> Migration::verify_server(VerifyResult* result, bool all) {
  if (settings_.target_kind != TargetKind::kerio) co_return;
  auto api = co_await open_administration(imap::Access::read_only);
  kerio::Admin admin(*api);
  auto query = [](Db& db) {
    return std::make_tuple(state::post_offices(db), state::accounts(db), state::target_objects(db));
  };
  const auto [offices, accounts, known] = co_await store_.run(std::move(query));
  const auto domains = co_await admin.domains();
  const auto differ = [&](const std::string& account, const std::string& kind, const std::string& detail) {
    result->differences.push_back({account, "", {}, {}, kind, detail, true, true});
  };
  const auto domain_named = [&](const std::string& name) {
    return std::find_if(domains.begin(), domains.end(), [&](const auto& d) { return d.name == name; });
  };
  std::map<std::string, std::set<std::string>> users;  // by domain: log-ins
  std::set<std::string> aliases_there;
  for (const auto& o : known) {
    if (o.state != ObjectState::ours && o.state != ObjectState::adopted) continue;
    if (o.kind == "domain") {
      const auto d = domain_named(o.name);
      if (d == domains.end()) differ("", "domain", fmt::format("the domain {} is no longer on the target", o.name));
      else
        for (const auto& u : co_await admin.users(d->id)) users[o.name].insert(u.login);
    } else if (o.kind == "alias") {
      const auto d = domain_named(o.parent);
      const bool there =
          d != domains.end() && std::find(d->aliases.begin(), d->aliases.end(), o.name) != d->aliases.end();
      if (there) aliases_there.insert(o.name);
      else differ("", "alias", fmt::format("{} is no longer an alias of {} on the target", o.name, o.parent));
    }
  }
  std::set<std::string> seen_domain;  // where one address each is enough
  for (const auto& a : accounts) {
    if (!selected(a.address) || !a.skip.empty()) continue;
    const std::string login = base::lower(extract::local_part_of(a.target_login));
    const auto office =
        std::find_if(offices.begin(), offices.end(), [&](const auto& p) { return p.name == a.post_office; });
    if (office == offices.end() || office->domains.empty()) continue;
    const std::string domain = base::lower(office->domains.front()), name = login + "@" + domain;
    const bool made = std::any_of(known.begin(), known.end(), [&](const auto& o) {
      return o.kind == "account" && o.name == name && (o.state == ObjectState::ours || o.state == ObjectState::adopted);
    });
    if (!made) continue;
    if (!users[domain].contains(login)) {
      differ(a.address, "account", fmt::format("the account {} is no longer on the target", name));
      continue;
    }
    for (const auto& d : office->domains) {
      const std::string there = base::lower(d);
      if (there != domain && !aliases_there.contains(there)) continue;
      if (!all && !seen_domain.insert(there).second) continue;
      const std::string address = login + "@" + there;
      const auto to = co_await admin.delivered_to(address);
      const bool right = std::find(to.begin(), to.end(), name) != to.end();
      result->addresses.push_back({address, a.address, base::join(to, ", "), right});
      if (!right)
        differ(a.address, "address",
               to.empty() ? fmt::format("mail for {} is delivered to nobody", address)
                          : fmt::format("mail for {} is delivered to {}, not to {}", address,
                                        base::printable(base::join(to, ", ")), name));
    }
  }
  co_await api->logout();
}

}  // namespace pipeline
