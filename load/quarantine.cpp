#include "load/quarantine.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>

#include "base/result.hpp"
#include "base/text.hpp"

namespace load {
namespace {

[[noreturn]] void fail(const std::string& path) {
  throw base::Failed(
      {base::Scope::run, base::Remedy::ask_admin,
       fmt::format(
           "Could not keep a refused message in {}: {}. Nothing more is sent; the message stays pending. Make room or "
           "give write access, then run again.",
           path, std::strerror(errno)),
       base::Exit::state_unusable});
}

int create(const std::string& path) {
  ::unlink(path.c_str());  // of an earlier attempt
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) fail(path);
  return fd;
}

void write_to(int fd, std::string_view octets, const std::string& path) {
  while (!octets.empty()) {
    const auto n = ::write(fd, octets.data(), octets.size());
    if (n < 0 && errno != EINTR) fail(path);
    if (n > 0) octets.remove_prefix(static_cast<std::size_t>(n));
  }
}

void sync_and_close(int fd, const std::string& path) {
  const bool ok = ::fsync(fd) == 0;
  if (::close(fd) != 0 || !ok) fail(path);
}

}  // namespace

QuarantineFile::QuarantineFile(const std::string& directory, state::MessageId id)
    : directory_(directory), path_(fmt::format("{}/{}.eml", directory, id.value)) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) fail(directory);
  fd_ = create(path_);
}

QuarantineFile::~QuarantineFile() {
  if (fd_ >= 0) ::close(fd_);
}

void QuarantineFile::write(std::string_view octets) { write_to(fd_, octets, path_); }

std::string QuarantineFile::finish(const QuarantineNote& note) {
  sync_and_close(std::exchange(fd_, -1), path_);
  const std::string json_path = path_.substr(0, path_.size() - 4) + ".json";
  boost::json::object o;
  o["account"] = base::printable(note.account);
  o["mailbox"] = base::printable(note.mailbox);
  o["uid"] = note.uid.value;
  o["reason"] = base::printable(note.reason);
  o["server"] = base::printable(note.server_words);
  o["retry"] = fmt::format("4d2kms retry --only '{}'", base::printable(note.account));
  const int fd = create(json_path);
  write_to(fd, boost::json::serialize(o) + "\n", json_path);
  sync_and_close(fd, json_path);
  // The names too: a file without its folder entry is no file after a power cut.
  for (const std::string& folder : {directory_, directory_ + "/.."}) {
    const int d = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d < 0) fail(folder);
    sync_and_close(d, folder);
  }
  return path_;
}

std::string quarantine(const std::string& directory, state::MessageId id, const QuarantineNote& note,
                       std::string_view octets) {
  QuarantineFile file(directory, id);
  file.write(octets);
  return file.finish(note);
}

}  // namespace load
