// Digests of what both servers gave out, and their comparison with an earlier report.
#include "pipeline/report/evidence.hpp"

#include <gtest/gtest.h>

#include "base/text.hpp"
#include "pipeline/report/report.hpp"
#include "tests/support/world.hpp"

namespace pipeline {
namespace {

namespace json = boost::json;

base::Digest digest(unsigned char first) {
  base::Digest d{};
  d[0] = first;
  return d;
}

AccountEvidence of_one_mailbox(std::optional<std::vector<base::Digest>> source,
                               std::optional<std::vector<base::Digest>> on_target) {
  EvidenceOfAccount e("jane@example.org");
  e.add("Inbox", "INBOX", std::move(source), std::move(on_target));
  return e.finish();
}

TEST(Evidence, IsTheDigestOfSortedLinesWhateverTheOrderTheyWereReadIn) {
  const auto a = of_one_mailbox({{digest(2), digest(1)}}, {{digest(1), digest(2)}});
  base::Sha256 sum;
  for (const char* first : {"01", "02"}) sum.add(std::string("INBOX") + '\0' + first + std::string(62, '0') + '\n');
  const auto want = sum.hex();
  EXPECT_EQ(a.source.sha256, want);
  EXPECT_EQ(a.on_target.sha256, want);
  EXPECT_EQ(a.mailboxes[0].source.sha256, want);
  EXPECT_EQ(a.source.messages, 2u);
}

TEST(Evidence, SeesASecondCopyALossAndAnotherBody) {
  const auto was = of_one_mailbox({{}}, {{digest(1), digest(2)}});
  EXPECT_NE(was.on_target.sha256, of_one_mailbox({{}}, {{digest(1), digest(2), digest(2)}}).on_target.sha256);
  EXPECT_NE(was.on_target.sha256, of_one_mailbox({{}}, {{digest(1)}}).on_target.sha256);
  EXPECT_NE(was.on_target.sha256, of_one_mailbox({{}}, {{digest(1), digest(3)}}).on_target.sha256);
}

TEST(Evidence, OfWhatWasNotReadWholeThereIsNone) {
  const auto a = of_one_mailbox({}, {{digest(1)}});
  EXPECT_EQ(a.source.sha256, "");
  EXPECT_NE(a.on_target.sha256, "");
  const auto all = evidence_json({a});
  EXPECT_TRUE(all.at("source").is_null());
  EXPECT_FALSE(all.at("on_target").is_null());
}

// What is compared is never passed over in silence.
TEST(Evidence, WhatCannotBeComparedIsAProblem) {
  json::object report;
  report["evidence"] = evidence_json({of_one_mailbox({{}}, {{digest(1)}})});
  const auto everyone = [](const std::string&) { return true; };
  VerifyResult none;
  compare_with_report(report, everyone, &none);
  EXPECT_EQ(none.problems.size(), 1u) << "an account that was not read";
  VerifyResult part;
  part.evidence.push_back(of_one_mailbox({}, {}));
  compare_with_report(report, everyone, &part);
  EXPECT_EQ(part.problems.size(), 1u) << "a mailbox that was not read whole";
  VerifyResult moved;
  EvidenceOfAccount e("jane@example.org");
  moved.evidence.push_back(e.finish());
  compare_with_report(report, everyone, &moved);
  ASSERT_EQ(moved.differences.size(), 1u) << "a mailbox that the state does not know";
  EXPECT_FALSE(moved.differences[0].explained);
  VerifyResult more;
  more.evidence.push_back(of_one_mailbox({}, {{digest(1)}}));
  EvidenceOfAccount other("john@example.org");
  more.evidence.push_back(other.finish());
  compare_with_report(report, everyone, &more);
  EXPECT_EQ(more.problems.size(), 1u) << "an account that the report does not know";
  VerifyResult wider;
  EvidenceOfAccount two("jane@example.org");
  two.add("Archive", "Archive", {}, {{digest(2)}});
  two.add("Inbox", "INBOX", {}, {{digest(1)}});
  wider.evidence.push_back(two.finish());
  compare_with_report(report, everyone, &wider);
  EXPECT_EQ(wider.problems.size(), 1u) << "a mailbox that the report does not know";
  VerifyResult same;
  same.evidence.push_back(of_one_mailbox({}, {{digest(1)}}));
  compare_with_report(report, everyone, &same);
  EXPECT_TRUE(same.problems.empty() && same.differences.empty());
}

class EvidenceOfAMigration : public ::testing::Test {
 protected:
  test::World world;
  json::object verified() {
    const auto ran = world.run("verify");
    EXPECT_EQ(ran.error, "");
    return ran.report.contains("evidence") ? ran.report.at("evidence").as_object() : json::object();
  }
};

TEST_F(EvidenceOfAMigration, IsEqualOnBothSidesAndChangesWithTheTarget) {
  for (const char* subject : {"one", "two", "two", "three"}) world.source.put("jane", "INBOX", test::mail(subject));
  world.source.put("jane", "Archive", test::mail("old"));
  ASSERT_EQ(world.run().exit, 0);
  const auto before = verified();
  EXPECT_EQ(before.at("source"), before.at("on_target"));
  EXPECT_EQ(before.at("source").at("messages").to_number<int>(), 5);
  world.target.put("jane", "INBOX", test::mail("a stranger's"));
  EXPECT_EQ(verified(), before) << "new mail is none of its business";
  world.target.put("jane", "INBOX", test::mail("two"));
  const auto after = verified();
  EXPECT_EQ(after.at("source"), before.at("source"));
  EXPECT_NE(after.at("on_target"), before.at("on_target")) << "a second copy";
  EXPECT_EQ(after.at("on_target").at("messages").to_number<int>(), 6);
}

}  // namespace
}  // namespace pipeline
