// Dates, mailbox names and UID sets.
#include <gtest/gtest.h>

#include "base/text.hpp"
#include "imap/protocol/date_time.hpp"
#include "imap/protocol/mailbox_name.hpp"
#include "imap/protocol/uid_set.hpp"

namespace imap {
namespace {

TEST(DateTime, WhatParsesIsWrittenBackTheSame) {
  for (const char* d : {"17-Jul-1996 02:44:25 -0700", " 1-Jan-1970 00:00:01 +0000", "29-Feb-2020 23:59:59 +1400",
                        "31-Dec-2024 12:00:00 -1200"}) {
    const auto p = parse_date_time(d);
    ASSERT_TRUE(p) << d;
    EXPECT_EQ(format_date_time(*p), d);
  }
  EXPECT_EQ(parse_date_time("17-Jul-1996 02:44:25 -0700")->unix_seconds, 837596665);
  EXPECT_TRUE(parse_date_time("1-Jul-1996 02:44:25 -0700")) << "one-digit days without padding are understood";
}

TEST(DateTime, WhatIsNoDateIsNotTakenForOne) {  // F36
  for (const char* d : {"29-Feb-2023 00:00:00 +0000", "00-Jan-0000 00:00:00 +0000", "31-Apr-2020 00:00:00 +0000",
                        "17-Jul-1996 24:00:00 +0000", "17-Jul-1996 02:44:60 +0000", "17-Jul-1996 02:44:25 +9999",
                        "17-Jul-1996 02:44:25", "17-Foo-1996 02:44:25 +0000", "", "now", "17-Jul-1996  02:44:25 +0000"})
    EXPECT_FALSE(parse_date_time(d)) << d;
}

TEST(DateTime, OnlyDatesThatServersStoreRightlyAreStorable) {
  const std::int64_t now = 1'800'000'000;
  EXPECT_FALSE(storable({0, 0}, now)) << "Cyrus and Courier take 0 for no date";
  EXPECT_FALSE(storable({-86400, 0}, now)) << "Dovecot makes 1969 into 2106";
  EXPECT_FALSE(storable({now + 3 * 86400, 0}, now)) << "Dovecot clamps the future";
  EXPECT_TRUE(storable({1, 0}, now));
  EXPECT_TRUE(storable({1'700'000'000, 0}, 1000)) << "a clock that thinks it is 1970";
}

TEST(DateTime, HeaderDatesOfOldAreUnderstood) {
  EXPECT_EQ(parse_rfc5322_date("Wed, 17 Jul 1996 02:44:25 -0700 (PDT)")->unix_seconds, 837596665);
  EXPECT_EQ(parse_rfc5322_date("17 Jul 96 02:44:25 PDT")->unix_seconds, 837596665);
  EXPECT_EQ(parse_rfc5322_date("Fri, 1 Feb 2002 03:04 GMT")->unix_seconds, 1012532640);
  EXPECT_FALSE(parse_rfc5322_date("yesterday"));
  EXPECT_FALSE(parse_rfc5322_date("Fri, 30 Feb 2002 03:04:05 +0000"));
}

TEST(MailboxName, ModifiedUtf7GoesBothWays) {
  const std::pair<const char*, const char*> kNames[] = {{"~peter/mail/日本語/台北", "~peter/mail/&ZeVnLIqe-/&U,BTFw-"},
                                                        {"R&D", "R&-D"},
                                                        {"Übersicht", "&ANw-bersicht"},
                                                        {"📧 emoji", "&2D3c5w- emoji"},
                                                        {"INBOX", "INBOX"}};
  for (const auto& [utf8, wire] : kNames) {
    EXPECT_EQ(to_mutf7(utf8), wire);
    EXPECT_EQ(from_mutf7(wire), utf8);
  }
}

TEST(MailboxName, WhatIsNotWellFormedIsTold) {
  for (const char* bad : {"a&b", "&Jjo", "&U,BTFw&ZeVnLIqe-", "\xc3\xbc", "&AGE-", "&2D0-", "&!!-", "&A-"})
    EXPECT_FALSE(from_mutf7(bad)) << bad;
}

TEST(MailboxName, EveryCodePointComesBack) {
  for (char32_t c : {0x80u, 0x7FFu, 0x800u, 0xFFFDu, 0x10000u, 0x10FFFFu}) {
    std::string s = "a";
    const auto put = [&](std::uint32_t v) { s += static_cast<char>(static_cast<unsigned char>(v)); };
    if (c < 0x800) put(0xC0 | (c >> 6)), put(0x80 | (c & 0x3F));
    else if (c < 0x10000) put(0xE0 | (c >> 12)), put(0x80 | ((c >> 6) & 0x3F)), put(0x80 | (c & 0x3F));
    else put(0xF0 | (c >> 18)), put(0x80 | ((c >> 12) & 0x3F)), put(0x80 | ((c >> 6) & 0x3F)), put(0x80 | (c & 0x3F));
    s += "&z";
    ASSERT_TRUE(base::valid_utf8(s));
    EXPECT_EQ(from_mutf7(to_mutf7(s)), s) << static_cast<std::uint32_t>(c);
  }
}

TEST(UidSet, RangesStayRangesAndNonsenseIsRefused) {
  const auto bomb = UidSet::parse("1:4294967295");
  ASSERT_TRUE(bomb);
  EXPECT_EQ(bomb->count(), 4294967295u);
  EXPECT_EQ(bomb->ranges().size(), 1u);
  for (const char* bad : {"", "0", "1:*", "*", "1:2:3", "4294967296", "-1", "1,,2", "a"})
    EXPECT_FALSE(UidSet::parse(bad)) << bad;
  UidSet s;
  for (const std::uint32_t u : {1u, 2u, 3u, 7u, 9u, 10u}) s.add(base::Uid(u));
  EXPECT_EQ(s.text(), "1:3,7,9:10");
}

}  // namespace
}  // namespace imap
