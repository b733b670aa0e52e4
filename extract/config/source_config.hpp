// What the source's configuration says: Post Offices, their SMTP domains and accounts. Plain values, wherever they came
// from (a 4D configuration, a roster, both); the readers fill them in, settle() draws the conclusions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/secret.hpp"

namespace extract {

// Something seen in the configuration that is not migrated, listed so that nobody learns it from a user.
struct NotMigrated {
  std::string kind;    // "alias", "forward", "auto-reply", "quota", "list", ...
  std::string detail;  // may hold control characters: print it escaped
};

struct SourceAccount {
  std::string post_office;  // name of its Post Office
  std::string login;        // as the configuration has it (4D: AccountID); from a roster the local part of the address
  std::string
      address;  // login@first domain of the Post Office, or the login where that is an address; domain lower-cased
  std::string source_login;      // explicit roster override, else empty
  std::string target_login;      // explicit roster override, else empty
  base::Secret password;         // of the source; empty = none
  base::Secret target_password;  // roster override; empty = use password
  std::string full_name;
  std::vector<NotMigrated> not_migrated;
  std::string where;  // "file:line"

  // What the readers found; settle() makes skip_reason of it.
  bool login_enabled = true;
  bool imap_enabled = true;
  bool password_readable = true;
  std::string fault;  // anything else that keeps it from being migrated, as a phrase

  std::string skip_reason;  // not empty: not migrated, and why (R6)
};

struct PostOffice {
  std::string name;  // empty: the configuration gives none, which is a problem
  std::vector<std::string>
      domains;  // document order: [0] names the target domain (R1), others are aliases (R2); lower-cased
  std::vector<std::string> domain_where;  // "file:line" of each of them
  std::vector<SourceAccount> accounts;
  std::vector<NotMigrated> not_migrated;  // mailing lists and the like
  std::string where;                      // "file:line"

  std::vector<std::string>
      problems;  // not empty: this Post Office fails in the plan (R15 ...); sentences naming every place
};

struct SourceConfiguration {
  std::vector<PostOffice> post_offices;
  std::uint16_t imap_port = 0;  // 0 = not said
  bool imap_enabled = true;
  std::vector<std::string> unused;            // "file:line path" of every node that no mapping rule used
  std::vector<std::string> notes;             // what an administrator should know
  std::vector<std::string> ambiguous_logins;  // log-ins that accounts of two Post Offices have: not to be used bare
  std::string description;                    // "4D configuration /path (property list), 3 Post Offices"
};

// Computes problems, skip_reason and ambiguous_logins from everything else, anew: duplicates of Post Offices and SMTP
// domains (R15), of log-ins within a Post Office, missing names and passwords (R6). Linear. Readers call it; call it
// again after changes.
void settle(SourceConfiguration& configuration);

// How a Post Office is named to people: its name in quotes, or where it is.
std::string display_name(const PostOffice& post_office);

// Domain part of an address, lower-cased; empty if there is none.
std::string domain_of(const std::string& address);
// Everything before the last "@".
std::string local_part_of(const std::string& address);

}  // namespace extract
