#include "extract/config/roster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "base/text.hpp"
#include "extract/config/csv.hpp"

namespace extract {
namespace {

enum Column : std::size_t {
  address,
  password,
  full_name,
  post_office,
  source_login,
  target_login,
  target_password,
  enabled
};
constexpr std::array<std::string_view, 8> kColumns = {"address",      "password",     "full_name",       "post_office",
                                                      "source_login", "target_login", "target_password", "enabled"};
constexpr std::size_t kNoColumn = std::string_view::npos;

auto refuse(std::string_view what, const std::string& where, std::string_view why) {
  return base::fail(
      base::Scope::run, base::Remedy::ask_admin,
      fmt::format("Could not read the {}: {}: {}. Nothing was migrated. Repair it, then run again.", what, where, why));
}
auto refuse_file(std::string_view what, const base::Error& error) {
  return base::fail(
      base::Scope::run, base::Remedy::ask_admin,
      fmt::format("Could not read the {}: {}. Nothing was migrated. Repair it, then run again.", what, error.text));
}

std::string at_line(const std::string& path, std::size_t line) {
  return fmt::format("{}:{}", base::printable(path), line);
}

bool control_or_space(char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7F; }

bool plausible_address(std::string_view s) {
  const auto at = s.rfind('@');
  return at != std::string_view::npos && at > 0 && at + 1 < s.size() &&
         std::none_of(s.begin(), s.end(), control_or_space);
}

// field_of[column] = index in the record, or kNoColumn.
using Layout = std::array<std::size_t, kColumns.size()>;

bool is_header(const CsvRecord& record) {
  return std::any_of(record.fields.begin(), record.fields.end(),
                     [](const auto& f) { return base::iequals(base::trim(f), kColumns[address]); });
}

base::Result<Layout> layout_of(const CsvRecord& header, const std::string& where) {
  Layout layout;
  layout.fill(kNoColumn);
  for (std::size_t i = 0; i < header.fields.size(); ++i) {
    const auto name = base::lower(base::trim(header.fields[i]));
    const auto column = static_cast<std::size_t>(std::find(kColumns.begin(), kColumns.end(), name) - kColumns.begin());
    if (column == kColumns.size())
      return refuse("roster", where,
                    fmt::format("column {} of the header, \"{}\", is none of {}", i + 1,
                                base::printable(name.substr(0, 60)), fmt::join(kColumns, ", ")));
    if (layout[column] != kNoColumn) return refuse("roster", where, fmt::format("the column {} is there twice", name));
    layout[column] = i;
  }
  return layout;
}

// What IMAP can carry in a LOGIN; anything else is reported, not sent.
bool sendable(std::string_view password) { return password.find_first_of("\r\n") == std::string_view::npos; }

base::Result<RosterRow> to_row(const CsvRecord& record, const Layout& layout, std::size_t columns, std::string where) {
  if (record.fields.size() > columns)
    return refuse("roster", where,
                  fmt::format("{} fields where there are {} columns (a field that holds the separator goes in quotes)",
                              record.fields.size(), columns));
  const auto raw = [&](Column c) -> std::string_view {
    return layout[c] < record.fields.size() ? std::string_view(record.fields[layout[c]]) : std::string_view{};
  };
  const auto value = [&](Column c) { return std::string(base::trim(raw(c))); };

  RosterRow row;
  const auto written = value(address);
  // Not shown: in a file whose columns are mixed up this may be a password.
  if (!plausible_address(written)) return refuse("roster", where, "the address is not of the form user@domain");
  row.address = local_part_of(written) + "@" + domain_of(written);
  row.password = base::Secret(raw(password));
  row.full_name = value(full_name);
  row.post_office = value(post_office);
  row.source_login = value(source_login);
  row.target_login = value(target_login);
  row.target_password = base::Secret(raw(target_password));
  for (const auto* login : {&row.source_login, &row.target_login})
    if (std::any_of(login->begin(), login->end(),
                    [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }))
      return refuse("roster", where, "a log-in name holds control characters");
  row.password_readable = sendable(row.password.reveal()) && sendable(row.target_password.reveal());
  const auto said = base::lower(value(enabled));
  if (said == "yes" || said == "true" || said == "1") row.enabled = true;
  else if (said == "no" || said == "false" || said == "0") row.enabled = false;
  else if (!said.empty()) return refuse("roster", where, "enabled is to be yes or no (true, false, 1, 0)");
  row.where = std::move(where);
  return row;
}

base::Result<std::vector<RosterDomain>> read_domains(const std::string& path) {
  constexpr std::string_view kWhat = "domains of the Post Offices";
  auto csv = read_csv(path);
  if (!csv) return refuse_file(kWhat, csv.error());
  std::vector<RosterDomain> domains;
  for (const auto& record : csv->records) {
    const auto where = at_line(path, record.line);
    if (record.fields.size() != 2) return refuse(kWhat, where, "a line is to be: post_office;domain");
    RosterDomain entry{std::string(base::trim(record.fields[0])), base::lower(base::trim(record.fields[1])), where};
    if (&record == &csv->records.front() && base::iequals(entry.post_office, "post_office") && entry.domain == "domain")
      continue;
    if (entry.post_office.empty() || entry.domain.empty())
      return refuse(kWhat, where, "a line is to be: post_office;domain");
    domains.push_back(std::move(entry));
  }
  return domains;
}

// Finds Post Offices by name and by domain, and accounts in them, in constant time; makes what is missing.
class Merge {
 public:
  Merge(SourceConfiguration& configuration, const Roster& roster) : configuration_(configuration), roster_(roster) {
    auto& offices = configuration_.post_offices;
    for (std::size_t i = 0; i < offices.size(); ++i) {
      by_name_.emplace(base::lower(offices[i].name), i);
      for (const auto& domain : offices[i].domains) by_domain_.emplace(domain, i);
      accounts_.emplace_back();
      for (std::size_t a = 0; a < offices[i].accounts.size(); ++a)
        accounts_[i].emplace(base::lower(local_part_of(offices[i].accounts[a].address)), a);
      domains_fixed_.push_back(true);
    }
  }

