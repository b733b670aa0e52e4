// The command line as design and manual have it.
#pragma once

#include <optional>
#include <string>

#include "pipeline/settings.hpp"

namespace pipeline {

struct CommandLine {
  std::string command;  // "run", "plan", ...; "usage": only the brief instructions were due
  Settings settings;
  std::optional<std::int64_t> plan;
  std::optional<std::int64_t> run;
  int exit = -1;  // >= 0: everything has been said (--help, --version, a usage error)
};

// Wipes a --target-pass in argv before anything else sees it (S23).
CommandLine parse_command_line(int argc, char** argv);

}  // namespace pipeline
