#include "pipeline/cli/options.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/result.hpp"
#include "base/text.hpp"

namespace pipeline {
namespace {

// R23, R25.
constexpr const char* kBrief =
    "4d2kms moves a whole mail server - Post Offices, domains, accounts, mailboxes, messages - from 4D WebSTAR Mail, "
    "or "
    "any\n"
    "IMAP server, to Kerio Connect, or any IMAP server; exactly once.\n"
    "\n"
    "  4d2kms [--target-host HOST] --target-user USER --target-pass PASSWORD\n"
    "         [--source-host HOST] [--source-path PATH] [--source-port PORT] [--quiet] [--help]\n"
    "\n"
    "  --target-host   Kerio Connect server (default localhost)\n"
    "  --target-user   its administrator (required)\n"
    "  --target-pass   his password (required; better --target-pass-file FILE: others can see a command line)\n"
    "  --source-host   4D Mail's IMAP server (default localhost)\n"
    "  --source-path   4D WebSTAR's mailbox server (default /Applications/4DWebSTAR/MailboxServer)\n"
    "  --source-port   its IMAP port (default: the configuration's, else 143)\n"
    "  --quiet         only errors and results\n"
    "  --help          every option\n"
    "\n"
    "Before a word is said first, as in \"4d2kms plan --target-user ...\":\n"
    "  inspect   what the source configuration says          verify   compare everything on both servers\n"
    "  plan      the dry run: what would be done             report   of a past run; status: of now\n"
    "  load      apply a plan    run   everything, resumes   retry    refused messages again\n"
    "  wizard    the same in a browser on this machine\n"
    "\n"
    "To any IMAP server: 4d2kms run --roster FILE --source-host H --target imap --target-host H\n";

// argv is readable by every user of the machine: the value is taken and goes at once.
std::optional<base::Secret> take_target_pass(int argc, char** argv) {
  std::optional<base::Secret> taken;
  static constexpr const char* kName = "--target-pass";
  for (int i = 1; i < argc; ++i) {
    char* value = nullptr;
    if (std::strcmp(argv[i], kName) == 0 && i + 1 < argc) value = argv[i + 1];
    if (std::strncmp(argv[i], "--target-pass=", 14) == 0) value = argv[i] + 14;
    if (value == nullptr) continue;
    taken = base::Secret(value);
    for (; *value != '\0'; ++value) *value = '*';
  }
  return taken;
}

// The first line of what `fd` gives; closes it.
base::Secret first_line(int fd, const std::string& what) {
  std::string text;
  char c = 0;
  ssize_t n = 0;
  while (text.size() < 4096 && (n = ::read(fd, &c, 1)) == 1 && c != '\n') text += c;
  ::close(fd);
  if (!text.empty() && text.back() == '\r') text.pop_back();
  base::Secret out(text);
  OPENSSL_cleanse(text.data(), text.size());
  if (n < 0 || out.empty())
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                        "There is no password in the first line of " + what + ".", base::Exit::usage});
  return out;
}

base::Secret password_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    throw base::Failed({base::Scope::run, base::Remedy::ask_admin,
                        fmt::format("Could not open the password file {}: {}.", path, std::strerror(errno)),
                        base::Exit::usage});
  struct stat st {};
  if (fstat(fd, &st) == 0 && (st.st_mode & 077) != 0)
    std::fprintf(stderr, "4d2kms: %s can be read by others: chmod 600 it.\n", path.c_str());
  return first_line(fd, path);
}

// Without echo, from the terminal itself; nothing where there is none.
std::optional<base::Secret> ask_password(const std::string& who) {
  const int tty = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
  if (tty < 0) return std::nullopt;
  const std::string prompt = "Password of " + who + ": ";
  termios before{};
  if (tcgetattr(tty, &before) != 0) {
    ::close(tty);
    return std::nullopt;
  }
  termios silent = before;
  silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  (void)!::write(tty, prompt.data(), prompt.size());
  tcsetattr(tty, TCSAFLUSH, &silent);
  const int copy = ::dup(tty);
  std::optional<base::Secret> out;
  try {
    out = first_line(copy, "the terminal");
  } catch (const base::Failed&) {
    // An empty line: no password.
  }
  tcsetattr(tty, TCSAFLUSH, &before);
  (void)!::write(tty, "\n", 1);
  ::close(tty);
  return out;
}

