#include "pipeline/cli/terminal.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>

#include "base/text.hpp"

namespace pipeline {
namespace {

class StderrSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit StderrSink(Terminal& terminal) : terminal_(terminal) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& m) override {
    const char* prefix = m.level >= spdlog::level::err ? "error: " : m.level == spdlog::level::warn ? "warning: " : "";
    terminal_.line(fmt::format("{}{}", prefix, std::string_view(m.payload.data(), m.payload.size())));
  }
  void flush_() override {}

 private:
  Terminal& terminal_;
};

}  // namespace

Terminal::Terminal(bool quiet, bool json) : quiet_(quiet), json_(json), tty_(isatty(STDERR_FILENO) == 1) {}

std::shared_ptr<spdlog::logger> Terminal::logger(const std::string& file, bool verbose) {
  std::vector<spdlog::sink_ptr> sinks;
  auto err = std::make_shared<StderrSink>(*this);
  err->set_level(quiet_ ? spdlog::level::err : verbose ? spdlog::level::debug : spdlog::level::warn);
  sinks.push_back(err);
  if (!file.empty()) {
    try {
      auto to_file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file);
      to_file->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
      sinks.push_back(to_file);
    } catch (const spdlog::spdlog_ex& e) {
      throw base::Failed(
          {base::Scope::run, base::Remedy::ask_admin,
           fmt::format("Could not write the log: {}. Give another place with --log-file FILE.", e.what())});
    }
  }
  auto log = std::make_shared<spdlog::logger>("4d2kms", sinks.begin(), sinks.end());
  log->set_level(verbose ? spdlog::level::debug : spdlog::level::info);
  log->flush_on(spdlog::level::info);
  return log;
}

void Terminal::clear() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
}

void Terminal::line(const std::string& text) {
  clear();
  std::fprintf(stderr, "%s\n", text.c_str());
}

std::string Terminal::text(const Progress& p, std::chrono::milliseconds now) {
  const auto elapsed = now - stage_began_;
  std::string out;
  if (p.stage == "copy" || p.stage == "verify") {
    const std::uint64_t done = p.stage == "copy" ? p.load.settled - settled_before_ : p.verified;
    const double seconds = std::max(0.001, static_cast<double>(elapsed.count()) / 1000);
    const double rate = static_cast<double>(done) / seconds;
    out = fmt::format("{}: {} of {} messages", p.stage, base::human_count(done), base::human_count(p.total));
    if (p.stage == "copy") out += fmt::format(", {}", base::human_octets(p.load.octets));
    out += fmt::format(", {:.0f} a second", rate);
    if (rate > 0.5 && p.total > done)
      out += fmt::format(", about {} to go", base::human_duration(std::chrono::milliseconds(static_cast<std::int64_t>(
                                                 static_cast<double>(p.total - done) / rate * 1000))));
    out += fmt::format("; {} running, {} of {} accounts done", p.running, p.accounts_done, p.accounts);
  } else {
    out = fmt::format("{}: {} of {} accounts done, {} running", p.stage, p.accounts_done, p.accounts, p.running);
  }
  if (!p.waiting.empty()) out += "; waiting " + p.waiting;
  return out;
}

void Terminal::show(const Progress& p, std::chrono::milliseconds now) {
  if (p.stage != stage_) {
    stage_ = p.stage;
    stage_began_ = last_line_ = now;
    settled_before_ = p.load.settled;
  }
  if (quiet_ || stage_.empty()) return;
  if (json_) {
    if (now - last_line_ < std::chrono::seconds(1)) return;
    last_line_ = now;
    boost::json::object o{
        {"progress", p.stage},    {"accounts_done", p.accounts_done},
        {"accounts", p.accounts}, {"messages_done", p.stage == "verify" ? p.verified : p.load.settled},
        {"messages", p.total},    {"octets", p.load.octets},
        {"waiting", p.waiting}};
    std::fprintf(stderr, "%s\n", boost::json::serialize(o).c_str());
  } else if (tty_) {
    std::fprintf(stderr, "\r\x1b[K%s", text(p, now).substr(0, 200).c_str());
    std::fflush(stderr);
    drawn_ = true;
  } else if (now - last_line_ >= std::chrono::seconds(10)) {
    last_line_ = now;
    line(text(p, now));
  }
}

}  // namespace pipeline
