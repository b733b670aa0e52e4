// Which copy on the target is taken for which message.
#include "load/unbound.hpp"

#include <gtest/gtest.h>

namespace load {
namespace {

using base::Uid;

base::Fingerprint print(const char* text) { return base::fingerprint(text); }
base::DateTime at(std::int64_t seconds) { return {seconds, 0}; }

class UnboundTest : public testing::Test {
 protected:
  void add(std::uint32_t uid, const char* text, std::optional<base::DateTime> date, std::string flags) {
    unbound.add({Uid(uid), print(text), date, std::move(flags)});
  }
  std::uint32_t find(const char* text, std::optional<base::DateTime> date, const std::string& flags,
                     Likeness at_least = Likeness::content) {
    const Copy* c = unbound.find(
        print(text), date, [&] { return flags; }, at_least);
    return c == nullptr ? 0 : c->uid.value;
  }
  Unbound unbound;
};

TEST_F(UnboundTest, TheMostAlikeOfEqualCopiesAndTheDateCountsForMore) {
  add(1, "A: b\r\n\r\nc\r\n", at(5), "");
  add(2, "A: b\r\n\r\nc\r\n", at(7), "\\Seen");
  add(3, "A: b\r\n\r\nc\r\n", at(9), "");
  add(4, "A: b\r\n\r\nc\r\n", at(9), "\\Seen");
  const char* text = "A: b\r\n\r\nc\r\n";
  EXPECT_EQ(find(text, at(9), "\\Seen"), 4u);
  EXPECT_EQ(find(text, at(9), "\\Flagged"), 3u) << "the first of two that are as alike";
  EXPECT_EQ(find(text, at(11), "\\Seen"), 2u);
  EXPECT_EQ(find(text, at(11), "\\Flagged"), 1u);
  EXPECT_EQ(find(text, at(11), "\\Flagged", Likeness::flags), 0u);
  EXPECT_EQ(find(text, at(11), "\\Seen", Likeness::date), 0u);
  EXPECT_EQ(find(text, at(9), "\\Flagged", Likeness::both), 0u);
  EXPECT_EQ(find("A: b\r\n\r\nd\r\n", at(9), ""), 0u);
}

TEST_F(UnboundTest, OneThatIsTakenIsNobodyElses) {
  add(1, "A: b\r\n\r\n", at(5), "");
  EXPECT_TRUE(unbound.any());
  unbound.take(unbound.all().front());
  EXPECT_FALSE(unbound.any());
  EXPECT_EQ(find("A: b\r\n\r\n", at(5), ""), 0u);
  EXPECT_TRUE(unbound.has_read(Uid(1)));
  EXPECT_FALSE(unbound.has_read(Uid(2)));
}

TEST_F(UnboundTest, ASpareCopyIsForNoRowWithAnotherDate) {
  add(1, "A: b\r\n\r\n", at(5), "");
  unbound.all().front().spare = true;
  EXPECT_EQ(find("A: b\r\n\r\n", at(6), ""), 0u);
  EXPECT_EQ(find("A: b\r\n\r\n", at(5), "\\Seen"), 1u);
}

TEST_F(UnboundTest, RewrittenHeadersAreKnownUnlessTheCopyHasKeptItsOctets) {
  const char* raw = "Subject: caf\xe9\r\n\r\nc\r\n";
  ASSERT_TRUE(print(raw).e1x);
  const auto rewritten = [&](std::uint32_t uid, const char* text) {
    auto p = print(text);
    p.e1x = print(raw).e1x;
    unbound.add({Uid(uid), p, at(5), ""});
  };
  rewritten(1, "Subject: caf\xe8\r\n\r\nc\r\n");  // its own raw octets: another message
  EXPECT_EQ(find(raw, at(5), ""), 0u);
  rewritten(2, "Subject: caf?\r\n\r\nc\r\n");
  EXPECT_EQ(find(raw, at(5), ""), 2u);
}

TEST_F(UnboundTest, FlagsAreNotAskedForWhereNothingIsEqual) {
  add(1, "A: b\r\n\r\n", at(5), "");
  bool asked = false;
  unbound.find(
      print("X: y\r\n\r\n"), at(5), [&] { return asked = true, std::string(); }, Likeness::content);
  EXPECT_FALSE(asked);
}

}  // namespace
}  // namespace load