  void run() {
    apply_domains();
    for (const auto& row : roster_.rows) apply(row);
  }
  std::size_t added() const { return added_; }

 private:
  std::size_t post_office_named(const std::string& name, const std::string& where) {
    const auto [at, is_new] = by_name_.emplace(base::lower(name), configuration_.post_offices.size());
    if (is_new) {
      PostOffice po;
      po.name = name;
      po.where = where;
      configuration_.post_offices.push_back(std::move(po));
      accounts_.emplace_back();
      domains_fixed_.push_back(false);
    }
    return at->second;
  }

  void apply_domains() {
    std::unordered_map<std::size_t, std::vector<std::string>> before;
    for (const auto& entry : roster_.domains) {
      const auto i = post_office_named(entry.post_office, entry.where);
      auto& po = configuration_.post_offices[i];
      if (before.emplace(i, po.domains).second) {
        po.domains.clear();
        po.domain_where.clear();
      }
      po.domains.push_back(entry.domain);
      po.domain_where.push_back(entry.where);
      domains_fixed_[i] = true;
    }
    by_domain_.clear();
    for (std::size_t i = 0; i < configuration_.post_offices.size(); ++i) {
      const auto& po = configuration_.post_offices[i];
      for (const auto& domain : po.domains) by_domain_.emplace(domain, i);
      const auto old = before.find(i);
      if (old == before.end()) continue;
      const std::unordered_set<std::string_view> now(po.domains.begin(), po.domains.end());
      for (const auto& domain : old->second)
        if (!now.contains(domain))
          configuration_.notes.push_back(
              fmt::format("The SMTP domain \"{}\" of Post Office {} is left out, because --domains does not name it.",
                          base::printable(domain), display_name(po)));
    }
  }

  std::size_t post_office_of(const RosterRow& row) {
    if (!row.post_office.empty()) return post_office_named(row.post_office, row.where);
    const auto domain = domain_of(row.address);
    if (const auto at = by_domain_.find(domain); at != by_domain_.end()) return at->second;
    return post_office_named(domain, row.where);
  }

  void apply(const RosterRow& row) {
    const auto i = post_office_of(row);
    auto& po = configuration_.post_offices[i];
    const auto domain = domain_of(row.address);
    const auto holder = by_domain_.find(domain);  // the first one, should two Post Offices have it (R15)
    const bool known =
        holder != by_domain_.end() &&
        (holder->second == i || std::find(po.domains.begin(), po.domains.end(), domain) != po.domains.end());
    if (!known && !domains_fixed_[i]) {
      po.domains.push_back(domain);
      po.domain_where.push_back(row.where);
      by_domain_.emplace(domain, i);
    }
    // A domain of another Post Office: a new account there, which settle() skips with that reason.
    const bool foreign = !known && domains_fixed_[i];
    const auto local = base::lower(local_part_of(row.address));
    const auto found = foreign ? accounts_[i].end() : accounts_[i].find(local);
    if (found == accounts_[i].end() || made_here_.contains(key(i, found->second))) {
      // Two rows for one local part are two accounts on purpose: settle() names both and skips both.
      SourceAccount account;
      account.post_office = po.name;
      account.login = local_part_of(row.address);
      account.address = row.address;
      account.where = row.where;
      fill(account, row);
      if (!foreign) accounts_[i].emplace(local, po.accounts.size());
      made_here_.insert(key(i, po.accounts.size()));
      po.accounts.push_back(std::move(account));
      ++added_;
      return;
    }
    auto& account = po.accounts[found->second];
    const auto [first, is_first] = row_of_.emplace(key(i, found->second), &row);
    if (!is_first) {
      account.fault = fmt::format("the roster has it twice, at {} and at {}", first->second->where, row.where);
      return;
    }
    fill(account, row);
  }

