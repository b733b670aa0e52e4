#include "extract/config/source_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/text.hpp"

namespace extract {
namespace {

bool plausible_domain(const std::string& domain) {
  if (domain.empty() || domain.size() > 253 || domain.front() == '.' || domain.find("..") != std::string::npos)
    return false;
  return std::none_of(domain.begin(), domain.end(), [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F || c == '@' || c == '/' || c == '\\' || c == ',' ||
           c == ';';
  });
}

std::string in_quotes(std::string_view s) { return "\"" + base::printable(s) + "\""; }

void check_post_office(PostOffice& po) {
  if (po.name.empty()) po.problems.push_back(fmt::format("The Post Office at {} has no name.", po.where));
  if (po.domains.empty())
    po.problems.push_back(fmt::format(
        "The Post Office {} has no SMTP domain, so there is no name for its target domain.", display_name(po)));
  for (std::size_t i = 0; i < po.domains.size(); ++i)
    if (!plausible_domain(po.domains[i]))
      po.problems.push_back(fmt::format("SMTP domain {} of Post Office {}, {} at {}, is not a domain name.", i + 1,
                                        display_name(po), in_quotes(po.domains[i]), po.domain_where[i]));
}

// R15: names both places in every Post Office concerned. The first holder of a name is told once for each later one.
void check_duplicates(std::vector<PostOffice>& post_offices) {
  std::unordered_map<std::string, std::size_t> name_of;
  struct Place {
    std::size_t post_office, domain;
  };
  std::unordered_map<std::string, Place> domain_at;
  for (std::size_t i = 0; i < post_offices.size(); ++i) {
    auto& po = post_offices[i];
    if (!po.name.empty()) {
      const auto [first, is_new] = name_of.emplace(base::lower(po.name), i);
      if (!is_new) {
        auto& other = post_offices[first->second];
        const auto text =
            fmt::format("Two Post Offices have the name {}: at {} and at {}. Rename or remove one of them.",
                        in_quotes(po.name), other.where, po.where);
        po.problems.push_back(text);
        other.problems.push_back(text);
      }
    }
    for (std::size_t d = 0; d < po.domains.size(); ++d) {
      if (po.domains[d].empty()) continue;  // told already
      const auto [first, is_new] = domain_at.emplace(base::lower(po.domains[d]), Place{i, d});
      if (is_new) continue;
      auto& other = post_offices[first->second.post_office];
      const auto& other_where = other.domain_where[first->second.domain];
      if (&other == &po) {
        po.problems.push_back(
            fmt::format("SMTP domain {} is in Post Office {} twice: at {} and at {}. Remove one of them.",
                        in_quotes(po.domains[d]), display_name(po), other_where, po.domain_where[d]));
        continue;
      }
      const auto text =
          fmt::format("SMTP domain {} is in two Post Offices: in {} at {} and in {} at {}. Remove it from one of them.",
                      in_quotes(po.domains[d]), display_name(other), other_where, display_name(po), po.domain_where[d]);
      po.problems.push_back(text);
      other.problems.push_back(text);
    }
  }
}

std::string own_skip_reason(const SourceAccount& account, const PostOffice& po,
                            const std::unordered_set<std::string>& domains) {
  std::vector<std::string> reasons;
  if (account.login.empty()) reasons.emplace_back("no log-in name");
  if (std::any_of(account.login.begin(), account.login.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }))
    reasons.emplace_back("log-in name holds control characters");
  if (!account.login_enabled) reasons.emplace_back("log-in disabled");
  if (!account.imap_enabled) reasons.emplace_back("IMAP disabled");
  if (!account.password_readable) reasons.emplace_back("password unreadable");
  else if (account.password.empty()) reasons.emplace_back("no password");
  const auto domain = domain_of(account.address);
  if (!domain.empty() && !domains.empty() && !domains.contains(domain))
    reasons.push_back(fmt::format("its domain {} is none of Post Office {}", in_quotes(domain), display_name(po)));
  if (!account.fault.empty()) reasons.push_back(account.fault);
  return base::join(reasons, "; ");
}

// All domains of a Post Office become one target domain and its aliases, so its local parts share one name space (R1,
// R2).
void check_accounts(PostOffice& po) {
  std::unordered_map<std::string, std::size_t> first_of;
  const std::unordered_set<std::string> domains(po.domains.begin(), po.domains.end());
  for (auto& account : po.accounts) account.skip_reason = own_skip_reason(account, po, domains);
  const auto add = [](SourceAccount& account, const std::string& reason) {
    account.skip_reason += (account.skip_reason.empty() ? "" : "; ") + reason;
  };
  for (std::size_t i = 0; i < po.accounts.size(); ++i) {
    auto& account = po.accounts[i];
    if (account.login.empty()) continue;
    const auto domain = domain_of(account.address);
    // One of a foreign domain is skipped for that, and is no twin of anybody here.
    const bool foreign = !domain.empty() && !domains.empty() && !domains.contains(domain);
    const auto [first, is_new] =
        first_of.emplace(base::lower(foreign ? account.address : local_part_of(account.address)), i);
    if (is_new) continue;
    auto& other = po.accounts[first->second];
    add(account, fmt::format("the same log-in as the account at {}", other.where));
    add(other, fmt::format("the same log-in as the account at {}", account.where));
  }
}

std::vector<std::string> ambiguous(const std::vector<PostOffice>& post_offices) {
  struct Seen {
    std::size_t post_office;
    bool told;
  };
  std::unordered_map<std::string, Seen> seen;
  std::vector<std::string> out;
  for (std::size_t i = 0; i < post_offices.size(); ++i) {
    for (const auto& account : post_offices[i].accounts) {
      if (account.login.empty()) continue;
      const auto [at, is_new] = seen.emplace(base::lower(account.login), Seen{i, false});
      if (is_new || at->second.post_office == i || at->second.told) continue;
      at->second.told = true;
      out.push_back(account.login);
    }
  }
  return out;
}

}  // namespace

void settle(SourceConfiguration& configuration) {
  for (auto& po : configuration.post_offices) {
    po.problems.clear();
    po.domain_where.resize(po.domains.size(), po.where);
    check_post_office(po);
    check_accounts(po);
  }
  check_duplicates(configuration.post_offices);
  configuration.ambiguous_logins = ambiguous(configuration.post_offices);
}

std::string display_name(const PostOffice& post_office) {
  return post_office.name.empty() ? "at " + post_office.where : in_quotes(post_office.name);
}

std::string domain_of(const std::string& address) {
  const auto at = address.rfind('@');
  return at == std::string::npos ? std::string() : base::lower(address.substr(at + 1));
}

std::string local_part_of(const std::string& address) { return address.substr(0, address.rfind('@')); }

}  // namespace extract
