#include "pipeline/cli/terminal.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <csignal>
#include <cstdio>
#include <mutex>

#include "base/result.hpp"
#include "pipeline/progress.hpp"

namespace pipeline {

namespace json = boost::json;

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

void Terminal::clear() { drawn_ = redraw(stderr, drawn_, {}); }

void Terminal::line(const std::string& text) {
  clear();
  std::fprintf(stderr, "%s\n", text.c_str());
}

void Terminal::show(const json::object& snapshot, std::chrono::milliseconds now) {
  const std::string stage(snapshot.at("stage").as_string());
  if (stage != stage_) {
    stage_ = stage;
    last_line_ = now;
  }
  if (quiet_ || stage_.empty()) return;
  if (json_) {
    if (now - last_line_ < std::chrono::seconds(1)) return;
    last_line_ = now;
    std::fprintf(stderr, "%s\n", json::serialize(json::object{{"progress", snapshot}}).c_str());
  } else if (tty_) {
    drawn_ = redraw(stderr, drawn_, status_table(snapshot, columns(STDERR_FILENO)));
  } else if (now - last_line_ >= std::chrono::seconds(10)) {
    last_line_ = now;
    line(status_line(snapshot));
  }
}

void add_stop_signals(boost::asio::signal_set& signals) {
  signals.add(SIGINT);
  signals.add(SIGTERM);
  struct sigaction now {};
  if (sigaction(SIGHUP, nullptr, &now) == 0 && now.sa_handler != SIG_IGN) signals.add(SIGHUP);
}

std::size_t columns(int fd) {
  winsize size{};
  return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col - 1u : 79u;
}

std::size_t redraw(std::FILE* out, std::size_t drawn, const std::vector<std::string>& lines) {
  std::string text;
  if (drawn > 0) text = fmt::format("\x1b[{}A\r\x1b[J", drawn);
  for (const auto& l : lines) text += l + "\n";
  std::fputs(text.c_str(), out);
  std::fflush(out);
  return lines.size();
}

}  // namespace pipeline
