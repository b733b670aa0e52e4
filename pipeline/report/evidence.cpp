#include "pipeline/report/evidence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <map>
#include <set>

#include "base/result.hpp"
#include "base/text.hpp"
#include "pipeline/migration.hpp"
#include "pipeline/report/report.hpp"

namespace pipeline {

namespace json = boost::json;

namespace {

std::string octets_of(const base::Digest& d) { return {reinterpret_cast<const char*>(d.data()), d.size()}; }

}  // namespace

// One server's digests: of the mailbox at hand and of the whole account.
class EvidenceOfAccount::Side {
 public:
  EvidenceOfSide add(const std::string& target, std::optional<std::vector<base::Digest>> all) {
    if (!all) {
      whole_ = false;
      return {};
    }
    std::sort(all->begin(), all->end());  // the order of their hex, too
    base::Sha256 mailbox;
    for (const auto& e1 : *all) {
      const std::string line = base::printable(target) + '\0' + base::hex(octets_of(e1)) + '\n';
      mailbox.add(line);
      account_.add(line);
    }
    messages_ += all->size();
    return {all->size(), mailbox.hex()};
  }
  EvidenceOfSide finish() { return whole_ ? EvidenceOfSide{messages_, account_.hex()} : EvidenceOfSide{}; }

 private:
  base::Sha256 account_;
  std::uint64_t messages_ = 0;
  bool whole_ = true;
};

EvidenceOfAccount::EvidenceOfAccount(std::string address)
    : source_(std::make_unique<Side>()), target_(std::make_unique<Side>()) {
  out_.account = std::move(address);
}
EvidenceOfAccount::~EvidenceOfAccount() = default;

void EvidenceOfAccount::add(const std::string& mailbox, const std::string& target,
                            std::optional<std::vector<base::Digest>> source,
                            std::optional<std::vector<base::Digest>> on_target) {
  auto from = source_->add(target, std::move(source)), to = target_->add(target, std::move(on_target));
  out_.mailboxes.push_back({mailbox, target, std::move(from), std::move(to)});
}

AccountEvidence EvidenceOfAccount::finish() {
  out_.source = source_->finish();
  out_.on_target = target_->finish();
  return std::move(out_);
}

namespace {

json::value side_json(const EvidenceOfSide& s) {
  if (s.sha256.empty()) return nullptr;
  return {{"messages", s.messages}, {"sha256", s.sha256}};
}

// Over all accounts; nothing if one of them is not whole.
json::value all_json(const std::map<std::string, const AccountEvidence*>& accounts,
                     EvidenceOfSide AccountEvidence::*side) {
  base::Sha256 all;
  std::uint64_t messages = 0;
  for (const auto& [address, a] : accounts) {
    const auto& s = a->*side;
    if (s.sha256.empty()) return nullptr;
    messages += s.messages;
    all.add(address + '\0' + s.sha256 + '\n');
  }
  return side_json({messages, all.hex()});
}

EvidenceOfSide side_of(const json::object& o, const char* key) {
  const auto& v = o.at(key);
  if (v.is_null()) return {};
  return {v.as_object().at("messages").to_number<std::uint64_t>(), std::string(v.as_object().at("sha256").as_string())};
}

}  // namespace

json::object evidence_json(const std::vector<AccountEvidence>& evidence) {
  std::map<std::string, const AccountEvidence*> sorted;
  for (const auto& a : evidence) sorted[base::printable(a.account)] = &a;
  json::array accounts;
  for (const auto& [address, a] : sorted) {
    json::array mailboxes;
    for (const auto& m : a->mailboxes)
      mailboxes.push_back({{"mailbox", base::printable(m.mailbox)},
                           {"target", base::printable(m.target)},
                           {"source", side_json(m.source)},
                           {"on_target", side_json(m.on_target)}});
    accounts.push_back({{"account", base::printable(address)},
                        {"source", side_json(a->source)},
                        {"on_target", side_json(a->on_target)},
                        {"mailboxes", std::move(mailboxes)}});
  }
  return {{"source", all_json(sorted, &AccountEvidence::source)},
          {"on_target", all_json(sorted, &AccountEvidence::on_target)},
          {"accounts", std::move(accounts)}};
}

json::object read_evidence(const std::string& path) {
  const auto unusable = [&](const std::string& why) {
    return base::Failed({base::Scope::run, base::Remedy::ask_admin,
                         fmt::format("Could not compare with {}: {} Give a run-N.json that \"4d2kms verify --level "
                                     "full\" wrote.",
                                     path, why),
                         base::Exit::usage});
  };
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) throw unusable("it cannot be read.");
  boost::system::error_code bad;
  const auto value = json::parse(text, bad);
  if (bad || !value.is_object() || !value.as_object().contains("schema")) throw unusable("it is no report.");
  if (!sealed(text))
    throw unusable("it was changed since it was written: its fingerprint is another one than it says.");
  const auto& report = value.as_object();
  const auto* evidence = report.if_contains("evidence");
  if (evidence == nullptr || !evidence->is_object() || evidence->as_object().at("accounts").as_array().empty())
    throw unusable("it holds no evidence.");
  return report;
}

