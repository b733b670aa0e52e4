// What load will do, worked out and saved before anything is written: the dry run.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "load/mailbox_map.hpp"
#include "state/ledger.hpp"

namespace pipeline {

// What becomes of a domain or an account on a target that we administer.
enum class Fate : std::uint8_t {
  create,  // it is not there yet
  ours,    // we made it, in this run or an earlier one
  adopt,   // somebody else's, used as it is
  skip,    // left out by policy
  fail,    // left out, because of a clash or a fault
};
const char* name_of(Fate f);

struct PlannedAlias {
  std::string name;
  bool there = false;
  std::string dropped;  // not empty: it is not added, and why
};
struct PlannedDomain {
  std::string post_office, name;
  Fate fate = Fate::create;
  std::string why, id;
  std::vector<PlannedAlias> aliases;
  std::vector<std::string> remarks;
};

struct PlannedMailbox {
  load::MappedMailbox map;
  bool create = false, subscribe = false;
  std::uint64_t to_move = 0;
  base::Octets octets = 0;
  base::UidValidity source_validity;  // the inventory that this plan is about
  base::Uid source_uid_next;
  std::uint64_t source_messages = 0;
  // The target's mailbox as the plan saw it; load must look into it unless it is as load left it.
  bool untouched = false;
  std::vector<std::string> flags_lost;  // that the target does not keep
  std::vector<std::string> remarks;
  std::string asked;  // the name that the mapping gave, where the target then took another
};

struct PlannedAccount {
  state::AccountId id;
  std::string post_office, address, target_login;
  std::string skip;  // not empty: nothing is moved, and why
  Fate fate = Fate::adopt;
  std::string target_domain, login, full_name, target_id;  // where we administer the target
  std::vector<PlannedMailbox> mailboxes;
  std::vector<std::pair<std::string, std::string>> left_out;  // source mailbox, why
  std::vector<std::string> remarks;
  bool nothing_to_do() const;
};

struct Plan {
  std::vector<PlannedDomain> domains;  // where we administer the target
  std::vector<PlannedAccount> accounts;
  std::vector<std::string> remarks;  // of the whole run
  std::string policies;              // the options that decide: part of the fingerprint
};

boost::json::object to_json(const Plan& plan);
// Over every decision and the inventory it was made from; not over what only tells how far load has come.
std::string fingerprint(const Plan& plan);
// For people: totals, a table of accounts, a table of mailboxes whose name changes, remarks.
std::string to_text(const Plan& plan, std::int64_t number, const std::string& print);
// What was there on the target when `was` was made, and is not any more: load would make it anew unasked.
std::vector<std::string> vanished(const boost::json::object& was, const boost::json::object& is);
// What is different, in words; `was` and `is` as to_json made them.
std::vector<std::string> changes(const boost::json::object& was, const boost::json::object& is);

}  // namespace pipeline
