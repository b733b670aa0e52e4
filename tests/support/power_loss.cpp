// Fortified headers define open() themselves; here it is ours to define.
#undef _FORTIFY_SOURCE
#include "tests/support/power_loss.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

namespace fs = std::filesystem;

namespace test {
namespace {

std::atomic<PowerLoss*> active{nullptr};

constexpr std::uint64_t kSector = 512;

std::string content(const fs::path& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(all).str();
}

void put(std::string& file, std::uint64_t offset, std::string_view octets) {
  if (file.size() < offset + octets.size()) file.resize(offset + octets.size());
  std::copy(octets.begin(), octets.end(), file.begin() + static_cast<std::ptrdiff_t>(offset));
}

}  // namespace

PowerLoss::PowerLoss(const std::string& root) : root_(fs::canonical(root).string()) {
  power_on();
  active = this;
}

PowerLoss::~PowerLoss() { active = nullptr; }

void PowerLoss::power_on() {
  names_.clear();
  open_.clear();
  operations_ = cut_before_ = 0;
  off_ = lies_ = false;
  for (const auto& entry : fs::recursive_directory_iterator(root_)) {
    auto file = std::make_shared<File>();
    file->folder = entry.is_directory();
    if (!file->folder) file->durable = content(entry.path());
    names_[entry.path().string()].durable = std::move(file);
  }
}

void PowerLoss::cut_before(std::uint64_t n) {
  const std::lock_guard lock(mutex_);
  cut_before_ = operations_ + n;
}

void PowerLoss::cut() {
  const std::lock_guard lock(mutex_);
  off_ = true;
}

bool PowerLoss::off() const {
  const std::lock_guard lock(mutex_);
  return off_;
}

std::uint64_t PowerLoss::operations() const {
  const std::lock_guard lock(mutex_);
  return operations_;
}

void PowerLoss::lie() {
  const std::lock_guard lock(mutex_);
  lies_ = true;
}

bool PowerLoss::counts() {
  if (off_) return false;
  if (++operations_ == cut_before_) off_ = true;
  return !off_;
}

bool PowerLoss::holds(const std::string& path) const { return path.starts_with(root_ + "/") || path == root_; }

void PowerLoss::opened(int fd, const std::string& path, bool created, bool emptied) {
  const std::lock_guard lock(mutex_);
  auto& name = names_[path];
  if (created && counts()) name.unsynced.emplace_back(operations_, std::make_shared<File>());
  auto file = name.now();
  // Made after the cut, or the root itself.
  if (file == nullptr) {
    file = std::make_shared<File>();
    file->folder = path == root_;
  }
  if (emptied && !created && counts()) file->unsynced.push_back({operations_, 0, {}, true});
  open_[fd] = {std::move(file), path};
}

void PowerLoss::closed(int fd) {
  const std::lock_guard lock(mutex_);
  open_.erase(fd);
}

void PowerLoss::wrote(int fd, std::uint64_t offset, std::string_view octets) {
  const std::lock_guard lock(mutex_);
  const auto o = open_.find(fd);
  if (o == open_.end() || !counts()) return;
  o->second.file->unsynced.push_back({operations_, offset, std::string(octets), false});
}

void PowerLoss::shortened(int fd, std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  const auto o = open_.find(fd);
  if (o == open_.end() || !counts()) return;
  o->second.file->unsynced.push_back({operations_, size, {}, true});
}

void PowerLoss::synced(int fd) {
  const std::lock_guard lock(mutex_);
  const auto o = open_.find(fd);
  if (o == open_.end() || !counts() || lies_) return;
  File& file = *o->second.file;
  if (file.folder) {
    for (auto& [path, name] : names_) {
      if (fs::path(path).parent_path() != o->second.path) continue;
      name.durable = name.now();
      name.unsynced.clear();
    }
    return;
  }
  for (const auto& c : file.unsynced) {
    if (c.truncates) file.durable.resize(c.offset);
    else put(file.durable, c.offset, c.octets);
  }
  file.unsynced.clear();
}

void PowerLoss::made_folder(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (!counts()) return;
  auto file = std::make_shared<File>();
  file->folder = true;
  names_[path].unsynced.emplace_back(operations_, std::move(file));
}

void PowerLoss::removed(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (!counts()) return;
  names_[path].unsynced.emplace_back(operations_, nullptr);
}

void PowerLoss::lose_power(std::uint64_t seed, Order order) {
  active = nullptr;  // what we write here is the disk, not a process writing to it
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t n) { return random() % n; };
  // Some cuts lose nearly everything, some nearly nothing.
  const std::uint64_t kept_of_8 = below(9);
  const std::uint64_t moment = order == Order::prefix ? below(operations_ + 1) : operations_;
  const auto keep = [&](std::uint64_t when) { return order == Order::prefix ? when <= moment : below(8) < kept_of_8; };
  const auto left_of = [&](const File& file) {
    std::string left = file.durable;
    for (const auto& c : file.unsynced) {
      if (c.truncates) {
        if (keep(c.when)) left.resize(c.offset);
      } else if (keep(c.when)) {
        put(left, c.offset, c.octets);
      } else if (order == Order::any) {
        const auto what = below(3);
        if (what == 0) continue;
        // The file's size got there and the octets did not.
        const auto size = static_cast<std::size_t>(c.offset + c.octets.size());
        if (what == 1 && left.size() < size) left.resize(size);
        if (what == 1) continue;
        // Torn: some of its sectors.
        for (std::uint64_t at = 0; at < c.octets.size();) {
          const std::uint64_t n = std::min<std::uint64_t>(kSector - (c.offset + at) % kSector, c.octets.size() - at);
          if (below(2) == 0) put(left, c.offset + at, std::string_view(c.octets).substr(at, n));
          at += n;
        }
      }
    }
    return left;
  };
  for (const auto& [path, name] : names_) {  // a folder comes before what is in it
    if (path == root_) continue;
    FilePtr left = name.durable;
    for (const auto& [when, file] : name.unsynced) {
      if (keep(when)) left = file;
    }
    if (left == nullptr || !fs::exists(fs::path(path).parent_path())) {
      fs::remove_all(path);
    } else if (left->folder) {
      if (!fs::exists(path)) fs::create_directory(path);
    } else if (const auto octets = left_of(*left); !fs::exists(path) || content(path) != octets) {
      std::ofstream(path, std::ios::binary | std::ios::trunc) << octets;
      fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    }
  }
  power_on();
  active = this;
}