const std::map<std::string, base::TlsMode> kTls = {
    {"none", base::TlsMode::none}, {"starttls", base::TlsMode::starttls}, {"tls", base::TlsMode::tls}};

}  // namespace

namespace {

// Whether a person is there, to be told and asked; else what is wrong is thrown.
enum class Talk : std::uint8_t { yes, no };

CommandLine parse(int argc, char** argv, Talk talk) {
  CommandLine out;
  Settings& s = out.settings;
  s.source.side = "source";
  s.target.side = "target";
  if (argc <= 1) {  // R25
    std::fputs(kBrief, stderr);
    out.exit = static_cast<int>(base::Exit::usage);
    return out;
  }
  const auto from_argv = take_target_pass(argc, argv);

  CLI::App app{"Moves a whole mail server over IMAP, exactly once: dry-run plan, resumable runs, proof afterwards.",
               "4d2kms"};
  app.set_version_flag("--version", "4d2kms " FOURD2KMS_VERSION);
  app.set_config("--config", "", "File with options, one \"name=value\" a line; never passwords")
      ->check(CLI::ExistingFile);
  app.allow_config_extras(CLI::config_extras_mode::error);  // a misspelt policy must not go unnoticed
  app.require_subcommand(0, 1);
  app.fallthrough();
  const char* g = "Source";
  std::string source_host = "localhost", target_host = "localhost", target_kind = "kerio", target_pass, pass_file,
              pass_env, master_file, existing_domain = "skip", existing_account = "skip", refused_password = "skip",
              verify = "full";
  std::string deleted;
  int pass_fd = -1, api_port = 4040;
  std::optional<base::TlsMode> source_tls, target_tls;
  double settle = 10;
  long long timeout = 300;
  int source_connections = 4, target_connections = 4;
  bool allow_cleartext = false;
  app.add_option("--source-path", s.source_path,
                 "Folder of the 4D configuration, or a copy of it (default /Applications/4DWebSTAR/MailboxServer)")
      ->group(g);
  app.add_option("--roster", s.roster, "CSV of accounts: completes the 4D configuration, or takes its place")->group(g);
  app.add_option("--domains", s.domains, "CSV \"post_office;domain\", in order")->group(g);
  app.add_option("--source-mapping", s.source_mapping, "JSON that says where things are in the 4D configuration")
      ->group(g);
  app.add_option("--source-host", source_host, "IMAP server to read from (default localhost)")->group(g);
  app.add_option("--source-port", s.source.port, "Its port (default: the configuration's, else 143, or 993 with tls)")
      ->group(g)
      ->check(CLI::Range(1, 65535));
  app.add_option("--source-tls", source_tls, "none, starttls or tls (default: none on this machine, else starttls)")
      ->group(g)
      ->transform(CLI::CheckedTransformer(kTls, CLI::ignore_case).description(""));
  app.add_option("--source-ca", s.source.ca_file, "PEM file of the CA that signed its certificate")
      ->group(g)
      ->check(CLI::ExistingFile);
  app.add_option("--source-pin", s.source.pins, "sha256:HEX of its certificate (repeatable)")->group(g);
  app.add_option(
         "--source-login", s.source_login,
         "Form of the log-in: %u user, %d domain, %o Post Office (default: %u with a 4D configuration, else %u@%d)")
      ->group(g);
  auto* from_source = app.add_option("--source-connections", source_connections,
                                     "At most so many accounts at once because of the source (default 4)")
                          ->group(g)
                          ->check(CLI::Range(1, 64));
  app.add_flag("--source-pipelining", s.source_pipelining, "Ask the source several things at once; not for old servers")
      ->group(g);
  g = "Target";
  app.add_option("--target", target_kind, "kerio or imap (default kerio)")
      ->group(g)
      ->check(CLI::IsMember({"kerio", "imap"}));
  app.add_option("--target-host", target_host, "Server to write to (default localhost)")->group(g);
  app.add_option("--target-imap-port", s.target.port,
                 "Its IMAP port (default: as Kerio says, else 993, or 143 without tls)")
      ->group(g)
      ->check(CLI::Range(1, 65535));
  app.add_option("--target-tls", target_tls, "tls, starttls or none (default tls)")
      ->group(g)
      ->transform(CLI::CheckedTransformer(kTls, CLI::ignore_case).description(""));
  auto* to_target = app.add_option("--target-connections", target_connections,
                                   "At most so many accounts at once because of the target (default 4)")
                        ->group(g)
                        ->check(CLI::Range(1, 64));
  app.add_option("--target-ca", s.target.ca_file, "PEM file of the CA that signed its certificate")
      ->group(g)
      ->check(CLI::ExistingFile);
  app.add_option("--target-pin", s.target.pins, "sha256:HEX of its certificate (repeatable)")->group(g);
  app.add_option("--target-login", s.target_login, "Form of the log-in (default %u@%d); for --target imap")->group(g);
  g = "Kerio Connect";
  app.add_option("--target-user", s.target_user, "Administrator of the target")->group(g);
  app.add_option("--target-pass", target_pass,
                 "His password (wiped from the command line at once; better one of these:)")
      ->group(g)
      ->configurable(false);
  app.add_option("--target-pass-file", pass_file, "File whose first line is the password")->group(g);
  app.add_option("--target-pass-fd", pass_fd, "Open file descriptor to read it from")->group(g)->configurable(false);
  app.add_option("--target-pass-env", pass_env, "Name of the environment variable that holds it")->group(g);
  app.add_option("--target-master-pass-file", master_file,
                 "File with the server's master password: log-in as any user without knowing his password")
      ->group(g);
  app.add_option("--target-api-port", api_port, "Port of its administration (default 4040)")
      ->group(g)
      ->check(CLI::Range(1, 65535));
  app.add_option("--existing-domain", existing_domain,
                 "A domain that is there and not ours: skip it, or adopt it unmodified (default skip)")
      ->group(g)
      ->check(CLI::IsMember({"skip", "adopt"}));
  app.add_option("--existing-account", existing_account,
                 "An account that is there and not ours: skip it, or adopt it and add mail (default skip)")
      ->group(g)
      ->check(CLI::IsMember({"skip", "adopt"}));
  app.add_option("--on-refused-password", refused_password,
                 "skip the account, or generate a new password into STATE/new-passwords.csv (default skip)")
      ->group(g)
      ->check(CLI::IsMember({"skip", "generate"}));
  app.add_option("--target-prefix", s.target_prefix,
                 "Where a new mailbox goes that the target refuses at the top level (default INBOX; \"\" nowhere)")
      ->group(g);
  g = "Run";
  app.add_option("--state", s.state, "Folder of the state store (default ./4d2kms.state)")->group(g);
  app.add_option("--only", s.only, "Only accounts that match user@domain, * and ? allowed (repeatable)")->group(g);
  app.add_option("--exclude", s.exclude, "Not these accounts (repeatable)")->group(g);
  auto* jobs =
      app.add_option("--jobs", s.tuning.jobs,
                     fmt::format("Accounts at once (default: as many as serve best, from 4 to {})", kMostUnasked))
          ->group(g)
          ->check(CLI::Range(1, kMostJobs));
  std::string max_rate, quiet_hours;
  const CLI::Validator octets(
      [](std::string& text) {
        return parse_octets(text) ? std::string()
                                  : fmt::format("{} is no number of octets, such as 500K or 2M (0: no limit)", text);
      },
      "OCTETS");
  const CLI::Validator hours(
      [](std::string& text) {
        return text.empty() || parse_quiet_hours(text) ? std::string() : text + " are no hours, such as 08:00-18:00";
      },
      "HH:MM-HH:MM");
  auto* rate = app.add_option("--max-rate", max_rate,
                              "Octets a second that are sent to the target at most, such as 500K or 2M (default: any)")
                   ->group(g)
                   ->check(octets);
  auto* quiet_between = app.add_option("--quiet-hours", quiet_hours,
                                       "Between these times of day no mail is sent, such as 08:00-18:00 (\"\": none)")
                            ->group(g)
                            ->check(hours);
  app.add_option("--verify,--level", verify, "full, sample, quick or none (default full)")
      ->group(g)
      ->check(CLI::IsMember({"full", "sample", "quick", "none"}));
  app.add_option("--deleted", deleted,
                 "Messages marked \\Deleted: keep, unmark or skip (default keep; unmark for kerio)")
      ->group(g)
      ->check(CLI::IsMember({"keep", "unmark", "skip"}));
  app.add_option("--escape", s.escape, "Characters that the target does not take in mailbox names: written as =XX")
      ->group(g);
  app.add_option("--settle", settle,
                 "Seconds to wait, after a lost answer, for what the target may still store (default 10)")
      ->group(g)
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option(
         "--timeout", timeout,
         "Seconds of silence after which a connection is given up (default 300); after six times as long one that "
         "does not get on")
      ->group(g)
      ->check(CLI::Range(1, 86400));
  app.add_flag("--allow-cleartext", allow_cleartext, "Allow connections without TLS to other machines")->group(g);
  app.add_flag("--same-servers", s.moved_servers, "The state's servers have new addresses")->group(g);
  app.add_flag("--quiet", s.quiet, "Only errors and results")->group(g);
  app.add_flag("--verbose", s.verbose, "Every decision and command; never a password or a message")->group(g);
  app.add_flag("--json", s.json, "Results and progress as JSON")->group(g);
  app.add_option("--log-file", s.log_file, "Log file (default: in the state folder)")->group(g);

  const auto command = [&](const char* name, const char* about) { return app.add_subcommand(name, about); };
  command("inspect", "What the source configuration says, passwords masked; writes nothing, connects to nothing");
  command("extract", "Check the configuration, log in as each user, take the inventory");
  auto* plan =
      command("plan", "The dry run: what would be done, saved as a numbered plan; writes nothing on either server");
  plan->add_flag("--refresh", s.refresh, "Take a new inventory first");
  auto* diff = plan->add_subcommand("diff", "What is different between two saved plans, in words");
  diff->add_option("A", out.diff.first, "Number of the older plan")->required();
  diff->add_option("B", out.diff.second, "Number of the newer plan")->required();
  command("load", "Apply a plan, exactly; refuses a stale one; resumes")
      ->add_option("--plan", out.plan, "Number of the plan (default: the newest)");
  command("run", "All stages: inventory, plan, load, verify, report; again = resume, then delta");
  command("verify", "Compare everything on both servers, independently of what load believes")
      ->add_option("--against", out.against,
                   "A run-N.json of \"verify --level full\": read the target alone, and say what differs from it");
  auto* report = command("report", "The report of a past run");
  report->add_option("--run", out.run, "Number of the run (default: the newest)");
  report
      ->add_option("--format", out.format,
                   "text, json or html on standard output (default text); csv, notes or all as files")
      ->check(CLI::IsMember({"text", "json", "html", "csv", "notes", "all"}));
  report->add_option("--output", out.output, "Folder to write files into (default for csv, notes, all: STATE/reports)");
  command("status", "What a running 4d2kms is doing; runs and books of this state if none is")
      ->add_flag("--watch", out.watch, "Draw it anew every second, until that run has ended");
  command("tune",
          "Change --jobs, --source-connections, --target-connections, --max-rate, --quiet-hours of a running one");
  command("stop", "A running one finishes the messages on their way, records them and ends");
  command("retry", "Quarantined messages again");
  auto* wizard =
      command("wizard", "The same in a browser on this machine, page by page, with all other options to begin with");
  bool no_browser = false;
  wizard->add_option("--port", out.port, "Port on 127.0.0.1 and ::1 (default: one that is free)")
      ->check(CLI::Range(1, 65535));
  wizard->add_flag("--no-browser", no_browser, "Only print the link");
  wizard->add_option("--files", out.files, "Folder below which files can be chosen (default: the user's own)")
      ->check(CLI::ExistingDirectory);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    out.exit = app.exit(e);
    return out;
  } catch (const CLI::CallForVersion& e) {
    out.exit = app.exit(e);
    return out;
  } catch (const CLI::ParseError& e) {
    if (talk == Talk::no)
      throw base::Failed(
          {base::Scope::run, base::Remedy::ask_admin, base::printable(base::trim(e.what())) + ".", base::Exit::usage});
    std::fprintf(stderr, "4d2kms: %s. See 4d2kms --help.\n", base::printable(base::trim(e.what())).c_str());
    out.exit = static_cast<int>(base::Exit::usage);
    return out;
  }
  if (out.format.empty()) out.format = s.json ? "json" : "text";
  const auto used = app.get_subcommands();
  out.command = used.empty() ? "run" : used.front()->get_name();
  if (diff->parsed()) out.command = "plan diff";
  out.browser = !no_browser;
  for (const auto* o : app.get_options())
    if (o->count() > 0 && o->get_configurable() && o->get_name() != "--state")
      for (const auto& value : o->results()) out.given.emplace_back(o->get_name().substr(2), value);
  s.source.host = source_host;
  s.target.host = target_host;
  s.source.tls = source_tls.value_or(base::is_loopback(source_host) ? base::TlsMode::none : base::TlsMode::starttls);
  s.target_kind = target_kind == "kerio" ? TargetKind::kerio : TargetKind::imap;
  const bool kerio = s.target_kind == TargetKind::kerio;
  s.target.tls = target_tls.value_or(base::TlsMode::tls);
  if (s.target.port == 0 && !kerio) s.target.port = s.target.tls == base::TlsMode::tls ? 993 : 143;
  s.api = s.target;
  s.api.port = static_cast<std::uint16_t>(api_port);
  s.api.tls = base::TlsMode::tls;
  if (deleted.empty()) deleted = kerio ? "unmark" : "keep";
  s.load.remove_surplus = !kerio;
  s.adopt_domains = existing_domain == "adopt";
  s.adopt_accounts = existing_account == "adopt";
  s.generate_passwords = refused_password == "generate";
  for (auto* e : {&s.source, &s.target, &s.api}) {
    e->silence = std::chrono::seconds(timeout);
    e->allow_cleartext = allow_cleartext;
  }
  s.tuning.source_connections = source_connections;
  s.tuning.target_connections = target_connections;
  s.tuning.max_rate = parse_octets(max_rate).value_or(0);
  s.tuning.quiet = parse_quiet_hours(quiet_hours);
  if (jobs->count() > 0) out.tune.jobs = s.tuning.jobs;
  if (from_source->count() > 0) out.tune.source_connections = source_connections;
  if (to_target->count() > 0) out.tune.target_connections = target_connections;
  if (rate->count() > 0) out.tune.max_rate = s.tuning.max_rate;
  if (quiet_between->count() > 0) out.tune.quiet_hours = quiet_hours;
  s.load.settle = std::chrono::milliseconds(static_cast<std::int64_t>(settle * 1000));
  s.load.deleted = deleted == "keep"     ? load::DeletedPolicy::keep
                   : deleted == "unmark" ? load::DeletedPolicy::unmark
                                         : load::DeletedPolicy::skip;
  s.verify = verify == "full"     ? VerifyLevel::full
             : verify == "sample" ? VerifyLevel::sample
             : verify == "quick"  ? VerifyLevel::quick
                                  : VerifyLevel::none;
  const bool needs_target = out.command != "inspect" && out.command != "extract" && out.command != "report" &&
                            out.command != "status" && out.command != "plan diff" && out.command != "tune" &&
                            out.command != "stop";
  if (!needs_target || !kerio) return out;
  try {
    if (from_argv) s.target_password = *from_argv;
    else if (!pass_file.empty()) s.target_password = password_file(pass_file);
    else if (pass_fd >= 0) s.target_password = first_line(pass_fd, fmt::format("file descriptor {}", pass_fd));
    else if (const char* value = pass_env.empty() ? nullptr : std::getenv(pass_env.c_str()); value != nullptr)
      s.target_password = base::Secret(value);
    if (!master_file.empty()) s.master_password = password_file(master_file);
  } catch (const base::Failed& f) {
    std::fprintf(stderr, "4d2kms: %s\n", f.error.text.c_str());
    out.exit = static_cast<int>(f.error.exit);
    return out;
  }
  if (out.command == "wizard") return out;  // its page asks
  if (!s.target_user.empty() && s.target_password.empty() && !s.quiet)
    if (auto asked = ask_password(s.target_user)) s.target_password = *asked;
  if (s.target_user.empty() || s.target_password.empty()) {  // R25
    std::fprintf(stderr, "4d2kms: %s.\n\n%s",
                 s.target_user.empty() ? "--target-user is missing" : "the password of --target-user is missing",
                 kBrief);
    out.exit = static_cast<int>(base::Exit::usage);
  } else if (from_argv && !s.quiet) {
    std::fputs(
        "4d2kms: --target-pass was wiped from the command line; others may have seen it before that. Better: "
        "--target-pass-file FILE, --target-pass-fd N, --target-pass-env NAME, or leave it out to be asked.\n",
        stderr);
  }
  return out;
}

}  // namespace

CommandLine parse_command_line(int argc, char** argv) { return parse(argc, argv, Talk::yes); }

Settings settings_from(const Options& options) {
  // "inspect" needs nothing, so nothing is asked for.
  std::vector<std::string> words = {"4d2kms", "inspect"};
  for (const auto& [name, value] : options) words.push_back(fmt::format("--{}={}", name, value));
  std::vector<char*> argv;
  for (auto& w : words) argv.push_back(w.data());
  return parse(static_cast<int>(argv.size()), argv.data(), Talk::no).settings;
}

}  // namespace pipeline
