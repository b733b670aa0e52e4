// The command line as design and manual have it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/control.hpp"
#include "pipeline/settings.hpp"

namespace pipeline {

// By name, without the dashes; in the order they were given. No secret is among them.
using Options = std::vector<std::pair<std::string, std::string>>;

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
  int port = 0;                // wizard: 0: any that is free
  bool browser = true;         // wizard: open one
  std::string files;           // wizard: no file outside of it can be chosen
  Options given;               // wizard: what was said, to begin with
  int exit = -1;               // >= 0: everything has been said (--help, --version, a usage error)
};

// Takes a --target-pass out of argv before anything else sees it (S23).
CommandLine parse_command_line(int argc, char** argv);
// The same from options alone: nothing is printed and nobody asked. Throws Failed (usage).
Settings settings_from(const Options& options);

}  // namespace pipeline
