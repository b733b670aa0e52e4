#include "pipeline/report/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ext/stdio_filebuf.h>
#include <filesystem>
#include <functional>
#include <ostream>

#include "pipeline/report/csv.hpp"
#include "pipeline/report/fields.hpp"
#include "pipeline/report/notes.hpp"
#include "pipeline/report/report.hpp"

namespace pipeline {
namespace {

enum class Appears : std::uint8_t {
  whole,     // nobody ever reads half of it: it gets its name when it is whole
  directly,  // of tens of thousands, for half the time; cut off only if the process dies in that moment
};

// A file of ours and no other: in a folder where others may write, a link of that name would lead our octets into
// somebody's file. Its descriptor, or -1.
int make_new(const std::string& path) {
  const auto make = [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666); };
  const int fd = make();
  if (fd >= 0 || errno != EEXIST || ::unlink(path.c_str()) != 0) return fd;
  return make();
}

// What is wrong; empty: nothing.
std::string save(const std::string& path, Appears how, const std::function<void(std::ostream&)>& write) {
  const std::string part = how == Appears::whole ? path + ".part" : path;
  bool written = false;
  if (const int fd = make_new(part); fd >= 0) {
    errno = 0;
    __gnu_cxx::stdio_filebuf<char> buffer(fd, std::ios::out | std::ios::binary);  // never opened by its name again
    std::ostream file(&buffer);
    write(file);
    written = file.good() && buffer.close() != nullptr;
  }
  if (written && (part == path || std::rename(part.c_str(), path.c_str()) == 0)) return {};
  const int why = errno;
  std::remove(part.c_str());
  return fmt::format(
      "Could not write {}: {}. Nothing is lost by that: make room, and \"4d2kms report\" writes the same.", path,
      std::strerror(why));
}

}  // namespace

std::vector<std::string> write_report(const std::string& folder, const ReportSource& from,
                                      const std::set<std::string>& formats) {
  std::vector<std::string> problems;
  std::error_code ignored;  // each file says what is wrong
  std::filesystem::create_directories(formats.contains("notes") ? folder + "/notes" : folder, ignored);
  const auto& r = from.report;
  const auto one = [&](const std::string& name, const std::function<void(std::ostream&)>& write,
                       Appears how = Appears::whole) {
    auto problem = save(folder + "/" + name, how, write);
    if (!problem.empty()) problems.push_back(std::move(problem));
  };
  const std::string run = fmt::format("run-{}", number(part(r, "run"), "number"));
  if (formats.contains("json")) one(run + ".json", [&](std::ostream& o) { o << from.file; });
  if (formats.contains("text")) one(run + ".txt", [&](std::ostream& o) { o << report_text(r); });
  if (formats.contains("html")) one(run + ".html", [&](std::ostream& o) { o << report_html(r); });
  if (formats.contains("csv")) {
    one(run + "-accounts.csv", [&](std::ostream& o) { accounts_csv(r, o); });
    one(run + "-mailboxes.csv", [&](std::ostream& o) { mailboxes_csv(r, o); });
    one(run + "-messages.csv", [&](std::ostream& o) { messages_csv(r, from.ledger, o); });
    one(run + "-differences.csv", [&](std::ostream& o) { differences_csv(r, from.verified, o); });
  }
  if (formats.contains("notes"))
    each_note(r, [&](const UserNote& n) {
      const std::string name = "notes/" + note_file_name(n.address);
      const auto before = problems.size();
      one(
          name + ".txt", [&](std::ostream& o) { o << n.text; }, Appears::directly);
      if (problems.size() == before)
        one(
            name + ".html", [&](std::ostream& o) { o << n.html; }, Appears::directly);
      return problems.size() == before;  // the next ones would fare no better
    });
  return problems;
}

}  // namespace pipeline
