#include "base/fingerprint.hpp"

#include <algorithm>
#include <cstring>

#include "base/result.hpp"
#include "base/text.hpp"

namespace base {
namespace {

constexpr std::size_t kBlock = 16 * 1024;

EVP_MD_CTX* fresh() {
  EVP_MD_CTX* c = EVP_MD_CTX_new();
  if (c == nullptr || EVP_DigestInit_ex(c, EVP_sha256(), nullptr) != 1)
    throw Failed({Scope::run, Remedy::ask_admin, "OpenSSL has no SHA-256.", Exit::failed});
  return c;
}

Digest end(EVP_MD_CTX* c) {
  Digest d{};
  unsigned int n = 0;
  EVP_DigestFinal_ex(c, d.data(), &n);
  return d;
}

}  // namespace

std::size_t DigestHash::operator()(const Digest& d) const noexcept {
  std::size_t h = 0;
  std::memcpy(&h, d.data(), sizeof h);
  return h;
}

Sha256::Sha256() : context_(fresh(), EVP_MD_CTX_free) {}
void Sha256::add(std::string_view octets) { EVP_DigestUpdate(context_.get(), octets.data(), octets.size()); }
Digest Sha256::finish() { return end(context_.get()); }
std::string Sha256::hex() {
  const Digest d = finish();
  return base::hex({reinterpret_cast<const char*>(d.data()), d.size()});
}

Fingerprinter::Fingerprinter(E1x when) : when_(when), e0_(fresh()), e1_(fresh()), e1x_(fresh()) {}

void Fingerprinter::flush() {
  EVP_DigestUpdate(e1_.get(), pending_.data(), pending_.size());
  EVP_DigestUpdate(e1x_.get(), pending_x_.data(), pending_x_.size());
  pending_.clear();
  pending_x_.clear();
}

// What has been held back is followed by text, so it was not at the end.
void Fingerprinter::release_lfs() {
  static constexpr std::string_view kLfs = "\n\n\n\n\n\n\n\n";
  while (held_lfs_ > 0) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(held_lfs_, kLfs.size()));
    put(kLfs.substr(0, n));
    held_lfs_ -= n;
  }
}

void Fingerprinter::put(std::string_view s) {
  pending_ += s;
  if (when_ == E1x::always || header_8bit_ || in_header_) pending_x_ += s;
  if (pending_.size() >= kBlock) flush();
}

void Fingerprinter::header_line(std::string_view text) {
  release_lfs();
  pending_ += text;
  for (const char c : text) {
    const bool eight = static_cast<unsigned char>(c) >= 0x80;
    header_8bit_ = header_8bit_ || eight;
    pending_x_ += eight || c == '?' || c == 'X' ? 'X' : c;
  }
  if (pending_.size() >= kBlock) flush();
}

// Up to the end of the header; what is left is the body's.
std::string_view Fingerprinter::header(std::string_view octets) {
  while (!octets.empty() && in_header_) {
    // The longest run without CR, LF or NUL; memchr three times is faster than a loop over octets.
    std::size_t run = std::min(octets.size(), kBlock);
    for (const char c : {'\n', '\r', '\0'})
      if (const void* at = std::memchr(octets.data(), c, run))
        run = static_cast<std::size_t>(static_cast<const char*>(at) - octets.data());
    if (run > 0) {
      header_line(octets.substr(0, run));
      line_empty_ = false;
      octets.remove_prefix(run);
      continue;
    }
    const char c = octets.front();
    octets.remove_prefix(1);
    if (c == '\0') {
      header_line("\x80");
      line_empty_ = false;
    } else if (c == '\n') {
      ++held_lfs_;
      if (line_empty_) in_header_ = false;
      line_empty_ = true;
    }
  }
  return octets;
}

// Line ends are most of what there is to look at: whole lines are put, their LF with them.
void Fingerprinter::body(std::string_view octets) {
  while (!octets.empty()) {
    auto block = octets.substr(0, kBlock);
    octets.remove_prefix(block.size());
    const auto last = block.find_last_not_of("\r\n");
    const auto text = block.substr(0, last == std::string_view::npos ? 0 : last + 1);
    const auto ends = block.substr(text.size());
    if (!text.empty()) {
      release_lfs();
      const bool any_nul = std::memchr(text.data(), '\0', text.size()) != nullptr;
      for (auto rest = text; !rest.empty();) {
        const auto cr = std::min(rest.find('\r'), rest.size());
        const auto line = rest.substr(0, cr);
        rest.remove_prefix(std::min(cr + 1, rest.size()));
        if (!any_nul) {
          put(line);
          continue;
        }
        std::string changed(line);
        std::replace(changed.begin(), changed.end(), '\0', '\x80');
        put(changed);
      }
    }
    held_lfs_ += static_cast<std::uint64_t>(std::count(ends.begin(), ends.end(), '\n'));
  }
}

void Fingerprinter::add(std::string_view octets) {
  octets_ += octets.size();
  EVP_DigestUpdate(e0_.get(), octets.data(), octets.size());
  if (in_header_) octets = header(octets);
  body(octets);
}

Fingerprint Fingerprinter::finish() {
  flush();
  Fingerprint f;
  f.octets = octets_;
  f.header_8bit = header_8bit_;
  f.e1 = end(e1_.get());
  const Digest e0 = end(e0_.get());
  std::copy_n(e0.begin(), f.e0.size(), f.e0.begin());
  if (when_ == E1x::always || header_8bit_) f.e1x = end(e1x_.get());
  return f;
}

Fingerprint fingerprint(std::string_view octets, Fingerprinter::E1x when) {
  Fingerprinter f(when);
  f.add(octets);
  return f.finish();
}

}  // namespace base
