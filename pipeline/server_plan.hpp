// What becomes of each Post Office and account on a target that we administer: the policies of docs/manual.md, as pure
// functions of the ledger and of what the target showed. Nothing is asked or changed here.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "load/kerio/admin.hpp"
#include "pipeline/plan.hpp"

namespace pipeline {

// The target as it was read.
struct TargetPicture {
  load::kerio::Server server;
  std::vector<load::kerio::TargetDomain> domains;
  std::map<std::string, std::vector<load::kerio::TargetUser>> users;      // of the domains that concern us, by name
  std::map<std::string, std::vector<load::kerio::Collision>> collisions;  // the same
};

struct ServerPolicies {
  bool adopt_domains = false;       // --existing-domain adopt
  bool adopt_accounts = false;      // --existing-account adopt
  bool generate_passwords = false;  // --on-refused-password generate
};

// R1-R4, R14, R15. In the order of the Post Offices.
std::vector<PlannedDomain> decide_domains(const std::vector<state::PostOfficeRow>& post_offices,
                                          const std::vector<load::kerio::TargetDomain>& target,
                                          const std::vector<state::TargetObject>& known,
                                          const ServerPolicies& policies);

// R5 and design §4. `account` has its address, target log-in and full name; its fate, skip and remarks are filled in.
void decide_account(PlannedAccount& account, const PlannedDomain& domain, const TargetPicture& picture,
                    const std::vector<state::TargetObject>& known, const ServerPolicies& policies,
                    const base::Secret& password);

// What an administrator should know of the server before: licence, log-in guard, disk.
std::vector<std::string> server_remarks(const load::kerio::Server& server, std::uint64_t accounts_to_create,
                                        base::Octets octets_to_move, bool master_password);
// The server would stop itself for want of space (F: watchdog); empty: no.
std::string disk_problem(const load::kerio::Server& server, base::Octets octets_to_move);

}  // namespace pipeline
