#include "base/fingerprint.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

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

// All octets of up to six out of what counts for E0, before and after the end of the header.
TEST(Fingerprint, E0TellsEveryOctetApart) {
  const std::string alphabet("a\r\n\0\x80", 5);
  std::map<std::array<std::uint8_t, 8>, std::string> met;
  for (const std::string& before : {std::string(), std::string("A: b\r\n\r\n")})
    for (unsigned length = 0; length <= 6; ++length) {
      std::vector<std::size_t> letters(length, 0);
      for (bool more = true; more;) {
        std::string octets = before;
        for (const auto l : letters) octets += alphabet[l];
        const auto [it, fresh] = met.emplace(fingerprint(octets).e0, octets);
        ASSERT_TRUE(fresh || it->second == octets)
            << testing::PrintToString(octets) << " and " << testing::PrintToString(it->second);
        more = false;
        for (auto& l : letters) {
          more = ++l < alphabet.size();
          if (more) break;
          l = 0;
        }
      }
    }
  EXPECT_GT(met.size(), 39000U);
  const std::string lines(200000, '\n');  // more of what is odd than is kept in memory
  EXPECT_NE(fingerprint("a\n" + lines + "b").e0, fingerprint("a\r\n" + lines + "b").e0);
}

// As the words of the header file have it, octet by octet.
base::Fingerprint word_for_word(const std::string& octets) {
  std::string canonical, x;
  bool in_header = true, empty = true;
  base::Fingerprint f;
  for (const char c : octets) {
    if (c == '\r') continue;
    if (c == '\n') {
      if (empty) in_header = false;
      empty = true;
      canonical += c, x += c;
      continue;
    }
    empty = false;
    const char put = c == '\0' ? '\x80' : c;
    canonical += put;
    const bool eight = static_cast<unsigned char>(put) >= 0x80;
    if (in_header && eight) f.header_8bit = true;
    x += in_header && (eight || put == '?' || put == 'X') ? 'X' : put;
  }
  while (canonical.ends_with('\n')) canonical.pop_back(), x.pop_back();
  base::Sha256 e1, e1x;
  e1.add(canonical);
  e1x.add(x);
  f.e1 = e1.finish();
  f.e1x = e1x.finish();
  return f;
}

TEST(Fingerprint, IsWhatItsWordsSayForAnyOctetsInAnyPieces) {
  std::mt19937 draw(1);
  const std::string alphabet("aX?\r\n\r\n\n\x85", 9);
  for (int i = 0; i < 20000; ++i) {
    std::string octets;
    const auto length = draw() % 40;
    for (unsigned k = 0; k < length; ++k) octets += draw() % 20 == 0 ? '\0' : alphabet[draw() % alphabet.size()];
    if (i % 100 == 0) octets += std::string(40000, "z\n\r"[draw() % 3]) + "\r\n\r\nend\r\n";
    const auto want = word_for_word(octets);
    for (const auto when : {Fingerprinter::E1x::if_8bit, Fingerprinter::E1x::always}) {
      Fingerprinter f(when);
      for (std::size_t at = 0; at < octets.size();) {
        const auto n = 1 + draw() % 50;
        f.add(std::string_view(octets).substr(at, n));
        at += n;
      }
      const auto got = f.finish();
      ASSERT_EQ(got.e1, want.e1) << i;
      ASSERT_EQ(got.e0, fingerprint(octets).e0) << i;
      ASSERT_EQ(got.header_8bit, want.header_8bit) << i;
      ASSERT_EQ(got.e1x.has_value(), when == Fingerprinter::E1x::always || want.header_8bit);
      if (got.e1x) {
        ASSERT_EQ(*got.e1x, *want.e1x) << i;
      }
    }
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