namespace {

// The path as the kernel has it: without "..", with links followed.
std::string path_of(int fd) {
  char path[4096];
  const auto n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  return n <= 0 ? std::string() : std::string(path, static_cast<std::size_t>(n));
}

int open_file(const char* path, int flags, mode_t mode) {
  PowerLoss* disk = active;
  // The kernel's number for O_LARGEFILE is of no concern on 64 bits.
  struct stat st {};
  const bool created = disk != nullptr && (flags & O_CREAT) != 0 && ::lstat(path, &st) != 0;
  const int fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  if (fd < 0 || disk == nullptr) return fd;
  const int error = errno;
  if (const auto real = path_of(fd); disk->holds(real)) disk->opened(fd, real, created, (flags & O_TRUNC) != 0);
  errno = error;
  return fd;
}

ssize_t write_at(int fd, const void* octets, std::size_t size, off_t offset) {
  const auto n = static_cast<ssize_t>(::syscall(SYS_pwrite64, fd, octets, size, offset));
  if (PowerLoss* disk = active; disk != nullptr && n > 0)
    disk->wrote(fd, static_cast<std::uint64_t>(offset),
                {static_cast<const char*>(octets), static_cast<std::size_t>(n)});
  return n;
}

int shorten(int fd, off_t size) {
  const int rc = static_cast<int>(::syscall(SYS_ftruncate, fd, size));
  if (PowerLoss* disk = active; disk != nullptr && rc == 0) disk->shortened(fd, static_cast<std::uint64_t>(size));
  return rc;
}

// A real sync is of no use to a test.
int sync_file(int fd) {
  if (PowerLoss* disk = active; disk != nullptr) disk->synced(fd);
  return 0;
}

std::string absolute(const char* path) { return fs::weakly_canonical(path).string(); }

}  // namespace
}  // namespace test

// In front of the kernel. An executable's own definition comes before that of a shared library, for SQLite too.
extern "C" {

int open(const char* path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : mode_t{0};
  va_end(args);
  return test::open_file(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const auto mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(args, mode_t) : mode_t{0};
  va_end(args);
  return test::open_file(path, flags, mode);
}

int close(int fd) {
  if (test::PowerLoss* disk = test::active; disk != nullptr) disk->closed(fd);
  return static_cast<int>(::syscall(SYS_close, fd));
}

ssize_t write(int fd, const void* octets, std::size_t size) {
  const auto n = static_cast<ssize_t>(::syscall(SYS_write, fd, octets, size));
  test::PowerLoss* disk = test::active;
  if (disk == nullptr || n <= 0) return n;
  const int error = errno;
  const off_t end = ::lseek(fd, 0, SEEK_CUR);  // of a pipe or a socket: none, and it is not in the folder
  if (end >= n)
    disk->wrote(fd, static_cast<std::uint64_t>(end - n),
                {static_cast<const char*>(octets), static_cast<std::size_t>(n)});
  errno = error;
  return n;
}

ssize_t pwrite(int fd, const void* octets, std::size_t size, off_t offset) {
  return test::write_at(fd, octets, size, offset);
}
ssize_t pwrite64(int fd, const void* octets, std::size_t size, off64_t offset) {
  return test::write_at(fd, octets, size, offset);
}
int ftruncate(int fd, off_t size) noexcept { return test::shorten(fd, size); }
int ftruncate64(int fd, off64_t size) noexcept { return test::shorten(fd, size); }
int fsync(int fd) { return test::sync_file(fd); }
int fdatasync(int fd) { return test::sync_file(fd); }

int mkdir(const char* path, mode_t mode) noexcept {
  const int rc = static_cast<int>(::syscall(SYS_mkdir, path, mode));
  test::PowerLoss* disk = test::active;
  if (disk == nullptr || rc != 0) return rc;
  if (const auto real = test::absolute(path); disk->holds(real)) disk->made_folder(real);
  return rc;
}

int unlink(const char* path) noexcept {
  test::PowerLoss* disk = test::active;
  const auto real = disk == nullptr ? std::string() : test::absolute(path);
  const int rc = static_cast<int>(::syscall(SYS_unlink, path));
  const int error = errno;
  if (disk != nullptr && rc == 0 && disk->holds(real)) disk->removed(real);
  errno = error;
  return rc;
}

int rename(const char* from, const char* to) noexcept {
  test::PowerLoss* disk = test::active;
  if (disk != nullptr && (disk->holds(test::absolute(from)) || disk->holds(test::absolute(to)))) {
    std::fputs("rename() is not modelled by tests/support/power_loss.cpp yet\n", stderr);
    std::abort();
  }
  return static_cast<int>(::syscall(SYS_rename, from, to));
}

}  // extern "C"
