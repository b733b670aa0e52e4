// stderr for people: log lines, and a table of what is going on that stays below them on a terminal.
#pragma once

#include <boost/asio/signal_set.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace spdlog {
class logger;
}

namespace pipeline {

class Terminal {
 public:
  Terminal(bool quiet, bool json);
  // One line per message on stderr (warnings and worse; with --verbose everything) and, in full, in the log file.
  std::shared_ptr<spdlog::logger> logger(const std::string& file, bool verbose);
  // Called a few times a second; draws on a terminal, writes a line every ten seconds elsewhere.
  void show(const boost::json::object& snapshot, std::chrono::milliseconds now);
  void clear();
  void line(const std::string& text);  // talk, to stderr

 private:
  bool quiet_, json_, tty_;
  std::size_t drawn_ = 0;  // lines of the table that stand on the terminal
  std::string stage_;
  std::chrono::milliseconds last_line_{0};
};

// What asks a process to stop: SIGINT, SIGTERM, and SIGHUP, when the terminal or the line to it is gone. Started under
// nohup, which ignores SIGHUP, it goes on.
void add_stop_signals(boost::asio::signal_set& signals);
// What fits on a line of the terminal `fd`.
std::size_t columns(int fd);
// Puts `lines` where `drawn` lines stood; how many stand there now.
std::size_t redraw(std::FILE* out, std::size_t drawn, const std::vector<std::string>& lines);

}  // namespace pipeline