  static void fill(SourceAccount& account, const RosterRow& row) {
    if (!row.password.empty()) {
      account.password = row.password;
      account.password_readable = true;
    }
    if (!row.password_readable) account.password_readable = false;
    if (!row.target_password.empty()) account.target_password = row.target_password;
    if (!row.full_name.empty()) account.full_name = row.full_name;
    if (!row.source_login.empty()) account.source_login = row.source_login;
    if (!row.target_login.empty()) account.target_login = row.target_login;
    if (!row.enabled) return;
    account.login_enabled = *row.enabled;
    if (*row.enabled) account.imap_enabled = true;  // the administrator says that it works by now
  }

  // Post Office and account in one number; neither comes near 2^32.
  static std::uint64_t key(std::size_t po, std::size_t account) {
    return (static_cast<std::uint64_t>(po) << 32) | static_cast<std::uint64_t>(account);
  }

  SourceConfiguration& configuration_;
  const Roster& roster_;
  std::unordered_map<std::string, std::size_t> by_name_, by_domain_;
  std::vector<std::unordered_map<std::string, std::size_t>> accounts_;  // per Post Office: local part -> index
  std::vector<bool> domains_fixed_;  // per Post Office: by 4D or --domains; else they are those of the addresses
  std::unordered_set<std::uint64_t> made_here_;
  std::unordered_map<std::uint64_t, const RosterRow*> row_of_;
  std::size_t added_ = 0;
};

}  // namespace

base::Result<Roster> read_roster(const std::string& path, const std::string& domains_path) {
  auto csv = read_csv(path);
  if (!csv) return refuse_file("roster", csv.error());
  const auto& records = csv->records;
  if (records.empty()) return refuse("roster", at_line(path, 1), "there is nothing in it");

  Roster roster;
  roster.path = path;
  Layout layout;
  layout.fill(kNoColumn);
  std::size_t columns = 3;
  std::size_t first = 0;
  if (is_header(records[0])) {
    TRY(layout, layout_of(records[0], at_line(path, records[0].line)));
    columns = records[0].fields.size();
    first = 1;
  } else {
    // KIMT: user@domain;password;Full Name
    if (!plausible_address(base::trim(records[0].fields[0])))
      return refuse(
          "roster", at_line(path, records[0].line),
          "it begins neither with a header (with a column \"address\") nor with user@domain;password;Full Name");
    layout[address] = 0;
    layout[password] = 1;
    layout[full_name] = 2;
  }

  std::unordered_map<std::string, std::size_t> line_of_address;
  for (std::size_t i = first; i < records.size(); ++i) {
    TRY(auto row, to_row(records[i], layout, columns, at_line(path, records[i].line)));
    const auto [earlier, is_new] = line_of_address.emplace(base::lower(row.address), records[i].line);
    if (!is_new)
      return refuse("roster", row.where,
                    fmt::format("the address {} is in line {} already", base::printable(row.address), earlier->second));
    roster.rows.push_back(std::move(row));
  }
  if (roster.rows.empty()) return refuse("roster", at_line(path, 1), "there is no account in it");
  if (csv->open_to_others)
    roster.notes.push_back(fmt::format(
        "The roster {} holds passwords, but others than its owner may read it: chmod 600 it.", base::printable(path)));
  if (!domains_path.empty()) {
    TRY(roster.domains, read_domains(domains_path));
  }
  return roster;
}

void apply_roster(SourceConfiguration& configuration, const Roster& roster) {
  Merge merge(configuration, roster);
  merge.run();
  if (configuration.description.empty())
    configuration.description =
        fmt::format("roster {}, {}, {}", base::printable(roster.path), base::plural(roster.rows.size(), "account"),
                    base::plural(configuration.post_offices.size(), "Post Office"));
  else
    configuration.description +=
        fmt::format(", completed by roster {} ({}, {} new)", base::printable(roster.path),
                    base::plural(roster.rows.size(), "account"), base::human_count(merge.added()));
  configuration.notes.insert(configuration.notes.end(), roster.notes.begin(), roster.notes.end());
  settle(configuration);
}

}  // namespace extract
