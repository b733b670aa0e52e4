// What a full verification has read, as digests that anybody can work out again (docs/manual.md, "Evidence"):
//
//   a line a message: the target mailbox's name as LIST writes it (as the report has it), NUL, E1 of the message in
//   hex, LF a mailbox, an account: SHA-256 of its lines, sorted by octets all: SHA-256 of the lines "address NUL digest
//   of the account LF", sorted by octets
//
// Source and target are worked out each from its own octets; messages are those that were moved, and on the target
// second copies of them, too. Mail of others is not in it: new mail changes nothing.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fingerprint.hpp"

namespace pipeline {

// Of one server.
struct EvidenceOfSide {
  std::uint64_t messages = 0;
  std::string sha256;  // in hex; empty: it could not be read whole, or was not asked
};
struct MailboxEvidence {
  std::string mailbox, target;  // as the source names it (UTF-8); as the target's LIST does
  EvidenceOfSide source, on_target;
};
struct AccountEvidence {
  std::string account;
  EvidenceOfSide source, on_target;
  std::vector<MailboxEvidence> mailboxes;
};

// One account's, mailbox by mailbox; in memory are the digests of one mailbox only.
class EvidenceOfAccount {
 public:
  explicit EvidenceOfAccount(std::string address);
  ~EvidenceOfAccount();
  EvidenceOfAccount(const EvidenceOfAccount&) = delete;
  EvidenceOfAccount& operator=(const EvidenceOfAccount&) = delete;
  // In ascending order of `target`, as printable() writes it. The E1 of all its messages, in any order; nothing: that
  // side was not read whole, and neither was the account.
  void add(const std::string& mailbox, const std::string& target, std::optional<std::vector<base::Digest>> source,
           std::optional<std::vector<base::Digest>> on_target);
  AccountEvidence finish();

 private:
  class Side;
  AccountEvidence out_;
  std::unique_ptr<Side> source_, target_;
};

boost::json::object evidence_json(const std::vector<AccountEvidence>& evidence);

struct VerifyResult;
// What the target has now, beside what a report says that it had: each account and mailbox that differs becomes a
// difference that nothing explains, each that cannot be compared a problem. `selected`: of which accounts.
void compare_with_report(const boost::json::object& report, const std::function<bool(const std::string&)>& selected,
                         VerifyResult* now);
// Reads a report for that. Throws Failed: it cannot be read, was changed since it was written, or holds no evidence.
boost::json::object read_evidence(const std::string& path);

}  // namespace pipeline
