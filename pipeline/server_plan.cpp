#include "pipeline/server_plan.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.hpp"
#include "extract/config/source_config.hpp"

namespace pipeline {

using load::kerio::TargetDomain;
using state::ObjectState;

namespace {

const state::TargetObject* find_known(const std::vector<state::TargetObject>& known, const std::string& kind,
                                      const std::string& name) {
  const std::string lower = base::lower(name);
  const auto it =
      std::find_if(known.begin(), known.end(), [&](const auto& o) { return o.name == lower && o.kind == kind; });
  return it == known.end() ? nullptr : &*it;
}

// Ours by the id in the store, else by its mark.
bool is_ours(const state::TargetObject* known, const std::string& id, const std::string& description,
             const std::string& source_address) {
  if (load::kerio::is_marked_for_another(description, source_address)) return false;
  if (known != nullptr && known->state == ObjectState::ours && !known->target_id.empty()) return known->target_id == id;
  return load::kerio::is_marked(description, source_address);
}

bool has(const std::vector<std::string>& list, const std::string& x) {
  return std::find(list.begin(), list.end(), x) != list.end();
}

// Letters, digits, '-' and '.'; neither a leading, a final nor a double dot (vendor manual; the API's kind DomainName).
bool takes_domain(const std::string& name) {
  if (name.empty() || name.front() == '.' || name.back() == '.' || name.find("..") != std::string::npos) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

std::string name_problem(const state::PostOfficeRow& p) {
  if (!p.problem.empty()) return p.problem;
  for (const auto& d : p.domains) {
    if (!takes_domain(base::lower(d)))
      return fmt::format(
          "The target takes only letters, digits, '-' and '.' in a domain name, and its domain is \"{}\". "
          "Write an international name in its ASCII form (xn--...).",
          base::printable(d));
  }
  return {};
}

}  // namespace

std::vector<PlannedDomain> decide_domains(const std::vector<state::PostOfficeRow>& post_offices,
                                          const std::vector<TargetDomain>& target,
                                          const std::vector<state::TargetObject>& known,
                                          const ServerPolicies& policies) {
  std::vector<PlannedDomain> out;
  for (const auto& p : post_offices) {
    PlannedDomain plan;
    plan.post_office = p.name;
    plan.name = p.domains.empty() ? std::string() : base::lower(p.domains.front());
    const auto fails = [&](const std::string& why) {
      plan.fate = Fate::fail;
      plan.why = why;
    };
    const TargetDomain* own = nullptr;
    for (const auto& d : target)
      if (d.name == plan.name) own = &d;
    const bool ours =
        own != nullptr && is_ours(find_known(known, "domain", plan.name), own->id, own->description, plan.name);
    plan.fate = own == nullptr ? Fate::create : ours ? Fate::ours : Fate::adopt;
    const auto* record = find_known(known, "domain", plan.name);
    // A decision of an earlier run stands.
    const bool adopt =
        policies.adopt_domains ||
        (own != nullptr && record != nullptr && record->state == ObjectState::adopted && record->target_id == own->id);
    if (own != nullptr) plan.id = own->id;
    if (const auto why = name_problem(p); !why.empty()) {
      fails(why);
    } else {
      for (const auto& d : target) {
        for (const auto& name : p.domains) {
          if (plan.fate == Fate::fail) break;
          const std::string n = base::lower(name);
          if (&d == own && ours) continue;
          if (d.primary && d.name == n)
            fails(
                fmt::format("Its domain {} is the target's primary domain, which a migrated domain may not be (R14). "
                            "Make another domain the primary one, or leave this Post Office out.",
                            n));
          else if (n == plan.name && has(d.aliases, n))
            fails(
                fmt::format("Its domain {} is an alias of the target's domain {} already (R4). Remove that alias, or "
                            "leave this Post Office out.",
                            n, d.name));
        }
      }
    }
    if (plan.fate == Fate::adopt && !adopt) {
      plan.fate = Fate::skip;
      plan.why = fmt::format(
          "The domain {} exists on the target already and was not made by us: it is left as it is (R3). "
          "--existing-domain adopt moves accounts into it.",
          plan.name);
    }
    for (std::size_t i = 1; i < p.domains.size() && plan.fate != Fate::fail && plan.fate != Fate::skip; ++i) {
      PlannedAlias alias;
      alias.name = base::lower(p.domains[i]);
      alias.there = own != nullptr && has(own->aliases, alias.name);
      if (alias.there) {
        plan.aliases.push_back(std::move(alias));
        continue;
      }
      for (const auto& d : target) {
        if (&d == own) continue;
        if (d.name == alias.name) alias.dropped = fmt::format("{} is a domain of the target already", alias.name);
        else if (has(d.aliases, alias.name))
          alias.dropped = fmt::format("{} is an alias of the target's domain {} already", alias.name, d.name);
        if (!alias.dropped.empty()) break;
      }
      if (!alias.dropped.empty() && !adopt) {
        fails(fmt::format("{} (R4). Remove it there, or use --existing-domain adopt, which leaves out just that alias.",
                          alias.dropped));
        plan.aliases.clear();
        break;
      }
      if (alias.dropped.empty() && plan.fate == Fate::adopt)
        alias.dropped = fmt::format("the domain {} is not ours and is not modified", plan.name);
      plan.aliases.push_back(std::move(alias));
    }
    if (own != nullptr && plan.fate != Fate::fail && plan.fate != Fate::skip) plan.remarks = own->hazards;
    out.push_back(std::move(plan));
  }
  return out;
}

void decide_account(PlannedAccount& account, const PlannedDomain& domain, const TargetPicture& picture,
                    const std::vector<state::TargetObject>& known, const ServerPolicies& policies,
                    const base::Secret& password) {
  account.target_domain = domain.name;
  const auto skip = [&](std::string why) {
    account.fate = Fate::skip;
    account.skip = std::move(why);
  };
  if (domain.fate == Fate::fail || domain.fate == Fate::skip)
    return skip(fmt::format("Post Office {} is not migrated: {}", domain.post_office, domain.why));
  account.login = base::lower(extract::local_part_of(account.target_login));
  if (account.login == "anyone" || account.login == "authuser")
    return skip(fmt::format("the target keeps the name \"{}\" for itself", account.login));
  const load::kerio::TargetUser* there = nullptr;
  if (const auto users = picture.users.find(domain.name); users != picture.users.end())
    for (const auto& u : users->second)
      if (base::iequals(u.login, account.login)) there = &u;
  const std::string name = account.login + "@" + domain.name;
  if (there != nullptr) {
    const auto* record = find_known(known, "account", name);
    account.fate = is_ours(record, there->id, there->description, account.address) ? Fate::ours : Fate::adopt;
    const bool adopted = record != nullptr && record->state == ObjectState::adopted && record->target_id == there->id;
    if (account.fate == Fate::adopt && !policies.adopt_accounts && !adopted)
      return skip(
          fmt::format("the account {} exists on the target already and was not made by us; --existing-account adopt "
                      "adds mail to it",
                      name));
    account.target_id = there->id;
    if (!there->enabled) account.remarks.emplace_back("the account is disabled on the target: log-in will be refused");
    for (const auto& h : there->hazards) account.remarks.push_back("on the target: " + h);
    if (account.fate == Fate::adopt)
      account.remarks.emplace_back("it was not made by us: mail is added to it, its password is not changed");
    return;
  }
  account.fate = Fate::create;
  if (const auto c = picture.collisions.find(domain.name); c != picture.collisions.end())
    for (const auto& x : c->second)
      if (x.address == account.login)
        return skip(fmt::format("its address {} is that of {} \"{}\" on the target already", name,
                                x.kind == "EntityUser"          ? "the account"
                                : x.kind == "EntityAlias"       ? "the alias"
                                : x.kind == "EntityGroup"       ? "the group"
                                : x.kind == "EntityMailingList" ? "the mailing list"
                                                                : "the " + x.kind,
                                base::printable(x.name)));
  for (const auto& d : picture.domains) {
    if (d.name != domain.name) continue;
    const auto problem =
        load::kerio::password_problem(d.policy, password.reveal(), account.login, d.name, account.full_name);
    if (problem.empty()) continue;
    if (!policies.generate_passwords)
      return skip(
          fmt::format("the target's password policy would refuse its password ({}); put another one into the "
                      "roster, or use --on-refused-password generate",
                      problem));
    account.remarks.push_back(
        fmt::format("the target would refuse its password ({}): a new one is generated", problem));
  }
  const bool plain = std::all_of(account.login.begin(), account.login.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
  });
  if (!plain)
    account.remarks.emplace_back(
        "its name holds characters that the target may refuse: then it is listed, and all else "
        "goes on");
}

std::string disk_problem(const load::kerio::Server& server, base::Octets octets_to_move) {
  if (!server.disk_free || server.watchdog_stops_below == 0) return {};
  if (*server.disk_free >= octets_to_move + server.watchdog_stops_below) return {};
  return fmt::format(
      "The target has {} free and stops itself below {}; {} are to be moved. Make room there, or migrate in "
      "parts with --only.",
      base::human_octets(*server.disk_free), base::human_octets(server.watchdog_stops_below),
      base::human_octets(octets_to_move));
}

std::vector<std::string> server_remarks(const load::kerio::Server& server, std::uint64_t accounts_to_create,
                                        base::Octets octets_to_move, bool master_password) {
  std::vector<std::string> out;
  out.push_back(fmt::format(
      "Target: {}; IMAP on port {}; {}.", server.version, server.imaps_port != 0 ? server.imaps_port : server.imap_port,
      master_password ? "log-in with the master password" : "log-in with each account's password"));
  if (master_password && !server.master_authentication)
    out.emplace_back(
        "A master password is given, but master authentication is off on the target: log-ins would be "
        "refused. Turn it on in its Advanced Options, or leave the master password out.");
  if (server.licence_left && accounts_to_create > *server.licence_left)
    out.push_back(
        fmt::format("LICENCE: it allows {} more, and {} to be created: the last {} would be refused. Raise it "
                    "first.",
                    base::plural(*server.licence_left, "account"),
                    accounts_to_create == 1 ? std::string("1 is") : base::human_count(accounts_to_create) + " are",
                    accounts_to_create - *server.licence_left));
  if (server.refusals_to_block > 0)
    out.push_back(
        fmt::format("LOG-IN GUARD: {} refused log-ins block this machine for minutes. Add its address to the "
                    "guard's exceptions for the night.",
                    server.refusals_to_block));
  if (const auto disk = disk_problem(server, octets_to_move); !disk.empty()) out.push_back("DISK: " + disk);
  return out;
}

}  // namespace pipeline
