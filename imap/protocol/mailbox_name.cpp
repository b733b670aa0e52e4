#include "imap/protocol/mailbox_name.hpp"

#include <array>
#include <cstdint>

#include "base/text.hpp"

namespace imap {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

void put_utf8(std::string& out, std::uint32_t c) {
  const auto put = [&](std::uint32_t v) { out += static_cast<char>(static_cast<unsigned char>(v)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::uint32_t take_utf8(std::string_view& s) {
  const auto c = static_cast<unsigned char>(s[0]);
  const int n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  std::uint32_t v = n == 1 ? c : c & (0xFFu >> (n + 1));
  for (int i = 1; i < n; ++i) v = (v << 6) | (static_cast<unsigned char>(s[static_cast<std::size_t>(i)]) & 0x3F);
  s.remove_prefix(static_cast<std::size_t>(n));
  return v;
}

}  // namespace

std::string to_mutf7(std::string_view utf8) {
  if (!base::valid_utf8(utf8)) return std::string(utf8);  // a raw name stays what it was
  std::string out, shifted;
  std::uint32_t bits = 0;
  int held = 0;
  const auto put16 = [&](std::uint32_t unit) {
    bits = (bits << 16) | unit;
    held += 16;
    while (held >= 6) {
      held -= 6;
      shifted += kAlphabet[(bits >> held) & 0x3F];
      bits &= (1u << held) - 1;
    }
  };
  const auto close = [&] {
    if (shifted.empty() && held == 0) return;
    if (held > 0) shifted += kAlphabet[(bits << (6 - held)) & 0x3F];
    out += "&" + shifted + "-";
    shifted.clear();
    bits = 0;
    held = 0;
  };
  while (!utf8.empty()) {
    const std::uint32_t c = take_utf8(utf8);
    if (c >= 0x20 && c <= 0x7E) {
      close();
      out += static_cast<char>(c);
      if (c == '&') out += '-';
    } else if (c < 0x10000) {
      put16(c);
    } else {
      put16(0xD800 + ((c - 0x10000) >> 10));
      put16(0xDC00 + ((c - 0x10000) & 0x3FF));
    }
  }
  close();
  return out;
}

std::optional<std::string> from_mutf7(std::string_view wire) {
  std::string out;
  for (std::size_t i = 0; i < wire.size(); ++i) {
    const auto c = static_cast<unsigned char>(wire[i]);
    if (c < 0x20 || c > 0x7E) return std::nullopt;
    if (c != '&') {
      out += static_cast<char>(c);
      continue;
    }
    const auto end = wire.find('-', i);
    if (end == std::string_view::npos) return std::nullopt;
    const auto run = wire.substr(i + 1, end - i - 1);
    i = end;
    if (run.empty()) {
      out += '&';
      continue;
    }
    std::uint32_t bits = 0, high = 0;
    int held = 0;
    for (const char b : run) {
      const auto v = kAlphabet.find(b);
      if (v == std::string_view::npos) return std::nullopt;
      bits = (bits << 6) | static_cast<std::uint32_t>(v);
      held += 6;
      if (held < 16) continue;
      held -= 16;
      const std::uint32_t unit = (bits >> held) & 0xFFFF;
      bits &= (1u << held) - 1;
      if (high != 0) {
        if (unit < 0xDC00 || unit > 0xDFFF) return std::nullopt;
        put_utf8(out, 0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00));
        high = 0;
      } else if (unit >= 0xD800 && unit <= 0xDBFF) {
        high = unit;
      } else if (unit >= 0xDC00 && unit <= 0xDFFF) {
        return std::nullopt;
      } else {
        put_utf8(out, unit);
      }
    }
    if (high != 0 || held >= 6 || bits != 0) return std::nullopt;
  }
  // One name, one form: what does not encode back to itself is not well-formed (e.g. shifted ASCII).
  if (to_mutf7(out) != wire) return std::nullopt;
  return out;
}

}  // namespace imap
