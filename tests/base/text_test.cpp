#include "base/text.hpp"

#include <gtest/gtest.h>

namespace {

TEST(Printable, ControlCharactersAndBrokenUtf8AreEscapedAndTheRestIsKept) {
  EXPECT_EQ(base::printable("Почта"), "Почта");
  EXPECT_EQ(base::printable("a\x1b[31m\r\n"), "a\\x1B[31m\\x0D\\x0A");
  EXPECT_EQ(base::printable("\xff\xc3"), "\\xFF\\xC3");
  EXPECT_EQ(base::printable("\xc2\x9b"), "\\xC2\\x9B") << "C1 controls move terminals too";
  EXPECT_EQ(base::printable("\xed\xa0\x80"), "\\xED\\xA0\\x80") << "surrogates are not UTF-8";
}

TEST(Masked, TheSecretIsGoneWhereverItStandsAndNothingElse) {
  EXPECT_EQ(base::masked("no: s3cret, s3crets3cret", "s3cret"), "no: ***, ******");
  EXPECT_EQ(base::masked("nothing here", "s3cret"), "nothing here");
  EXPECT_EQ(base::masked("no password is no secret", ""), "no password is no secret");
  EXPECT_EQ(base::masked("a * b", "*"), "a *** b") << "and it ends";
}

TEST(StatedPause, IsReadFromWhateverAServerSaysAndIsNeverLongerThanAnHour) {  // F25
  using namespace std::chrono_literals;
  EXPECT_EQ(base::stated_pause("Request is throttled. Suggested Backoff Time: 299961 milliseconds"), 299961ms);
  EXPECT_EQ(base::stated_pause("SUGGESTED BACKOFF TIME:5ms"), 5ms);
  EXPECT_EQ(base::stated_pause("Too many log-ins, try again in 4 minutes."), 4min);
  EXPECT_EQ(base::stated_pause("Server busy; retry after 30s"), 30s);
  EXPECT_EQ(base::stated_pause("Try again in 99999999999999999999 hours"), 1h);
  for (const char* none : {"", "try again later", "try again in a minute", "Backoff Time: soon",
                           "retry after 0 seconds", "try again in 5", "try again in 5 moons"})
    EXPECT_FALSE(base::stated_pause(none)) << none;
}

TEST(Glob, StarsAndQuestionMarksMatchTheWholeTextWithoutRegardToCase) {
  EXPECT_TRUE(base::glob_match("*@north.example", "Jane@North.example"));
  EXPECT_TRUE(base::glob_match("j?ne@*", "jane@x"));
  EXPECT_FALSE(base::glob_match("jane", "jane@x"));
  EXPECT_TRUE(base::glob_match("*a*b*c*", "xxaxxbxxcxx"));
  EXPECT_FALSE(base::glob_match(std::string(50, '*') + "z", std::string(5000, 'a'))) << "and in linear time";
}

TEST(Human, NumbersAreWrittenForPeople) {
  EXPECT_EQ(base::human_octets(999), "999 B");
  EXPECT_EQ(base::human_octets(19293798), "18.4 MiB");
  EXPECT_EQ(base::human_count(1234567), "1,234,567");
  EXPECT_EQ(base::human_count(12), "12");
  EXPECT_EQ(base::human_duration(std::chrono::milliseconds(4200)), "4.2 s");
  EXPECT_EQ(base::human_duration(std::chrono::seconds(3840)), "1 h 04 min");
  EXPECT_EQ(base::plural(1, "mailbox", "mailboxes"), "1 mailbox");
  EXPECT_EQ(base::plural(2000, "message"), "2,000 messages");
}

TEST(Table, ColumnsLineUpAsATerminalShowsThem) {
  EXPECT_EQ(base::table({{"日本", "1"}, {"abcde", "2"}}, {}), "日本   1\nabcde  2\n");
  EXPECT_EQ(base::table({{"A", "N"}, {"Üx", "10"}, {"y", "5"}}, {1}), "A    N\nÜx  10\ny    5\n");
}

TEST(Base64, DecodesWhatItEncodesAndRefusesTheRest) {
  std::string out;
  for (const std::string& s : std::vector<std::string>{"", "a", "ab", "abc", std::string("\0x\0", 3)}) {
    ASSERT_TRUE(base::base64_decode(base::base64_encode(s), out));
    EXPECT_EQ(out, s);
  }
  EXPECT_FALSE(base::base64_decode("abc", out));
  EXPECT_FALSE(base::base64_decode("ab*=", out));
}

}  // namespace
