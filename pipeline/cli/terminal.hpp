// stderr for people: log lines, and one progress line that stays below them on a terminal.
#pragma once

#include <memory>
#include <string>

#include "pipeline/migration.hpp"

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
  void show(const Progress& p, std::chrono::milliseconds now);
  void clear();
  void line(const std::string& text);  // talk, to stderr

 private:
  std::string text(const Progress& p, std::chrono::milliseconds now);
  bool quiet_, json_, tty_;
  bool drawn_ = false;
  std::string stage_;
  std::chrono::milliseconds stage_began_{0}, last_line_{0};
  std::uint64_t settled_before_ = 0;
};

}  // namespace pipeline
