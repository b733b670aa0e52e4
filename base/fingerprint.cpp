#include "base/fingerprint.hpp"

#include <algorithm>
#include <cstring>

#include "base/result.hpp"
#include "base/text.hpp"

namespace base {
namespace {

constexpr std::size_t kBlock = 16 * 1024;

// Looked up once: that takes longer than the digest of a small message.
const EVP_MD* sha256() {
  static const std::unique_ptr<EVP_MD, void (*)(EVP_MD*)> algorithm(EVP_MD_fetch(nullptr, "SHA256", nullptr),
                                                                    EVP_MD_free);
  return algorithm.get();
}

EVP_MD_CTX* fresh() {
  EVP_MD_CTX* c = EVP_MD_CTX_new();
  if (c == nullptr || EVP_DigestInit_ex2(c, sha256(), nullptr) != 1)
    throw Failed({Scope::run, Remedy::ask_admin, "OpenSSL has no SHA-256.", Exit::failed});
  return c;
}

}  // namespace

std::size_t DigestHash::operator()(const Digest& d) const noexcept {
  std::size_t h = 0;
  std::memcpy(&h, d.data(), sizeof h);
  return h;
}

Sha256::Sha256() : context_(fresh(), EVP_MD_CTX_free) {}
void Sha256::add(std::string_view octets) { EVP_DigestUpdate(context_.get(), octets.data(), octets.size()); }
Digest Sha256::finish() {
  Digest d{};
  unsigned int n = 0;
  EVP_DigestFinal_ex(context_.get(), d.data(), &n);
  return d;
}
std::string Sha256::hex() {
  const Digest d = finish();
  return base::hex({reinterpret_cast<const char*>(d.data()), d.size()});
}

void LineEnds::note(Odd what) {
  odd_ += static_cast<char>(what);
  odd_.append(reinterpret_cast<const char*>(&at_), sizeof at_);
  if (odd_.size() < kBlock) return;
  digest_.add(odd_);
  odd_.clear();
}

void LineEnds::octet(char c) {
  if (cr_ && c != '\n') note(Odd::cr);
  if (!cr_ && c == '\n') note(Odd::lf);
  if (c == '\0') note(Odd::nul);
  cr_ = c == '\r';
  if (!cr_) ++at_;
}

void LineEnds::add(std::string_view octets) {
  const bool any_nul = octets.find('\0') != std::string_view::npos;
  while (!octets.empty()) {
    // As almost all there is: a line without anything odd, and its CRLF.
    const auto cr = octets.find('\r');
    const auto text = octets.substr(0, cr);
    const bool odd = cr_ || octets.substr(text.size(), 2) != "\r\n" || text.find('\n') != std::string_view::npos ||
                     (any_nul && text.find('\0') != std::string_view::npos);
    const auto taken = odd ? std::max<std::size_t>(text.size(), 1) : text.size() + 2;
    if (odd)
      for (const char c : octets.substr(0, taken)) octet(c);
    else at_ += text.size() + 1;
    octets.remove_prefix(taken);
  }
}

Digest LineEnds::finish(const Digest& e1) {
  if (cr_) note(Odd::cr);
  odd_.append(reinterpret_cast<const char*>(&at_), sizeof at_);
  odd_.append(reinterpret_cast<const char*>(e1.data()), e1.size());
  digest_.add(odd_);
  return digest_.finish();
}

Fingerprinter::Fingerprinter(E1x when) : when_(when) {}

void Fingerprinter::flush() {
  e1_.add(pending_);
  e1x_.add(pending_x_);
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
  line_ends_.add(octets);
  if (in_header_) octets = header(octets);
  body(octets);
}

Fingerprint Fingerprinter::finish() {
  flush();
  Fingerprint f;
  f.octets = octets_;
  f.header_8bit = header_8bit_;
  f.e1 = e1_.finish();
  const Digest e0 = line_ends_.finish(f.e1);
  std::copy_n(e0.begin(), f.e0.size(), f.e0.begin());
  if (when_ == E1x::always || header_8bit_) f.e1x = e1x_.finish();
  return f;
}

Fingerprint fingerprint(std::string_view octets, Fingerprinter::E1x when) {
  Fingerprinter f(when);
  f.add(octets);
  return f.finish();
}

}  // namespace base
