#include "pipeline/wizard/wizard.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <unordered_map>

#include "base/text.hpp"
#include "extract/config/fourd.hpp"
#include "pipeline/cli/terminal.hpp"
#include "pipeline/run.hpp"
#include "pipeline/wizard/checks.hpp"
#include "pipeline/wizard/files.hpp"
#include "pipeline/wizard/memory.hpp"
#include "pipeline/wizard/pages.hpp"
#include "pipeline/wizard/server.hpp"
#include "pipeline/wizard/texts.hpp"

namespace pipeline::wizard {

namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace json = boost::json;
using base::Exit;
using base::Remedy;
using base::Scope;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kMostChecks = 20;  // of servers, in a minute: whoever is at the page is no port scanner (S33)
constexpr std::size_t kLargestMapping = 256 * 1024;

base::Failed usage(std::string text) {
  return base::Failed({Scope::run, Remedy::ask_admin, std::move(text), Exit::usage});
}

std::string text_field(const json::object& body, std::string_view name) {
  const auto* v = body.if_contains(name);
  return v != nullptr && v->is_string() ? std::string(base::trim(v->as_string())) : std::string();
}

void set(Options& options, const std::string& name, const std::string& value) {
  std::erase_if(options, [&](const auto& o) { return o.first == name; });
  if (!value.empty()) options.emplace_back(name, value);
}

bool is_pin(std::string_view text) {
  return text.size() == 71 && text.starts_with("sha256:") &&
         text.find_first_not_of("0123456789abcdefABCDEF", 7) == std::string_view::npos;
}

class Wizard {
 public:
  Wizard(asio::io_context& io, const CommandLine& line, state::Store& store, std::shared_ptr<spdlog::logger> log);
  asio::awaitable<Reply> answer(Request r);
  std::string event(const Request& r);
  ControlHandler control(std::function<std::string()> new_link);
  // Asked to end: a run under way is ended first. True: nothing is under way.
  bool end();
  asio::awaitable<void> tick();
  void open(Server& server) { server_ = &server; }

 private:
  using Handler = asio::awaitable<Reply> (Wizard::*)(Request);
  struct Route {
    const char *method, *path;
    Handler handler;
  };
  static const std::vector<Route>& routes();

  // Pages.
  asio::awaitable<Reply> home(Request r);
  asio::awaitable<Reply> introduction(Request r);
  asio::awaitable<Reply> configuration(Request r);
  asio::awaitable<Reply> source(Request r);
  asio::awaitable<Reply> target(Request r);
  asio::awaitable<Reply> summary(Request r);
  asio::awaitable<Reply> progress(Request r);
  asio::awaitable<Reply> results(Request r);
  // Parts of pages, and files.
  asio::awaitable<Reply> planned(Request r);
  asio::awaitable<Reply> accounts(Request r);
  asio::awaitable<Reply> folder(Request r);
  asio::awaitable<Reply> events(Request r);
  asio::awaitable<Reply> asset_file(Request r);
  asio::awaitable<Reply> report_file(Request r);
  // What changes something.
  asio::awaitable<Reply> set_language(Request r);
  asio::awaitable<Reply> set_configuration(Request r);
  asio::awaitable<Reply> set_source(Request r);
  asio::awaitable<Reply> set_target(Request r);
  asio::awaitable<Reply> set_policies(Request r);
  asio::awaitable<Reply> set_account(Request r);
  asio::awaitable<Reply> make_plan(Request r);
  asio::awaitable<Reply> start(Request r);
  asio::awaitable<Reply> verify(Request r);
  asio::awaitable<Reply> retry(Request r);
  asio::awaitable<Reply> abort(Request r);
  asio::awaitable<Reply> quit(Request r);

  Frame frame(const Request& r) const;
  static Reply page(std::string html);
  static Reply go(const std::string& path);    // of a page
  static Reply went(const std::string& path);  // of a form
  static Reply said(const std::string& html);  // of a form: it stays
  Reply refused(const Request& r, std::string_view key) const;
  std::string where() const;
  bool live() const { return starting_ || run_ != nullptr; }
  bool needs_password() const { return option(options_, "target") != "imap" && target_password_.empty(); }
  bool outdated() const { return !still_decides(planned_with_, decisions(options_)); }
  bool selected(const std::string& account) const;
  std::vector<std::string> left_out() const;
  Settings settings(const Options& options) const;
  std::string mapping_path() const { return store_.directory() + "/mapping.json"; }
  Options with(const json::object& body, const std::vector<std::string>& names) const;
  void remember();
  void recall(const Options& given);
  void take(Remembered r);
  bool may_check();
  Options with_server(const json::object& body, const std::string& side) const;
  ProgressView progress_view() const;
  std::string account_page(const Request& r) const;
  Reply begin(const Request& r, const std::string& command, bool refresh);
  asio::awaitable<void> job(std::string command, bool refresh);

