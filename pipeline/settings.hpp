// Everything an administrator can set, as the command line or a --config file gives it. No secret is kept here but the
// ones that came in with the configuration.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/secret.hpp"
#include "base/tls.hpp"
#include "load/options.hpp"
#include "pipeline/tuning.hpp"

namespace pipeline {

enum class TargetKind : std::uint8_t { imap, kerio };
enum class VerifyLevel : std::uint8_t { none, quick, sample, full };

struct Settings {
  std::string source_path, roster, domains, source_mapping;
  base::Endpoint source;
  std::string source_login;  // template of %u %d %o; empty: bare user for a 4D configuration, address for a roster
  bool source_pipelining = false;

  TargetKind target_kind = TargetKind::imap;
  base::Endpoint target;
  std::string target_login = "%u@%d";

  // Of a Kerio target: its administration, and what to do with what is there already.
  base::Endpoint api;
  std::string target_user;
  base::Secret target_password, master_password;
  bool adopt_domains = false, adopt_accounts = false, generate_passwords = false;
  std::string target_prefix = "INBOX";  // where a new top-level mailbox goes that the target refuses

  std::string state = "./4d2kms.state";
  std::vector<std::string> only, exclude;  // patterns of user@domain
  Tuning tuning;                           // can change while a stage runs
  int mailboxes_at_once = 2;               // of one account, over the same connections
  std::uint64_t helped_from = 100;         // messages of an account that wait, for a free connection to help with them
  VerifyLevel verify = VerifyLevel::full;
  load::LoadOptions load;
  std::string escape;          // characters of mailbox names that the target does not take
  bool refresh = false;        // plan: take a new inventory first
  bool moved_servers = false;  // the state's servers have other addresses now
  bool quiet = false, verbose = false, json = false;
  std::string log_file;
};

// %u the part before the last "@" of `login`, %d the domain, %o the Post Office, %% a percent sign.
std::string expand_login(const std::string& pattern, const std::string& login, const std::string& domain,
                         const std::string& post_office);

}  // namespace pipeline
