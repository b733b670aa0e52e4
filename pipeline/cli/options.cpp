#include "pipeline/cli/options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/result.hpp"
#include "base/text.hpp"

namespace pipeline {
namespace {

constexpr const char* kBrief =
    "4d2kms moves a whole mail server - Post Offices, domains, accounts, mailboxes, messages - over IMAP, exactly "
    "once.\n"
    "\n"
    "  4d2kms inspect --source-path DIR                              what the 4D configuration says\n"
    "  4d2kms plan    --roster FILE --source-host H --target imap --target-host H    the dry run: writes nothing\n"
    "  4d2kms run     (the same options)                             copy, verify, report; again = resume, then delta\n"
    "  4d2kms verify | report | status | retry                       the morning after\n"
    "\n"
    "4d2kms --help lists every option.\n";

// argv is readable by every user of the machine: the value goes at once. What it held is not kept, for --target imap
// needs no administrator.
bool wipe_target_pass(int argc, char** argv) {
  bool found = false;
  static constexpr const char* kName = "--target-pass";
  for (int i = 1; i < argc; ++i) {
    char* value = nullptr;
    if (std::strcmp(argv[i], kName) == 0 && i + 1 < argc) value = argv[i + 1];
    if (std::strncmp(argv[i], "--target-pass=", 14) == 0) value = argv[i] + 14;
    if (value == nullptr) continue;
    found = true;
    for (; *value != '\0'; ++value) *value = '*';
  }
  return found;
}

const std::map<std::string, base::TlsMode> kTls = {
    {"none", base::TlsMode::none}, {"starttls", base::TlsMode::starttls}, {"tls", base::TlsMode::tls}};

}  // namespace

CommandLine parse_command_line(int argc, char** argv) {
  CommandLine out;
  Settings& s = out.settings;
  s.source.side = "source";
  s.target.side = "target";
  if (argc <= 1) {  // R25
    std::fputs(kBrief, stderr);
    out.exit = static_cast<int>(base::Exit::usage);
    return out;
  }
  const bool had_pass = wipe_target_pass(argc, argv);

  CLI::App app{"Moves a whole mail server over IMAP, exactly once: dry-run plan, resumable runs, proof afterwards.",
               "4d2kms"};
  app.set_version_flag("--version", "4d2kms " FOURD2KMS_VERSION);
  app.set_config("--config", "", "File with options, one \"name=value\" a line; never passwords")
      ->check(CLI::ExistingFile);
  app.allow_config_extras(CLI::config_extras_mode::error);  // a misspelt policy must not go unnoticed
  app.require_subcommand(0, 1);
  app.fallthrough();
  const char* g = "Source";
  std::string source_host = "localhost", target_host = "localhost", target_kind = "kerio", target_user, target_pass,
              deleted = "keep", verify = "full";
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
  app.add_option("--source-connections", source_connections,
                 "At most so many accounts at once because of the source (default 4)")
      ->group(g)
      ->check(CLI::Range(1, 64));
  app.add_flag("--source-pipelining", s.source_pipelining, "Ask the source several things at once; not for old servers")
      ->group(g);
  g = "Target";
  app.add_option("--target", target_kind, "kerio or imap (default kerio; this version does imap)")
      ->group(g)
      ->check(CLI::IsMember({"kerio", "imap"}));
  app.add_option("--target-host", target_host, "Server to write to (default localhost)")->group(g);
  app.add_option("--target-imap-port", s.target.port, "Its IMAP port (default 993, or 143 without tls)")
      ->group(g)
      ->check(CLI::Range(1, 65535));
  app.add_option("--target-tls", target_tls, "tls, starttls or none (default tls)")
      ->group(g)
      ->transform(CLI::CheckedTransformer(kTls, CLI::ignore_case).description(""));
  app.add_option("--target-connections", target_connections,
                 "At most so many accounts at once because of the target (default 4)")
      ->group(g)
      ->check(CLI::Range(1, 64));
  app.add_option("--target-ca", s.target.ca_file, "PEM file of the CA that signed its certificate")
      ->group(g)
      ->check(CLI::ExistingFile);
  app.add_option("--target-pin", s.target.pins, "sha256:HEX of its certificate (repeatable)")->group(g);
  app.add_option("--target-login", s.target_login, "Form of the log-in (default %u@%d)")->group(g);
  app.add_option("--target-user", target_user, "Administrator of a Kerio target; not used with --target imap")
      ->group(g);
  app.add_option("--target-pass", target_pass, "Its password; not used with --target imap")
      ->group(g)
      ->configurable(false);
  g = "Run";
  app.add_option("--state", s.state, "Folder of the state store (default ./4d2kms.state)")->group(g);
  app.add_option("--only", s.only, "Only accounts that match user@domain, * and ? allowed (repeatable)")->group(g);
  app.add_option("--exclude", s.exclude, "Not these accounts (repeatable)")->group(g);
  app.add_option("--jobs", s.jobs, "Accounts at once (default 4)")->group(g)->check(CLI::Range(1, 64));
  app.add_option("--verify,--level", verify, "full, sample, quick or none (default full)")
      ->group(g)
      ->check(CLI::IsMember({"full", "sample", "quick", "none"}));
  app.add_option("--deleted", deleted, "Messages marked \\Deleted: keep, unmark or skip (default keep)")
      ->group(g)
      ->check(CLI::IsMember({"keep", "unmark", "skip"}));
  app.add_option("--escape", s.escape, "Characters that the target does not take in mailbox names: written as =XX")
      ->group(g);
  app.add_option("--settle", settle,
                 "Seconds to wait, after a lost answer, for what the target may still store (default 10)")
      ->group(g)
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option("--timeout", timeout, "Seconds of silence after which a connection is given up (default 300)")
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
  command("plan", "The dry run: what would be done, saved as a numbered plan; writes nothing on either server")
      ->add_flag("--refresh", s.refresh, "Take a new inventory first");
  command("load", "Apply a plan, exactly; refuses a stale one; resumes")
      ->add_option("--plan", out.plan, "Number of the plan (default: the newest)");
  command("run", "All stages: inventory, plan, load, verify, report; again = resume, then delta");
  command("verify", "Compare everything on both servers, independently of what load believes");
  command("report", "The report of a past run")
      ->add_option("--run", out.run, "Number of the run (default: the newest)");
  command("status", "Runs and books of this state");
  command("retry", "Quarantined messages again");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    out.exit = app.exit(e);
    return out;
  } catch (const CLI::CallForVersion& e) {
    out.exit = app.exit(e);
    return out;
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "4d2kms: %s. See 4d2kms --help.\n", base::printable(base::trim(e.what())).c_str());
    out.exit = static_cast<int>(base::Exit::usage);
    return out;
  }
  const auto used = app.get_subcommands();
  out.command = used.empty() ? "run" : used.front()->get_name();
  s.source.host = source_host;
  s.target.host = target_host;
  s.source.tls = source_tls.value_or(base::is_loopback(source_host) ? base::TlsMode::none : base::TlsMode::starttls);
  s.target.tls = target_tls.value_or(base::TlsMode::tls);
  if (s.target.port == 0) s.target.port = s.target.tls == base::TlsMode::tls ? 993 : 143;
  for (auto* e : {&s.source, &s.target}) {
    e->silence = std::chrono::seconds(timeout);
    e->allow_cleartext = allow_cleartext;
  }
  // An account uses one connection on either side (and, seldom, a second one for a moment).
  s.jobs = std::min({s.jobs, source_connections, target_connections});
  s.load.settle = std::chrono::milliseconds(static_cast<std::int64_t>(settle * 1000));
  s.load.deleted = deleted == "keep"     ? load::DeletedPolicy::keep
                   : deleted == "unmark" ? load::DeletedPolicy::unmark
                                         : load::DeletedPolicy::skip;
  s.verify = verify == "full"     ? VerifyLevel::full
             : verify == "sample" ? VerifyLevel::sample
             : verify == "quick"  ? VerifyLevel::quick
                                  : VerifyLevel::none;
  const bool needs_target =
      out.command != "inspect" && out.command != "extract" && out.command != "report" && out.command != "status";
  if (needs_target && target_kind == "kerio") {
    std::fputs(
        "4d2kms: this version writes to any IMAP server, not to Kerio Connect's administration yet. Add --target imap: "
        "the accounts must "
        "exist there already, and their mail is moved into them.\n",
        stderr);
    out.exit = static_cast<int>(base::Exit::usage);
  } else if (had_pass && !s.quiet) {
    std::fputs(
        "4d2kms: --target-pass was wiped from the command line; other users may have seen it before that. It is not "
        "used with --target imap.\n",
        stderr);
  }
  return out;
}

}  // namespace pipeline