  asio::io_context& io_;
  state::Store& store_;
  std::shared_ptr<spdlog::logger> log_;
  std::unique_ptr<imap::Dialer> dialer_ = imap::network_dialer();
  base::SystemClock clock_;
  Files files_;
  Server* server_ = nullptr;

  Options options_;  // never a secret
  base::Secret target_password_, master_password_;
  std::shared_ptr<MemoryFile> roster_;  // an uploaded one; also of whoever reads it at this moment
  std::string roster_name_;
  bool roster_lost_ = false, source_good_ = false, target_good_ = false, ending_ = false;
  Configuration configuration_;
  json::object plan_, digest_;
  std::int64_t plan_number_ = 0;
  std::string planned_with_;
  std::unordered_map<std::string, std::uint64_t> planned_messages_;
  std::deque<std::chrono::milliseconds> checks_;

  std::unique_ptr<Run> run_;
  bool starting_ = false, stop_asked_ = false, interrupted_ = false;
  std::string command_, error_;
  Exit exit_ = Exit::done;
  std::vector<AccountLine> lines_;  // when nothing is under way
  json::object results_;
  std::string after_;  // where a page goes when the run has ended
};

Wizard::Wizard(asio::io_context& io, const CommandLine& line, state::Store& store, std::shared_ptr<spdlog::logger> log)
    : io_(io),
      store_(store),
      log_(std::move(log)),
      files_(!line.files.empty()              ? line.files
             : std::getenv("HOME") != nullptr ? std::getenv("HOME")
                                              : "."),
      target_password_(line.settings.target_password),
      master_password_(line.settings.master_password) {
  recall(line.given);
  take(remembered(store_.db()));
}

// ---- what is remembered ----

void Wizard::remember() {
  json::array options;
  for (const auto& [name, value] : options_) options.push_back(json::array{name, value});
  write_file(store_.directory() + "/wizard.json", json::serialize(json::object{{"options", std::move(options)},
                                                                               {"source_good", source_good_},
                                                                               {"target_good", target_good_},
                                                                               {"uploaded", roster_name_},
                                                                               {"planned_with", planned_with_}}) +
                                                      "\n");
}

void Wizard::recall(const Options& given) {
  boost::system::error_code bad;
  const auto value = json::parse(read_file(store_.directory() + "/wizard.json"), bad);
  if (!bad && value.is_object()) {
    const auto& o = value.as_object();
    if (const auto* list = o.if_contains("options"); list != nullptr && list->is_array())
      for (const auto& pair : list->as_array())
        if (pair.is_array() && pair.as_array().size() == 2 && pair.at(0).is_string() && pair.at(1).is_string())
          options_.emplace_back(pair.at(0).as_string(), pair.at(1).as_string());
    const auto flag = [&](const char* name) {
      return o.contains(name) && o.at(name).is_bool() && o.at(name).as_bool();
    };
    source_good_ = flag("source_good");
    target_good_ = flag("target_good");
    planned_with_ = text_field(o, "planned_with");
    roster_lost_ = !text_field(o, "uploaded").empty();
  }
  // Nobody reads it again: without the option the next plan must say that each account's own password is used.
  set(options_, "target-master-pass-file", {});
  for (const auto& [name, ignored] : given) set(options_, name, {});
  options_.insert(options_.end(), given.begin(), given.end());
  std::error_code ec;
  const bool said = !option(options_, "source-path").empty() || !option(options_, "roster").empty();
  if (!said && !roster_lost_ && fs::exists(extract::kDefault4dPath, ec))
    set(options_, "source-path", extract::kDefault4dPath);
  if (!option(options_, "source-path").empty() || !option(options_, "roster").empty())
    configuration_ = read_configuration(settings(options_));
  if (roster_lost_) configuration_.good = false;
}

void Wizard::take(Remembered r) {
  plan_ = std::move(r.plan);
  digest_ = std::move(r.digest);
  plan_number_ = r.plan_number;
  planned_messages_.clear();
  if (!plan_.empty())
    for (const auto& a : plan_.at("accounts").as_array()) {
      auto& n = planned_messages_[std::string(a.as_object().at("account").as_string())];
      for (const auto& m : a.as_object().at("mailboxes").as_array())
        n += m.as_object().at("messages_to_move").to_number<std::uint64_t>();
    }
  results_ = std::move(r.results);
  interrupted_ = r.interrupted;
  lines_ = std::move(r.lines);
}

Settings Wizard::settings(const Options& options) const {
  Options all = options;
  set(all, "state", store_.directory());
  if (roster_) set(all, "roster", roster_->path());
  std::error_code ec;
  if (fs::exists(mapping_path(), ec)) set(all, "source-mapping", mapping_path());
  Settings out = settings_from(all);
  out.target_password = target_password_;
  out.master_password = master_password_;
  out.quiet = true;
  return out;
}

// The options with what a form says of these; nothing is kept if that makes no sense.
Options Wizard::with(const json::object& body, const std::vector<std::string>& names) const {
  Options out = options_;
  for (const auto& name : names) {
    std::erase_if(out, [&](const auto& o) { return o.first == name; });
    for (const auto& line : base::split(text_field(body, name), '\n'))
      if (const auto value = base::trim(line); !value.empty()) out.emplace_back(name, value);
  }
  settings(out);
  return out;
}

// ---- answers ----

Frame Wizard::frame(const Request& r) const {
  Frame f;
  f.language = r.language;
  f.token = server_->gate().page_token();
  f.steps = {configuration_.good,
             source_good_,
             target_good_,
             !plan_.empty(),
             live(),
             !results_.empty(),
             option(options_, "source-path") == extract::kDefault4dPath};
  return f;
}

Reply Wizard::page(std::string html) {
  Reply out;
  out.body = std::move(html);
  return out;
}

Reply Wizard::go(const std::string& path) {
  Reply out;
  out.status = 303;
  out.headers = {{"Location", path}};
  return out;
}

Reply json_reply(json::object content) {
  Reply out;
  out.type = "application/json";
  out.body = json::serialize(content);
  return out;
}

Reply Wizard::went(const std::string& path) { return json_reply({{"go", path}}); }
Reply Wizard::said(const std::string& html) { return json_reply({{"html", html}}); }
Reply Wizard::refused(const Request& r, std::string_view key) const {
  return said(problem(r.language, std::string(text_of(r.language, key)), false));
}

// The page for what comes next.
std::string Wizard::where() const {
  if (live()) return "/progress";
  if (!configuration_.good) return configuration_.error.empty() && !roster_lost_ ? "/introduction" : "/configuration";
  if (!source_good_) return target_good_ || !plan_.empty() ? "/source" : "/introduction";
  if (!target_good_ || (needs_password() && (interrupted_ || results_.empty()))) return "/target";
  return results_.empty() || interrupted_ ? "/summary" : "/results";
}

bool Wizard::selected(const std::string& account) const {
  const auto any = [&](const char* name, bool otherwise) {
    bool some = false;
    for (const auto& [key, pattern] : options_) {
      if (key != name) continue;
      some = true;
      if (base::glob_match(pattern, account)) return true;
    }
    return !some && otherwise;
  };
  return any("only", true) && !any("exclude", false);
}

// Accounts that were left out before the plan was made, so that they are not in it.
std::vector<std::string> Wizard::left_out() const {
  auto out = option_list(options_, "exclude");
  std::erase_if(out, [this](const auto& a) {
    return a.find_first_of("*?") != std::string::npos || planned_messages_.contains(a);
  });
  return out;
}

const std::vector<Wizard::Route>& Wizard::routes() {
  static const std::vector<Route> kRoutes = {
      {"GET", "/", &Wizard::home},
      {"GET", "/introduction", &Wizard::introduction},
      {"GET", "/configuration", &Wizard::configuration},
      {"GET", "/source", &Wizard::source},
      {"GET", "/target", &Wizard::target},
      {"GET", "/summary", &Wizard::summary},
      {"GET", "/progress", &Wizard::progress},
      {"GET", "/results", &Wizard::results},
      {"GET", "/planned", &Wizard::planned},
      {"GET", "/accounts", &Wizard::accounts},
      {"GET", "/folder", &Wizard::folder},
      {"GET", "/events", &Wizard::events},
      {"GET", "/assets/*", &Wizard::asset_file},
      {"GET", "/reports/*", &Wizard::report_file},
      {"POST", "/api/language", &Wizard::set_language},
      {"POST", "/api/configuration", &Wizard::set_configuration},
      {"POST", "/api/source", &Wizard::set_source},
      {"POST", "/api/target", &Wizard::set_target},
      {"POST", "/api/policies", &Wizard::set_policies},
      {"POST", "/api/account", &Wizard::set_account},
      {"POST", "/api/plan", &Wizard::make_plan},
      {"POST", "/api/start", &Wizard::start},
      {"POST", "/api/verify", &Wizard::verify},
      {"POST", "/api/retry", &Wizard::retry},
      {"POST", "/api/abort", &Wizard::abort},
      {"POST", "/api/quit", &Wizard::quit},
  };
  return kRoutes;
}

asio::awaitable<Reply> Wizard::answer(Request r) {
  Handler handler = nullptr;
  bool other_method = false;
  for (const auto& route : routes()) {
    const std::string_view path = route.path;
    const bool fits = path.ends_with("/*") ? r.path.starts_with(path.substr(0, path.size() - 1)) : r.path == path;
    if (fits && r.method == route.method) handler = route.handler;
    other_method = other_method || fits;
  }
  Reply out;
  if (handler == nullptr) {
    out.status = other_method ? 405 : 404;
    out.body = message_page(frame(r), out.status,
                            std::string(text_of(r.language, other_method ? "error.method" : "missing.text")));
    co_return out;
  }
  const auto language = r.language;
  const bool form = r.method == "POST";
  const Frame f = frame(r);
  std::string wrong;
  try {
    out = co_await (this->*handler)(std::move(r));
  } catch (const base::Failed& e) {
    wrong = e.error.text;
  }
  if (wrong.empty()) co_return out;
  if (form) co_return said(problem(language, wrong, true));
  out.status = 500;
  out.body = message_page(f, out.status, wrong);
  co_return out;
}

asio::awaitable<Reply> Wizard::home(Request) { co_return go(where()); }

asio::awaitable<Reply> Wizard::introduction(Request r) {
  std::error_code ec;
  co_return page(introduction_page(frame(r), fs::absolute(store_.directory(), ec).lexically_normal()));
}

asio::awaitable<Reply> Wizard::configuration(Request r) {
  ConfigurationView v;
  v.options = options_;
  v.roster_name = roster_ ? roster_name_ : std::string();
  v.mapping = read_file(mapping_path());
  v.summary = configuration_.good ? configuration_.summary : std::string();
  v.error = configuration_.error;
  v.tree = configuration_.tree;
  v.lost_upload = roster_lost_;
  v.files_root = files_.root();
  co_return page(configuration_page(frame(r), v));
}

asio::awaitable<Reply> Wizard::source(Request r) {
  if (!configuration_.good) co_return go("/configuration");
  co_return page(
      source_page(frame(r), options_, configuration_.imap_port, configuration_.post_offices, configuration_.accounts));
}

asio::awaitable<Reply> Wizard::target(Request r) {
  if (!configuration_.good || !source_good_) co_return go(where());
  co_return page(target_page(frame(r), options_, !target_password_.empty()));
}

asio::awaitable<Reply> Wizard::summary(Request r) {
  if (!configuration_.good || !source_good_ || !target_good_) co_return go(where());
  SummaryView v;
  v.options = options_;
  v.post_offices = configuration_.post_offices;
  v.accounts = configuration_.accounts;
  v.plan = digest_;
  v.plan_number = plan_number_;
  v.plan_outdated = outdated();
  v.interrupted = interrupted_;
  v.needs_password = needs_password();
  v.locked = live();
  const auto chosen = [this](const std::string& a) { return selected(a); };
  co_return page(summary_page(frame(r), v, planned_lines(r.language, plan_, left_out(), {}, chosen, live())));
}

ProgressView Wizard::progress_view() const {
  ProgressView v;
  v.running = run_ != nullptr;
  v.starting = starting_;
  v.interrupted = interrupted_;
  v.command = command_;
  v.error = error_;
  v.exit = exit_;
  if (run_) v.status = run_->status();
  return v;
}

asio::awaitable<Reply> Wizard::progress(Request r) {
  co_return page(progress_page(frame(r), progress_view(), account_page(r)));
}

asio::awaitable<Reply> Wizard::results(Request r) {
  ResultsView v;
  v.report = results_;
  std::error_code ec;
  v.state = fs::absolute(store_.reports_directory(), ec).lexically_normal();
  for (fs::directory_iterator it(store_.reports_directory(), ec), end; !ec && it != end; it.increment(ec)) {
    std::error_code unknown;
    if (it->is_regular_file(unknown) && !it->is_symlink(unknown))
      v.files.emplace_back(it->path().filename(), it->file_size(unknown));
  }
  // The newest run's first: "run-12.json".
  std::sort(v.files.begin(), v.files.end(), [](const auto& a, const auto& b) {
    const auto run = [](const std::string& name) {
      std::string digits;
      for (const char c : name)
        if (c >= '0' && c <= '9') digits += c;
      return std::make_pair(digits.size(), digits);
    };
    return run(a.first) != run(b.first) ? run(a.first) > run(b.first) : a.first < b.first;
  });
  co_return page(results_page(frame(r), v));
}

Pageful asked_page(const Request& r) {
  Pageful p;
  const auto value = [&](const char* name) {
    const auto it = r.query.find(name);
    return it == r.query.end() ? std::string() : it->second;
  };
  p.query = value("q");
  const auto number = value("page");
  if (!number.empty() && number.size() < 7 && number.find_first_not_of("0123456789") == std::string::npos)
    p.page = std::stoul(number);
  return p;
}

asio::awaitable<Reply> Wizard::planned(Request r) {
  const auto chosen = [this](const std::string& a) { return selected(a); };
  co_return page(planned_lines(r.language, plan_, left_out(), asked_page(r), chosen, live()));
}

// Those that are running first, then what needs attention.
std::string Wizard::account_page(const Request& r) const {
  Pageful p = asked_page(r);
  const auto wanted = base::lower(p.query);
  std::vector<AccountLine> now;
  if (run_) {
    Progress& progress = run_->progress();
    for (const auto& a : run_->accounts()) {
      AccountLine line{a.address, "waiting", {}, 0, 0};
      if (const auto n = planned_messages_.find(a.address); n != planned_messages_.end()) line.messages = n->second;
      if (const auto running = progress.running.find(a.address); running != progress.running.end()) {
        line.state = "running";
        line.done = running->second.load.settled;
        line.messages = running->second.messages;
        if (const auto* wait = running->second.wait()) line.detail = wait->why;
      } else if (const auto failed = progress.failed.find(a.address); failed != progress.failed.end()) {
        line.state = "failed";
        line.detail = failed->second;
      } else if (!a.skip.empty()) {
        line.state = "skipped";
        line.detail = a.skip;
      } else if (progress.ended.contains(a.address)) {
        line.state = "done";
        line.done = line.messages;
      }
      now.push_back(std::move(line));
    }
  }
  static const std::vector<std::string> kOrder = {"running", "failed", "waiting", "done", "skipped"};
  std::vector<std::vector<const AccountLine*>> by_state(kOrder.size());
  if (!run_) {
    now = lines_;
    for (auto& line : now)
      if (line.state != "done" && line.state != "skipped" && !selected(line.address)) {
        line.state = "skipped";
        line.detail = text_of(r.language, "decision.excluded");
      }
  }
  for (const auto& line : now) {
    if (!wanted.empty() && base::lower(line.address).find(wanted) == std::string::npos &&
        base::lower(text_of(r.language, "state." + line.state)).find(wanted) == std::string::npos)
      continue;
    by_state[static_cast<std::size_t>(std::find(kOrder.begin(), kOrder.end(), line.state) - kOrder.begin())].push_back(
        &line);
    ++p.total;
  }
  std::vector<AccountLine> shown;
  std::size_t at = 0;
  for (const auto& some : by_state)
    for (const auto* line : some) {
      if (at >= p.page * kLinesOnAPage && shown.size() < kLinesOnAPage) shown.push_back(*line);
      ++at;
    }
  return account_lines(r.language, shown, p);
}

asio::awaitable<Reply> Wizard::accounts(Request r) { co_return page(account_page(r)); }

asio::awaitable<Reply> Wizard::folder(Request r) {
  auto listed = files_.list(r.query["path"]);
  co_return page(listed ? folder_list(r.language, *listed) : problem(r.language, listed.error().text, true));
}

asio::awaitable<Reply> Wizard::events(Request) {
  Reply out;
  out.events = true;
  co_return out;
}

asio::awaitable<Reply> Wizard::asset_file(Request r) {
  const auto name = r.path.substr(std::string_view("/assets/").size());
  Reply out;
  out.body = name == "texts.tsv" ? std::string_view() : asset(name);
  out.type = name.ends_with(".css") ? "text/css" : name.ends_with(".js") ? "text/javascript" : "image/svg+xml";
  if (out.body.empty()) {
    out.status = 404;
    out.type = "text/plain";
  }
  co_return out;
}

asio::awaitable<Reply> Wizard::report_file(Request r) {
  const auto name = r.path.substr(std::string_view("/reports/").size());
  const auto path = store_.reports_directory() + "/" + name;
  std::error_code ec;
  // A name, and nothing that leads elsewhere.
  if (name.empty() || name.starts_with('.') || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos || !fs::is_regular_file(fs::symlink_status(path, ec))) {
    Reply out;
    out.status = 404;
    out.body = message_page(frame(r), 404, std::string(text_of(r.language, "missing.text")));
    co_return out;
  }
  Reply out;
  out.type = "application/octet-stream";
  out.file = path;
  out.headers = {{"Content-Disposition", "attachment"}};
  co_return out;
}

std::string Wizard::event(const Request& r) {
  const auto v = progress_view();
  if (!live()) return json::serialize(json::object{{"go", after_.empty() ? "/progress" : after_}});
  const auto stage = text_field(v.status, "stage");
  std::string say(text_of(r.language, stage.empty() ? "stage.starting" : "stage." + stage));
  const auto* total = v.status.if_contains("messages");
  const auto* done = v.status.if_contains("messages_done");
  if (stage == "copy" && total != nullptr && total->to_number<std::uint64_t>() > 0)
    say += fmt::format(" {}%", done->to_number<std::uint64_t>() * 10 / total->to_number<std::uint64_t>() * 10);
  return json::serialize(json::object{{"panel", live_panel(r.language, v)}, {"say", say}});
}

// ---- what changes something ----

asio::awaitable<Reply> Wizard::set_language(Request r) {
  const auto language = language_for(text_field(r.body, "lang"), {});
  Reply out = json_reply({{"go", ""}});
  out.headers = {
      {"Set-Cookie", fmt::format("4d2kms-language={}; Path=/; SameSite=Strict; Max-Age=31536000", language)}};
  co_return out;
}

asio::awaitable<Reply> Wizard::set_configuration(Request r) {
  if (live()) co_return refused(r, "error.running");
  // What is in the folder is looked at only below the root; the place where 4D put it is the one exception.
  for (const char* name : {"source-path", "roster", "domains"}) {
    const auto path = text_field(r.body, name);
    if (path.empty() || (std::string_view(name) == "source-path" && path == extract::kDefault4dPath)) continue;
    const auto given = option(options_, name);
    r.body[name] = path == given ? path : base::or_throw(files_.resolve(path));
  }
  // Before anything is changed: what runs next must be what was read and shown.
  const auto mapping = text_field(r.body, "mapping");
  if (mapping.size() > kLargestMapping) throw usage("The mapping is too long.");
  if (!mapping.empty()) base::or_throw(extract::parse_mapping(mapping, "mapping"));
  auto* upload = r.body.if_contains("roster_upload");
  const bool uploaded = upload != nullptr && upload->is_object();
  std::shared_ptr<MemoryFile> kept;
  std::string kept_name;
  if (uploaded) {
    auto& o = upload->as_object();
    auto* content = o.if_contains("content");
    if (content == nullptr || !content->is_string()) throw usage("There is no file in it.");
    kept = std::make_shared<MemoryFile>(content->as_string());
    kept_name = text_field(o, "name");
    OPENSSL_cleanse(content->as_string().data(), content->as_string().size());
  } else if (roster_ && text_field(r.body, "roster").empty()) {
    kept = std::move(roster_);
    kept_name = roster_name_;
  }
  roster_ = std::move(kept);
  roster_name_ = roster_ ? kept_name : std::string();
  roster_lost_ = false;
  if (roster_) r.body["roster"] = "";
  if (mapping.empty()) ::unlink(mapping_path().c_str());
  else write_file(mapping_path(), mapping + "\n");
  options_ = with(r.body, {"source-path", "roster", "domains"});
  auto read = [s = settings(options_), open = roster_](state::Db&) {
    return read_configuration(s);
  };  // off the loop: it may take a while
  configuration_ = co_await store_.run(std::move(read));
  if (roster_)
    for (auto* text : {&configuration_.error, &configuration_.summary})
      for (auto at = text->find(roster_->path()); at != std::string::npos; at = text->find(roster_->path()))
        text->replace(at, roster_->path().size(), roster_name_);
  remember();
  co_return went(configuration_.good ? "/source" : "/configuration");
}

bool Wizard::may_check() {
  const auto now = clock_.now();
  while (!checks_.empty() && now - checks_.front() > 60s) checks_.pop_front();
  if (checks_.size() >= kMostChecks) return false;
  checks_.push_back(now);
  return true;
}

// What the form of the source or the target says. Another server has another certificate.
Options Wizard::with_server(const json::object& body, const std::string& side) const {
  Options out = side == "source"
                    ? with(body, {"source-host", "source-port", "source-tls", "allow-cleartext", "source-login"})
                    : with(body, {"target", "target-host", "target-user", "target-api-port", "target-imap-port",
                                  "target-tls", "target-login", "allow-cleartext"});
  if (option(out, side + "-host") != option(options_, side + "-host")) set(out, side + "-pin", {});
  if (const auto pin = text_field(body, "pin"); is_pin(pin)) out.emplace_back(side + "-pin", pin);
  return out;
}

asio::awaitable<Reply> Wizard::set_source(Request r) {
  if (live()) co_return refused(r, "error.running");
  if (!may_check()) co_return refused(r, "error.often");
  const Settings s = settings(with_server(r.body, "source"));
  const Check check = co_await check_source(s, *dialer_);
  if (live()) co_return refused(r, "error.running");
  options_ = with_server(r.body, "source");  // what else was chosen meanwhile stays
  source_good_ = check.failed.empty();
  remember();
  if (!source_good_) co_return said(check_answer(r.language, check, false));
  co_return went("/target");
}

asio::awaitable<Reply> Wizard::set_target(Request r) {
  if (live()) co_return refused(r, "error.running");
  if (!may_check()) co_return refused(r, "error.often");
  Settings s = settings(with_server(r.body, "target"));
  const Settings before = settings(options_);
  // The password was given for one server: whoever names another one must give it again.
  if (base::lower(s.api.host) != base::lower(before.api.host) || s.api.port != before.api.port) s.target_password = {};
  if (auto* password = r.body.if_contains("password");
      password != nullptr && password->is_string() && !password->as_string().empty()) {
    s.target_password = base::Secret(password->as_string());
    OPENSSL_cleanse(password->as_string().data(), password->as_string().size());
  }
  if (s.target_kind == TargetKind::kerio && (s.target_user.empty() || s.target_password.empty()))
    co_return refused(r, "error.who");
  const Check check = co_await check_target(s, *dialer_, clock_);
  if (live()) co_return refused(r, "error.running");
  options_ = with_server(r.body, "target");
  target_password_ = s.target_password;
  target_good_ = check.failed.empty();
  if (check.log_in_refused) target_password_ = {};
  remember();
  if (!target_good_) co_return said(check_answer(r.language, check, true));
  co_return went("/summary");
}

asio::awaitable<Reply> Wizard::set_policies(Request r) {
  if (live()) co_return refused(r, "error.running");
  options_ = with(r.body, {"existing-domain", "existing-account", "on-refused-password", "deleted", "verify", "only",
                           "jobs", "max-rate", "quiet-hours"});
  remember();
  co_return went("/summary");
}

asio::awaitable<Reply> Wizard::set_account(Request r) {
  if (live()) co_return refused(r, "error.running");
  const auto account = text_field(r.body, "account");
  const bool in = text_field(r.body, "move") == "true", was_outdated = outdated();
  std::erase_if(options_, [&](const auto& o) { return o.first == "exclude" && o.second == account; });
  if (!in && !account.empty()) options_.emplace_back("exclude", account);
  remember();
  // Whether the plan is still good may show elsewhere on the page.
  co_return outdated() != was_outdated ? went("") : json_reply({{"ok", true}});
}

Reply Wizard::begin(const Request& r, const std::string& command, bool refresh) {
  if (live()) return refused(r, "error.running");
  if (!configuration_.good || !source_good_ || !target_good_) return refused(r, "error.steps");
  if (needs_password()) return refused(r, "error.who");
  starting_ = true;
  stop_asked_ = false;
  command_ = command;
  error_.clear();
  exit_ = Exit::done;
  after_.clear();
  asio::co_spawn(io_, job(command, refresh), asio::detached);
  return went("/progress");
}

asio::awaitable<Reply> Wizard::make_plan(Request r) {
  const auto* refresh = r.body.if_contains("refresh");
  co_return begin(r, "plan", refresh != nullptr && refresh->is_bool() && refresh->as_bool());
}

asio::awaitable<Reply> Wizard::start(Request r) {
  // The plan that the page showed, which may have been open for long.
  const auto* shown = r.body.if_contains("plan");
  const bool other = shown != nullptr && !(shown->is_int64() && shown->as_int64() == plan_number_);
  if (plan_.empty() || outdated() || other) co_return refused(r, "plan.outdated");
  co_return begin(r, "load", false);
}

asio::awaitable<Reply> Wizard::verify(Request r) { co_return begin(r, "verify", false); }
asio::awaitable<Reply> Wizard::retry(Request r) { co_return begin(r, "retry", false); }

asio::awaitable<Reply> Wizard::abort(Request) {
  stop_asked_ = true;
  if (run_) run_->stop();
  co_return went("/progress");
}

asio::awaitable<Reply> Wizard::quit(Request r) {
  if (live()) co_return refused(r, "error.running");
  ending_ = true;  // tick() ends it when this answer has left
  co_return said(problem(r.language, std::string(text_of(r.language, "quit.done")), false));
}

asio::awaitable<void> Wizard::job(std::string command, bool refresh) {
  std::optional<base::Error> failed;
  Outcome outcome;
  const std::string with = decisions(options_);
  try {
    Settings s = settings(options_);
    s.refresh = refresh;
    Order order{command, std::move(s), {}, {}};
    if (command == "load") order.plan = plan_number_;
    auto run = std::make_unique<Run>(std::move(order), store_, *dialer_, clock_, log_);
    auto prepare = [r = run.get()](state::Db&) { r->prepare(); };
    co_await store_.run(std::move(prepare));
    run_ = std::move(run);
    starting_ = false;
    if (stop_asked_) run_->stop();
    outcome = co_await run_->work();
  } catch (const base::Failed& f) {
    failed = f.error;
  } catch (const std::exception& e) {
    failed = base::Error{Scope::run, Remedy::ask_admin, fmt::format("unexpected: {}", e.what()), Exit::failed};
  }
  for (const auto& problem : outcome.problems) log_->warn(problem);
  try {
    if (!failed && outcome.plan) planned_with_ = with;
    auto look = [](state::Db& db) { return remembered(db); };
    auto now = co_await store_.run(std::move(look));
    take(std::move(now));
    remember();
  } catch (const base::Failed& f) {
    if (!failed) failed = f.error;
    // After one failed write the store lets nothing through any more: "run again" must be another process.
    if (f.error.exit == Exit::state_unusable)
      failed->text += " This wizard cannot go on: end it (Ctrl-C where it was started) and start it again.";
  } catch (const std::exception& e) {
    if (!failed)
      failed = base::Error{Scope::run, Remedy::ask_admin, fmt::format("unexpected: {}", e.what()), Exit::failed};
  }
  if (failed) {
    error_ = failed->text;
    exit_ = failed->exit;
    log_->error(error_);
  } else {
    exit_ = outcome.exit;
    after_ = outcome.plan ? "/summary" : outcome.exit == Exit::interrupted ? "/progress" : "/results";
  }
  run_.reset();
  starting_ = false;
}

// ---- the process ----

bool Wizard::end() {
  stop_asked_ = ending_ = true;
  if (run_) run_->stop();
  return !live();
}

asio::awaitable<void> Wizard::tick() {
  for (;;) {
    co_await clock_.sleep(200ms);
    if (run_) run_->sample();
    if (ending_ && !live()) io_.stop();
  }
}

ControlHandler Wizard::control(std::function<std::string()> new_link) {
  ControlHandler out;
  out.status = [this] {
    return run_ ? run_->status()
                : json::object{{"command", "wizard"}, {"pid", getpid()},          {"stage", starting_ ? "" : "idle"},
                               {"stopping", false},   {"running", json::array()}, {"failed", json::array()}};
  };
  out.tune = [this](const json::object& request) -> base::Result<json::object> {
    if (!run_)
      return base::fail(Scope::run, Remedy::ask_admin, "nothing is running in the wizard at the moment", Exit::usage);
    return run_->tune(request);
  };
  out.stop = [this] {
    if (run_) run_->stop();
    else end();
    return json::object{{"stopping", true}};
  };
  out.open = [new_link = std::move(new_link)] { return json::object{{"url", new_link()}}; };
  return out;
}

// The link, for the person; and in a browser, where there is one. It is good once (S29).
void show(const std::string& url, const CommandLine& line) {
  std::fprintf(stderr,
               "4d2kms: open %s\n"
               "The link is good once, for a minute; \"4d2kms wizard --state %s\" gives another one.\n",
               url.c_str(), line.settings.state.c_str());
  if (!line.browser || geteuid() == 0) return;  // a browser does not run as root
  std::string program = "xdg-open", address = url;
  char* argv[] = {program.data(), address.data(), nullptr};
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  // A browser that is started by this lives on: it must not keep our port and STATE/control listening after us.
  posix_spawn_file_actions_addclosefrom_np(&quiet, STDERR_FILENO + 1);
  // Nor does it inherit which signals we ignore.
  sigset_t ours;
  sigemptyset(&ours);
  for (const int s : {SIGCHLD, SIGPIPE, SIGUSR1}) sigaddset(&ours, s);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigdefault(&attributes, &ours);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t child = 0;
  if (posix_spawnp(&child, program.c_str(), &quiet, &attributes, argv, environ) != 0)
    std::fputs("There is no xdg-open here: open the link yourself.\n", stderr);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&quiet);
}

}  // namespace

