// What makes two messages the same: E0, E1 and E1x of docs/architecture.md.
//
//   E0   SHA-256 of E1 and of all that the canonical form leaves out (LineEnds). Equal: byte for byte the same. So the
//   octets pass SHA-256 once, not twice.
//   E1   SHA-256 of the canonical form: every CR removed, NUL -> 0x80, trailing LFs removed. Honest servers change just
//   that
//        (bare LF to CRLF, NUL to 0x80, a line end added): E1 survives it, and decides.
//   E1x  E1 after every '?', 'X' and octet >= 0x80 of the header became 'X': Cyrus stores raw 8-bit headers so.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"

namespace base {

using Digest = std::array<std::uint8_t, 32>;

// Plain SHA-256, in pieces.
class Sha256 {
 public:
  Sha256();
  void add(std::string_view octets);
  // The end: nothing may be added any more.
  Digest finish();
  std::string hex();

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

struct DigestHash {
  std::size_t operator()(const Digest& d) const noexcept;
};

struct Fingerprint {
  Digest e1{};
  std::array<std::uint8_t, 8> e0{};  // the first 8 octets: it is a remark, never a decision
  bool header_8bit = false;          // the header holds an octet >= 0x80
  std::optional<Digest> e1x;         // only where it can differ from E1: see Fingerprinter
  Octets octets = 0;
};

// What the canonical form of octets leaves out: where a CR or an LF stands alone, where a NUL was, how many line ends
// there are at the end. With the canonical form it gives back the octets. Octets in, in pieces; constant memory.
class LineEnds {
 public:
  void add(std::string_view octets);
  // Of everything; `e1` stands for the canonical form. The end: nothing may be added any more.
  Digest finish(const Digest& e1);

 private:
  enum class Odd : char { cr = 'R', lf = 'L', nul = '0' };
  void octet(char c);
  void note(Odd what);
  std::uint64_t at_ = 0;  // octets that are no CR
  bool cr_ = false;       // the last octet was one
  std::string odd_;       // not yet hashed
  Sha256 digest_;
};

// Octets in, in pieces; one pass; constant memory.
class Fingerprinter {
 public:
  // `always`: E1x is worked out whatever the header holds (target side). `if_8bit`: only if the header has an octet >=
  // 0x80, since no other message is touched by the rewriting that E1x stands for (source side).
  enum class E1x : std::uint8_t { if_8bit, always };
  explicit Fingerprinter(E1x when);
  void add(std::string_view octets);
  Fingerprint finish();

 private:
  std::string_view header(std::string_view octets);
  void header_line(std::string_view text);
  void body(std::string_view octets);
  // Of the canonical form: no CR, no NUL.
  void put(std::string_view text);
  void release_lfs();
  void flush();
  E1x when_;
  LineEnds line_ends_;
  Sha256 e1_, e1x_;
  std::string pending_, pending_x_;
  std::uint64_t held_lfs_ = 0;  // LFs not yet hashed: they may be trailing
  bool in_header_ = true;
  bool header_8bit_ = false;
  bool line_empty_ = true;
  Octets octets_ = 0;
};

Fingerprint fingerprint(std::string_view octets, Fingerprinter::E1x when = Fingerprinter::E1x::if_8bit);

}  // namespace base
