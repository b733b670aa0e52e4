// The command line as design and manual have it.
#pragma once

#include <optional>
#include <string>

#include "pipeline/control.hpp"
#include "pipeline/settings.hpp"

namespace pipeline {

struct CommandLine {
  std::string command;  // "run", "plan", ...; "usage": only the brief instructions were due
  Settings settings;
  std::optional<std::int64_t> plan;
  std::optional<std::int64_t> run;
  std::pair<std::int64_t, std::int64_t> diff{0, 0};
  TuneRequest tune;
  bool watch = false;
  std::string format, output;  // of a report; empty: text, on standard output
  std::string against;         // verify: a report's JSON file
  int exit = -1;               // >= 0: everything has been said (--help, --version, a usage error)
};

// Takes a --target-pass out of argv before anything else sees it (S23).
CommandLine parse_command_line(int argc, char** argv);

}  // namespace pipeline