int run_wizard(const CommandLine& line) {
  std::signal(SIGCHLD, SIG_IGN);  // xdg-open's end concerns nobody
  // One that is there already gives a new link to its pages.
  std::optional<json::object> there;
  try {
    there = ask_control(line.settings.state, {{"request", "open"}});
  } catch (const base::Failed&) {
    // A run of the command line, which has no pages: the state's lock says so below.
  }
  if (there) {
    show(std::string(there->at("url").as_string()), line);
    return 0;
  }
  asio::io_context io(1);
  Terminal terminal(false, false);
  state::Store store(line.settings.state, state::Store::Mode::create);
  auto log =
      terminal.logger(line.settings.log_file.empty() ? line.settings.state + "/4d2kms.log" : line.settings.log_file,
                      line.settings.verbose);
  base::SystemClock clock;
  Wizard wizard(io, line, store, log);
  Server server(
      io, static_cast<std::uint16_t>(line.port), clock,
      {[&](Request r) { return wizard.answer(std::move(r)); }, [&](const Request& r) { return wizard.event(r); }});
  wizard.open(server);
  const ControlServer control(io, line.settings.state, wizard.control([&] { return server.gate().new_link(); }));
  if (!control.problem().empty()) log->warn(fmt::format("There is no control socket ({}).", control.problem()));
  asio::signal_set signals(io);
  add_stop_signals(signals);
  bool again = false;
  std::function<void()> wait = [&] {
    signals.async_wait([&](boost::system::error_code ec, int) {
      if (ec) return;
      if (std::exchange(again, true)) _exit(static_cast<int>(Exit::interrupted));  // every commit is durable
      if (!wizard.end()) terminal.line("Stopping after the messages that are on their way; once more to stop at once.");
      wait();
    });
  };
  wait();
  asio::co_spawn(io, wizard.tick(), asio::detached);
  show(server.gate().new_link(), line);
  io.run();
  return 0;
}

}  // namespace pipeline::wizard
