#include "pipeline/wizard/files.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/text.hpp"

namespace pipeline::wizard {

namespace fs = std::filesystem;
using base::Remedy;
using base::Scope;

namespace {
constexpr std::size_t kMostEntries = 1000;
}

Files::Files(const std::string& root) {
  std::error_code ec;
  root_ = fs::canonical(root, ec);
  if (ec)
    throw base::Failed(
        {Scope::run, Remedy::ask_admin,
         fmt::format("The folder {} cannot be used: {}. Give another one with --files.", root, ec.message()),
         base::Exit::usage});
}

base::Result<std::string> Files::resolve(const std::string& path) const {
  std::error_code ec;
  const fs::path real = fs::canonical(path.empty() ? root_ : path, ec);
  const std::string prefix = root_ == "/" ? root_ : root_ + "/";
  // Whether it is there at all is told of what is below the root only.
  if (ec || path.find('\0') != std::string::npos || !(real == root_ || real.string().starts_with(prefix)))
    return base::fail(Scope::run, Remedy::ask_admin,
                      fmt::format("There is no such file below {}.", base::printable(root_)));
  return real.string();
}

base::Result<Folder> Files::list(const std::string& path) const {
  Folder out;
  TRY(out.path, resolve(path));
  if (out.path != root_) out.above = fs::path(out.path).parent_path();
  std::error_code ec;
  for (fs::directory_iterator it(out.path, ec), end; !ec && it != end && out.entries.size() < kMostEntries;
       it.increment(ec)) {
    const std::string name = it->path().filename();
    std::error_code unknown;
    if (!name.starts_with('.') && base::valid_utf8(name)) out.entries.push_back({name, it->is_directory(unknown)});
  }
  if (ec)
    return base::fail(Scope::run, Remedy::ask_admin, fmt::format("That folder cannot be read: {}.", ec.message()));
  std::sort(out.entries.begin(), out.entries.end(), [](const auto& a, const auto& b) {
    return std::make_pair(!a.folder, base::lower(a.name)) < std::make_pair(!b.folder, base::lower(b.name));
  });
  return out;
}

MemoryFile::MemoryFile(std::string_view octets) : fd_(memfd_create("roster", MFD_CLOEXEC)) {
  bool good = fd_ >= 0 && ::fchmod(fd_, 0600) == 0;
  while (good && !octets.empty()) {
    const auto n = ::write(fd_, octets.data(), octets.size());
    good = n > 0;
    if (good) octets.remove_prefix(static_cast<std::size_t>(n));
  }
  if (good) return;
  const int why = errno;
  if (fd_ >= 0) ::close(fd_);
  throw base::Failed(
      {Scope::run, Remedy::ask_admin, fmt::format("The file could not be kept in memory: {}.", std::strerror(why))});
}

MemoryFile::~MemoryFile() { ::close(fd_); }

std::string MemoryFile::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

}  // namespace pipeline::wizard
