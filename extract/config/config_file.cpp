#include "extract/config/config_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/text.hpp"

namespace extract {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

auto refuse(const std::string& path, std::string_view what) {
  return base::fail(base::Scope::run, base::Remedy::ask_admin, fmt::format("{}: {}", base::printable(path), what));
}

}  // namespace

base::Result<FileContent> read_config_file(const std::string& path, std::size_t max_octets) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer; regular files do not care.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) {
    const int why = errno;
    if (why == EACCES) return refuse(path, "permission denied (run as a user who may read it, for example with sudo)");
    return refuse(path, std::strerror(why));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return refuse(path, std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    return refuse(path, S_ISDIR(info.st_mode) ? "is a folder, not a file" : "is not a regular file");

  FileContent content;
  content.open_to_others = (info.st_mode & (S_IRGRP | S_IROTH)) != 0;
  const auto announced = static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0));
  const auto too_large = [&] {
    return refuse(
        path, fmt::format("is larger than {}, which is more than any such file needs", base::human_octets(max_octets)));
  };
  if (announced > max_octets) return too_large();
  content.octets.reserve(announced);
  char block[65536];
  for (;;) {
    const ssize_t n = ::read(file.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return refuse(path, std::strerror(errno));
    if (n == 0) return content;
    content.octets.append(block, static_cast<std::size_t>(n));
    if (content.octets.size() > max_octets) return too_large();  // it grew while it was read
  }
}

std::size_t line_of(const std::string& text, std::size_t offset) {
  std::size_t line = 1;
  for (std::size_t i = 0; i < std::min(offset, text.size()); ++i)
    line += text[i] == '\n' || (text[i] == '\r' && (i + 1 == text.size() || text[i + 1] != '\n'));
  return line;
}

std::size_t first_not_utf8(const std::string& text) {
  if (base::valid_utf8(text)) return std::string::npos;
  // Line ends are never part of a longer sequence, so the first bad line can be looked for line by line.
  std::size_t at = 0;
  for (;;) {
    const auto end = std::min(text.find_first_of("\r\n", at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    if (!base::valid_utf8(line)) {
      // One sequence at a time: from a lead octet up to the next octet that is not a continuation.
      std::size_t good = 0;
      for (std::size_t k = 1; k <= line.size(); ++k) {
        const bool border = k == line.size() || (static_cast<unsigned char>(line[k]) & 0xC0) != 0x80;
        if (!border) continue;
        if (!base::valid_utf8(line.substr(good, k - good))) break;
        good = k;
      }
      return at + good;
    }
    if (end == text.size()) return std::string::npos;
    at = end + 1;
  }
}

}  // namespace extract
