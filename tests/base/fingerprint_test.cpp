#include "base/fingerprint.hpp"

#include <gtest/gtest.h>

namespace {

using base::fingerprint;
using base::Fingerprinter;

// The definition, one octet at a time: what the fast one is held against.
std::string canonical(std::string s) {
  std::erase(s, '\r');
  for (char& c : s)
    if (c == '\0') c = '\x80';
  while (s.ends_with('\n')) s.pop_back();
  return s;
}

TEST(Fingerprint, E1SurvivesWhatHonestServersChange) {
  const std::string original = "Subject: x\r\n\r\nbody\r\n";
  for (const std::string& changed : {std::string("Subject: x\n\nbody\n"), std::string("Subject: x\r\n\r\nbody"),
                                     std::string("Subject: x\r\r\n\r\nbody\r\n\r\n")}) {
    EXPECT_EQ(fingerprint(original).e1, fingerprint(changed).e1);
    EXPECT_NE(fingerprint(original).e0, fingerprint(changed).e0);
  }
  EXPECT_EQ(fingerprint(std::string("a\0b", 3)).e1, fingerprint("a\x80"
                                                                "b")
                                                        .e1);
}

TEST(Fingerprint, E1TellsMessagesApart) {
  EXPECT_NE(fingerprint("Subject: x\r\n\r\nbody").e1, fingerprint("Subject: x\r\n\r\nbodz").e1);
  EXPECT_NE(fingerprint("a\n\nb").e1, fingerprint("a\nb").e1) << "an empty line inside counts";
}

TEST(Fingerprint, IsTheSameHoweverTheOctetsAreSplit) {
  std::string text = "Subject: \xc3\xbc?X\r\n\r\n";
  for (int i = 0; i < 5000; ++i) text += i % 7 == 0 ? "\r\n" : i % 11 == 0 ? std::string(1, '\0') : "line\n\n\n";
  const auto whole = fingerprint(text);
  EXPECT_EQ(whole.e1, fingerprint(canonical(text)).e1);
  for (const std::size_t step : {1u, 2u, 7u, 4096u}) {
    Fingerprinter f(Fingerprinter::E1x::if_8bit);
    for (std::size_t i = 0; i < text.size(); i += step) f.add(std::string_view(text).substr(i, step));
    const auto split = f.finish();
    EXPECT_EQ(split.e1, whole.e1);
    EXPECT_EQ(split.e0, whole.e0);
    EXPECT_EQ(split.e1x, whole.e1x);
    EXPECT_EQ(split.octets, text.size());
  }
}

TEST(Fingerprint, E1xIsThereForRawHeadersAndSurvivesCyrus) {
  const std::string raw =
                        "Subject: \xc3\x9c"
                        "bersicht?\r\n\r\nbody \xc3\x9c\r\n",
                    munged = "Subject: XXbersicht?\r\n\r\nbody \xc3\x9c\r\n";
  ASSERT_TRUE(fingerprint(raw).e1x.has_value());
  EXPECT_FALSE(fingerprint("Subject: plain\r\n\r\nbody \xc3\x9c\r\n").e1x.has_value())
      << "8-bit in the body alone is never rewritten";
  EXPECT_NE(fingerprint(raw).e1, fingerprint(munged).e1);
  EXPECT_EQ(*fingerprint(raw).e1x, *fingerprint(munged, Fingerprinter::E1x::always).e1x);
  const std::string other = "Subject: XXbersicht?\r\n\r\nbody XX\r\n";
  EXPECT_NE(*fingerprint(raw).e1x, *fingerprint(other, Fingerprinter::E1x::always).e1x)
      << "the body is compared as it is";
}

}  // namespace
