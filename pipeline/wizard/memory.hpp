// What the wizard knows beside what was chosen: the source's configuration as it was read, and what the state remembers
// of plans and runs, those of processes before this one included. All of it may take a while: off the loop.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "pipeline/settings.hpp"
#include "pipeline/wizard/pages.hpp"
#include "state/ledger.hpp"

namespace pipeline::wizard {

// The source's configuration, as its page shows it.
struct Configuration {
  bool good = false;
  std::string summary, error, tree;
  std::size_t post_offices = 0, accounts = 0;
  std::uint16_t imap_port = 0;
};
Configuration read_configuration(const Settings& settings);

// What the state remembers of runs before this process.
struct Remembered {
  boost::json::object plan, digest, results;
  std::int64_t plan_number = 0;
  bool interrupted = false;
  std::vector<AccountLine> lines;
};
Remembered remembered(state::Db& db);

// What decides what a plan says, one a line.
std::string decisions(const Options& options);
// Whether a plan that was made with `was` still is what would be planned with `now`. More accounts may be left out of
// it, as "load --exclude" does.
bool still_decides(const std::string& was, const std::string& now);

std::string read_file(const std::string& path);  // empty: there is none
// Whole or not at all; for its owner only. Throws Failed.
void write_file(const std::string& path, const std::string& text);

}  // namespace pipeline::wizard