void compare_with_report(const json::object& report, const std::function<bool(const std::string&)>& selected,
                         VerifyResult* now) {
  std::map<std::string, const AccountEvidence*> there;
  for (const auto& a : now->evidence) there[base::printable(a.account)] = &a;
  const auto words = [](const EvidenceOfSide& s) {
    return fmt::format("{} ({})", base::plural(s.messages, "message"), s.sha256.substr(0, 16));
  };
  std::set<std::string> compared;
  for (const auto& v : report.at("evidence").as_object().at("accounts").as_array()) {
    const auto& was = v.as_object();
    const std::string address(was.at("account").as_string());
    if (!selected(address)) continue;
    compared.insert(address);
    const auto is = there.find(address);
    if (is == there.end()) {
      now->problems.push_back(address + " is in the report and was not read now: it could not be compared");
      continue;
    }
    std::map<std::string, const MailboxEvidence*> mailboxes;
    for (const auto& m : is->second->mailboxes) mailboxes[base::printable(m.target)] = &m;
    std::set<std::string> known;
    for (const auto& b : was.at("mailboxes").as_array()) {
      const auto& box = b.as_object();
      const std::string name(box.at("mailbox").as_string()), target(box.at("target").as_string());
      const auto before = side_of(box, "on_target");
      const auto m = mailboxes.find(target);
      known.insert(target);
      if (m != mailboxes.end() && !before.sha256.empty() && m->second->on_target.sha256 == before.sha256) continue;
      if (before.sha256.empty())
        now->problems.push_back(
            fmt::format("\"{}\" of {} has no digest in the report: it could not be compared", name, address));
      else if (m == mailboxes.end())
        now->differences.push_back(
            {address,
             name,
             {},
             {},
             "evidence",
             fmt::format("the report has {}; the state knows no target mailbox \"{}\" any more", words(before), target),
             false,
             true});
      else if (m->second->on_target.sha256.empty())
        now->problems.push_back(
            fmt::format("\"{}\" of {} could not be read whole: it could not be compared", name, address));
      else
        now->differences.push_back(
            {address,
             name,
             {},
             {},
             "evidence",
             fmt::format("the report has {}, the target now {}", words(before), words(m->second->on_target)),
             false,
             false});
    }
    for (const auto& [target, m] : mailboxes)
      if (m->on_target.messages > 0 && !known.contains(target))
        now->problems.push_back(
            fmt::format("\"{}\" of {} is not in the report: it could not be compared", m->mailbox, address));
  }
  // A report of some accounts says nothing about the others.
  for (const auto& [address, ignored] : there)
    if (!compared.contains(address))
      now->problems.push_back(fmt::format("{} is not in the report: it could not be compared", address));
}

}  // namespace pipeline
