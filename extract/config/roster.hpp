// The roster: a CSV file of accounts, for sites whose 4D configuration is lost, unreadable or without passwords.
//
// UTF-8 (BOM accepted); ";" or "," told from the first line; RFC 4180 quoting, line ends inside quotes included. With a
// header: address, password, full_name, post_office, source_login, target_login, target_password, enabled in any order.
// Without one, the columns of KIMT: user@domain;password;Full Name. Passwords are taken octet for octet, everything
// else trimmed.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/secret.hpp"
#include "extract/config/source_config.hpp"

namespace extract {

struct RosterRow {
  std::string address;  // domain lower-cased
  base::Secret password;
  std::string full_name;
  std::string post_office;  // empty: told by the domain
  std::string source_login;
  std::string target_login;
  base::Secret target_password;
  std::optional<bool> enabled;  // empty: not said
  bool password_readable = true;
  std::string where;  // "file:line"
};

struct RosterDomain {
  std::string post_office;
  std::string domain;  // lower-cased
  std::string where;
};

struct Roster {
  std::vector<RosterRow> rows;        // each address once
  std::vector<RosterDomain> domains;  // of --domains, in order; empty: none given
  std::vector<std::string> notes;
  std::string path;
};

// `domains_path`: the CSV of --domains, "post_office;domain", or empty. Anything that is not understood (an unknown
// column, an address twice, a stray quote) is an error that names file and line: bad input is cheaper to repair than a
// half migration.
[[nodiscard]] base::Result<Roster> read_roster(const std::string& path, const std::string& domains_path = {});

// Completes a 4D configuration or makes one up from nothing; what a row does not say stays. A row belongs to the Post
// Office of its column, else to the one that has its domain, else to one named after its domain. There it is the
// account with the same local part, or a new one. --domains replaces the domains of the Post Offices that it names; a
// Post Office that only the roster knows has the domains of its addresses, in order of appearance. The result is
// settled.
void apply_roster(SourceConfiguration& configuration, const Roster& roster);

}  // namespace extract
