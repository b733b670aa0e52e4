// The pages, R16-R22, as text: everything that comes from outside is escaped here, and nowhere else.
//
// A page works without a mouse and says what it shows to a screen reader; it has no script and no style inside (S30).
// Forms carry data-post="/api/...": assets/wizard.js sends them as JSON and shows the answer.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <string>
#include <vector>

#include "pipeline/cli/options.hpp"
#include "pipeline/wizard/checks.hpp"
#include "pipeline/wizard/files.hpp"

namespace pipeline::wizard {

// What was given, in one place: the value of an option, or nothing.
std::string option(const Options& options, std::string_view name);
std::vector<std::string> option_list(const Options& options, std::string_view name);

// How far the pages are.
struct Steps {
  bool configuration = false, source = false, target = false, plan = false, running = false, results = false;
  bool skip_configuration = false;  // found in the default place: its page is not needed (R17)
};

struct Frame {
  std::string language, token;  // of the page: Gate::page_token()
  Steps steps;
};

struct ConfigurationView {
  Options options;
  std::string roster_name;   // of an uploaded one
  std::string mapping;       // a mapping given by hand, as JSON
  std::string summary;       // what was read, for people; empty: nothing yet
  std::string error, tree;   // why it cannot be read; its structure, without secrets
  bool lost_upload = false;  // the process was started anew: an uploaded roster is gone
  std::string files_root;
};

struct SummaryView {
  Options options;
  std::size_t post_offices = 0, accounts = 0;  // in the configuration
  boost::json::object plan;                    // digest_of() it; empty: none yet
  std::int64_t plan_number = 0;
  bool plan_outdated = false;  // what was chosen since decides otherwise
  bool interrupted = false;    // the last run did not come to its end
  bool needs_password = false;
  bool locked = false;  // a run is under way: nothing can be changed
};

struct AccountLine {
  std::string address, state, detail;  // state: "waiting", "running", "done", "failed", "skipped"
  std::uint64_t done = 0, messages = 0;
};
// One page of a long list.
struct Pageful {
  std::string query, path;  // path: where the next page comes from
  std::size_t page = 0, total = 0;
};
constexpr std::size_t kLinesOnAPage = 50;

struct ProgressView {
  bool running = false, starting = false, interrupted = false;
  std::string command, error;
  base::Exit exit = base::Exit::done;
  boost::json::object status;  // as "4d2kms status"
};

struct ResultsView {
  boost::json::object report;                                // empty: none yet
  std::vector<std::pair<std::string, std::uint64_t>> files;  // name, octets
  std::string state;
};

std::string introduction_page(const Frame& f, const std::string& state);
std::string configuration_page(const Frame& f, const ConfigurationView& v);
// `post_offices` and `accounts`: what was read of the configuration, told here because its page went by.
std::string source_page(const Frame& f, const Options& options, std::uint16_t configured_port, std::size_t post_offices,
                        std::size_t accounts);
std::string target_page(const Frame& f, const Options& options, bool has_password);
std::string summary_page(const Frame& f, const SummaryView& v, const std::string& accounts);
std::string progress_page(const Frame& f, const ProgressView& v, const std::string& accounts);
std::string results_page(const Frame& f, const ResultsView& v);
std::string message_page(const Frame& f, int status, const std::string& text);

// Of a form: what is wrong, or otherwise to be said. `english`: the migration's own words.
std::string problem(const std::string& language, const std::string& text, bool english);

// Of a plan what the head of its page shows: of 20,000 accounts it is not worked out each time.
boost::json::object digest_of(const boost::json::object& plan);

// Parts that are drawn anew while a page is open.
std::string live_panel(const std::string& language, const ProgressView& v);
std::string account_lines(const std::string& language, const std::vector<AccountLine>& lines, const Pageful& p);
std::string planned_lines(const std::string& language, const boost::json::object& plan,
                          const std::vector<std::string>& not_in_it, const Pageful& p,
                          const std::function<bool(const std::string&)>& selected, bool locked);
std::string folder_list(const std::string& language, const Folder& folder);
// What a failed check says, with the certificate to confirm.
std::string check_answer(const std::string& language, const Check& check, bool target);

}  // namespace pipeline::wizard
