#!/usr/bin/env python3
"""The tests tested: one defence is taken out, and the test named beside it must fail.

    tests/mutants.py BUILD_FOLDER [NAME...]
    tests/mutants.py BUILD_FOLDER --share K     every K-th of them, another share each day; with MUTANTS=all in the
                                                environment all of them

BUILD_FOLDER holds a finished build with tests (Ninja). A mutant is one source file compiled again with one change and
linked before the library that has the real one; nothing in the tree or in the build is touched.
"""
import concurrent.futures
import datetime
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOADER, STAGE, READER, LEDGER = "load/mailbox_loader.cpp", "pipeline/load_stage.cpp", "imap/client/reader.cpp", "state/ledger.cpp"
SESSION = "imap/client/session.cpp"

# name: (file, what stands there, what stands there instead, test binary, tests of which one at least must fail)
MUTANTS = {
    "intent not recorded before sending": (LOADER, "outcomes, intents); };\n    co_await context_", "outcomes, {}); };\n    co_await context_", "test_load",
                                           "Contract.LostAnswerIsLookedAtAndNotSentAgain"),
    "intent not synced before sending": (LOADER, "    co_await context_.store.run(std::move(commit));\n  }\n  const bool multi", "    co_await context_.store.run_in_order(std::move(commit));\n  }\n  const bool multi",
                                         "test_pipeline", "*PowerLossInAMigration.BeforeAny*"),
    "what waits overtaken after a stop": (LOADER, "  if (held_back_) co_return false;\n  if (context_", "  if (context_", "test_load", "Gate.AStopWhile*"),
    "incomplete list taken for complete": ("extract/inventory.cpp", "  if (!whole) co_return;\n", "", "test_load", "Contract.ShortListUnderOk*"),
    "a refused mailbox's answers believed": (SESSION, "    return visit_.opened.has_value();", "    return true;", "test_imap", "Session.MailboxesListedInOneRoundTripAreToldApart"),
    "as much held as a server sends": (READER, "held_ + octets.size() > may_hold_", "false", "test_imap", "Session.BodiesBeyondWhatARequestMayHold*"),
    "an answer that overtakes another believed": ("imap/protocol/engine.cpp", "if (asked != waiting_.begin())", "if (false)", "test_imap",
                                                  "*AnAnswerThatOvertakes*"),
    "a session used that was long idle": ("pipeline/plan_stage.cpp", "    look = {};\n", "    ;\n", "test_load",
                                          "Contract.ATargetThatWaited*"),
    "a plan from half a view": ("pipeline/plan_stage.cpp", "  look->view = co_await view_of(session.get());\n  look->session = std::move(session);",
                                "  look->session = std::move(session);\n  look->view = co_await view_of(look->session.get());", "test_load", "Contract.AListThatIsLost*"),
    "the target asked before the source let us in": ("pipeline/extract_stage.cpp", "  auto session = co_await open_session(Side::source, account.address, imap::Access::read_only);\n  auto beside",
                                                     "  if (meanwhile) co_await meanwhile();\n  auto session = co_await open_session(Side::source, account.address, imap::Access::read_only);\n  auto beside",
                                                     "test_load", "Contract.WrongPassword*"),
    "the target's first words forgotten": ("pipeline/plan_stage.cpp", "  look->failed = std::move(failed);\n", "", "test_load", "Contract.RefusedByTheTargetDuring*"),
    "the end of a window taken for the mailbox's": ("load/window_reader.cpp", "all_read_ = uids.size() == next.size() && next.size() < most;", "all_read_ = next.size() < most;",
                                                    "test_load", "Contract.Large*:Contract.*Window*"),
    "a mailbox we made taken for empty whatever it answers": (LOADER, "if (!unopened_ || seamless()) co_return;", "co_return;", "test_load", "MadeMailbox.*"),
    "a mailbox we made met too late": (LOADER, "mailbox_.target_validity) co_await meet();", "mailbox_.target_validity) {}", "test_load", "MadeMailbox.*"),
    "a mailbox we made not met when opened": (LOADER, "if (std::exchange(unopened_, false)) co_await meet();", "unopened_ = false;", "test_load", "MadeMailbox.*"),
    "all that is in a mailbox we made called older": (LOADER, "if (changed || !mailbox_.first_u0) mailbox_", "mailbox_", "test_load", "MadeMailbox.*"),
    "another UIDVALIDITY learnt from each answer": (LOADER, "(*validity && *v != validity->value)", "false", "test_load", "MadeMailbox.*:Contract.Appenduid*"),
    "flags sent to what may not keep them": (STAGE, "s->second.keeps_every_flag()", "true", "test_load", "MadeMailbox.IsSelected*"),
    "a mailbox we made not selected without UIDPLUS": (STAGE, "ready.made.contains(m.id.value) && target->has(\"UIDPLUS\") &&", "ready.made.contains(m.id.value) &&", "test_load",
                                                       "MadeMailbox.IsSelected*"),
    "a name changed after it was sent to": (LEDGER, '#define NOT_MET "target_validity=0 AND first_u0=0"', '#define NOT_MET "target_validity=0"', "test_state", "Inventory.ATarget*"),
    "what was read ahead forgotten": ("load/window_reader.cpp", "  if (!window.rows.empty() && !failed_) ahead_ = std::move(window);", "", "test_load", "Contract.Plain*"),
    "any without UIDVALIDITY taken for one we made": (STAGE, "if (opened[i] && opened[i]->uid_validity)", "if (opened[i])", "test_load", "MadeMailbox.AnyOther*"),
    "an odd APPENDUID of a mailbox we made stays believed": (LOADER, "    co_await forget_uids();\n    used_now_", "    used_now_", "test_load", "MadeMailbox.*"),
    "not read attested as empty": ("pipeline/verify_stage.cpp", "have_target = !m.met();", "have_target = true;", "test_load", "MadeMailbox.NotRead*"),
    "refused help asked for again": (STAGE, "    not_helped_.insert(address);\n    if (base", "    if (base", "test_load", "Contract.HelpThatIsRefused*"),
    "refused help taken for a wrong password": ("pipeline/connect.cpp", "if (helped_.contains(address)) {", "if (false) {", "test_load", "Contract.HelpThatIsRefused*"),
    "what is refused beside help taken for a wrong password": ("pipeline/connect.cpp", "if (helped_.contains(address)) {", "if (false) {", "test_load",
                                                               "Contract.HelpInTheWay*"),
    "large ones passed in the queue for octets": ("base/tasks.cpp", "while (mine != serving_ || (taken_ > 0", "while ((taken_ > 0", "test_base", "Budget.*"),
    "no settle": (STAGE, "co_await sleep_unless_stopped(settle);", "", "test_load", "Contract.CopiesThatShowOnlyAfterTheSettleBeganAreFound"),
    "no late sweep": (LOADER, "  co_await sweep();", "", "test_load", "Contract.ZombieThatOutlivesTheSettleIsSweptAndReported"),
    "blind retry after NO": (LOADER, "  if (!proven) {", "  if (proven) {", "test_load", "Contract.LaterLiteral*:Contract.RefusedMultiappend*"),
    "target UIDVALIDITY ignored": (LOADER, "(mailbox_.target_validity != opened_.uid_validity || ", "(", "test_load",
                                   "Contract.TargetMailboxMadeAnewIsBoundByContentBeforeAnythingElse"),
    "NIL taken for a body": (READER, "if (body == BodyKind::nil) return;", "", "test_load", "Contract.MessageThatVanished*:Contract.Nil*"),
    "short list believed": (LOADER, "if (count != opened_.exists)", "if (count > opened_.exists)", "test_load", "Contract.ShortListOfTheTargetProvesNothing"),
    "E1x against any header": ("load/unbound.cpp", "if (c.taken || (rewritten && c.print.header_8bit)) continue;", "if (c.taken) continue;", "test_load",
                               "Contract.AnotherMessageIsNeverTakenForARewrittenHeader"),
    "APPENDUID believed": (LOADER, "credible = credible && u >= u0_ &&", "credible = credible ||", "test_load", "Contract.AppenduidThatCannotBeTrueIsNotBelieved"),
    "MULTIAPPEND where it was not offered": (LOADER, 'items.size() > 1 && context_.target.has("MULTIAPPEND")', "items.size() > 1", "test_load",
                                             "Contract.SameWithoutUidplus*"),
    "a list that is silent about subscriptions believed": (SESSION, "if (out.subscribed.empty()) out.subscribed", "if (false) out.subscribed", "test_imap",
                                                           "Session.ListingDoesNotTrust*"),
    "LITERAL+ where it was not offered": ("imap/client/session.cpp", 'engine_.use_literals(has("LITERAL+")', "engine_.use_literals(true", "test_load",
                                          "Contract.SameWithoutUidplus*"),
    "surplus removed though sent once": (LOADER, "twin.attempts < 2", "twin.attempts < 0", "test_load", "Contract.UsersOwnCopyAndNewMailOnTheTargetAreNeverTouched"),
    "surplus removed though touched": (LOADER, "else if (!untouched) {", "else if (false) {", "test_load", "Contract.SurplusIsOnlyListed*"),
    "source UIDVALIDITY change forgets what was copied": (LOADER, "it != stale_.end() && !it->second.empty()", "false", "test_load",
                                                          "Contract.NewUidValidityAtTheSourceCopiesNothingAgain"),
    "repaired forms not known again": (LOADER, "repaired_forms(octets)) {", "std::vector<Form>()) {", "test_pipeline", "Simulator.SeedsThatOnceFailed"),
    "repaired anew each time": (LOADER, "    item.repair_as_before();\n", "", "test_load", "Contract.LateCopyOfARepaired*"),
    "UIDNEXT that moved unseen not settled": (LOADER, "if (unshown_ && !spends_uids_) {", "if (false) {", "test_pipeline", "Simulator.SeedsThatOnceFailed"),
    "hidden before the first meeting not looked for again": (LOADER, "if (look_again_from_) settled_below", "if (false) settled_below", "test_pipeline",
                                                             "Simulator.SeedsThatOnceFailed"),
    "rewritten second copies not swept": (LEDGER, "for (const int column : {0, 1})", "for (const int column : {0})", "test_pipeline", "Simulator.SeedsThatOnceFailed"),
    "equal copies bound as they come": (LOADER, "{Likeness::both, Likeness::date, Likeness::flags, Likeness::content}", "{Likeness::content}", "test_load",
                                        "*TwinsInDoubt*"),
    "a settle that hears no stop": (STAGE, "co_await sleep_unless_stopped(settle);", "co_await clock_.sleep(settle);", "test_load", "Contract.AStopDuringTheSettle*"),
    "a settle without an end": (STAGE, "std::min(slowest_append_ * 3, kLongestSettle)", "slowest_append_ * 3", "test_load", "Contract.SettleForASlowServersSake*"),
    "help forgotten before the next log-in": (STAGE, "  co_await open_lane(&lane, planned.address, copies);\n", "  helped_.erase(planned.address);\n  co_await open_lane(&lane, planned.address, copies);\n", "test_load",
                                              "Contract.RefusedAfterHelpWasLost*"),
    "the settle of a slow server as short as of any": (STAGE, ", std::min(slowest_append_ * 3, kLongestSettle),", ",", "test_load", "Contract.ZombieOfASlowServer*"),
    "late second copy bound to another row": (LOADER, "    s->spare = true;", "    co_return s;", "test_pipeline", "Simulator.SeedsThatOnceFailed"),
    "a refused subscription forgotten": (STAGE, "refused != work->not_subscribed.end()", "false", "test_load", "Contract.ARefusedSubscriptionIsSaid*"),
    "a subscription that was mended still refused": ("pipeline/plan_stage.cpp", "row->error.starts_with(kNotSubscribed) && !p.subscribe", "false", "test_load",
                                                     "Contract.ARefusedSubscriptionThatSomebodyMended*"),
    "an old spelling of flags taken for others": ("pipeline/verify_stage.cpp", "x.row.flags = state::canonical_flags(state::flag_names(r.text(6)));", "x.row.flags = r.text(6);", "test_load",
                                                  "Contract.AnOldStoresSpelling*"),
    "deleted only in one spelling": (LEDGER, "return base::iequals(n, name); });", "return n == name; });", "test_state", "CanonicalFlags.*"),
    "empty believed when seen once after a refusal": (LOADER, "if (!copied) (found == imap::BodyFound::empty ? empty_ : vanished_).push_back(row);",
                                                      'if (!copied) co_await quarantine(row, "the message has no octets", "", "");', "test_load", "Contract.OneThatWasRefusedAndThenCameEmpty*"),
    "large bodies not repaired": (LOADER, "header, {})) continue;", "header, {})) {}", "test_load", "Contract.LargeBodyIsRepaired*"),
    "copies of what is gone not listed": (LEDGER, "state=5 AND attempts>0", "state=5 AND attempts<0", "test_load", "Contract.ZombieOfWhatTheSourceDeleted*"),
    "UID ranges left open": ("imap/protocol/uid_set.cpp", "out += ':' + std::to_string(r.last.value);", 'out += ":*";', "test_load",
                             "Contract.PlainMigrationIsCompleteVerifiedAndIdempotent"),
    "a server that talks for ever waited for": (SESSION, "else if (clock().now() - waiting_since_ >= patience)", "else if (false)", "test_imap", "Session.ACommandThatNeverEnds*"),
    "a greeting that drips waited for": (SESSION, "      mind_patience();\n      const auto n", "      const auto n", "test_imap", "Session.AGreetingThatDrips*"),
    "any talk taken for progress": (SESSION, "if (sink.carries_mail() && !sink.asked_for(*u))", "if (false)", "test_imap", "Session.ACommandThatNeverEnds*"),
    "a list taken for mail": (SESSION, "if (progress) progress_ +=", "progress_ +=", "test_imap", "Session.ACommandThatNeverEnds*"),
    "slow mail not taken for progress": (SESSION, "if (progress_ >= kProgress) begin_patience();", "if (false) begin_patience();", "test_imap", "Session.ABodyThatComesSlowly*"),
    "the other server's time counted": (SESSION, "waiting_since_ += clock().now() - began;", "", "test_imap", "Session.TimeThatTheOtherServer*"),
    "an APPEND's answer not waited for from its last octet on": (SESSION, "    begin_patience();\n  }\n  engine_.written();", "  }\n  engine_.written();", "test_imap", "Session.TheAnswerToAnAppend*"),
    "a stated pause not made": (SESSION, "pause_ = std::max(pause_, *pause);", "pause_ = *pause - *pause;", "test_imap", "Session.APauseThatTheServer*"),
    "state on a network file system": ("state/store.cpp", "if (static_cast<std::uint32_t>(fs.f_type) == magic)", "if (false)", "test_state", "StateFolder.OnANetwork*"),
    "a clock set to 1970 believed": ("imap/protocol/date_time.cpp", "std::max(now, kAtLeast)", "now", "test_load", "Contract.AClockOnTheWall*"),
    "merging not told": (LOADER, "if (!twins.empty() && twins.front().target_uid.value != 0)\n      reason +=", "if (false)\n      reason +=", "test_load", "Contract.OfMessagesThatTheTargetMerges*"),
    "a mailbox selected amid the appends of another": ("base/tasks.cpp", "return all_.take(kAll);", "return all_.take(1);", "test_base", "SharedLock.*"),
    "old news of a mailbox believed": (LOADER, "  if (nothing_new()) {", "  if (selected_) {", "test_load", "Contract.WhatIsThereIsLookedAtThoughItWasSelectedBefore"),
    "looked for in a mailbox that is being copied": (LOADER, " || context_.at_work.contains(item.name)", "", "test_load", "Contract.AcknowledgedAndLostIsNotFound*"),
    "settle knows no sizes": (STAGE, "std::chrono::milliseconds(doubtful_octets / (1024 * 1024) * 1000)", "std::chrono::milliseconds(0)", "test_load",
                              "Contract.ZombieOfALarge*"),
    "a dead connection used again": (SESSION, "  if (dead_) std::rethrow_exception(dead_);\n  if (engine_.idle()) begin_patience();", "  if (engine_.idle()) begin_patience();",
                                     "test_imap", "Session.WhoeverComesAfter*"),
    "a command behind half a message": (SESSION, "if (ready_for_body_ && !dead_) end(", "if (false) end(", "test_imap", "Session.NothingIsSaidBehind*"),
    "read-only not enforced": ("imap/protocol/engine.cpp", "access_ == Access::read_only &&", "false &&", "test_imap", "Engine.ReadOnly*"),
    "streamed body stored before its E1 is durable": (LOADER, "  co_await context_.store.run(std::move(save));\n  const auto started", "  const auto started", "test_load",
                                                      "Contract.SourceThatDeletesAfterTheWindowLeftLeavesNoEndlessPending"),
    "markup of servers in a page": ("base/text.cpp", "else if (c == '<') out += \"&lt;\";", "", "test_pipeline", "Report.NothingThatServersSayIsMarkup"),
    "text that turns itself around in a page": ("base/text.cpp", "if (turns || hides)", "if (hides)", "test_pipeline", "Report.NothingThatServersSayIsMarkup"),
    "formulas in a CSV file": ("pipeline/report/csv.cpp", "if (text.starts_with(start)) safe = ", "if (false) safe = ", "test_pipeline", "ReportCsv.*"),
    "a report as large as its ledger": ("pipeline/report/report.cpp", "if (list.size() >= kListed || of >= kListedOfAccount) return;", "", "test_pipeline", "Report.OfVeryManyMessages*"),
    "second copies not in the evidence": ("pipeline/verify_stage.cpp", "    read_as(target_e1, d);\n", "", "test_pipeline", "EvidenceOfAMigration.*"),
    "a fingerprint of nothing": ("pipeline/report/report.cpp", "return sum.hex() == says;", "return true;", "test_pipeline", "Report.ItsFingerprintShowsAnyChange"),
    "an account that was not compared passes": ("pipeline/report/evidence.cpp", 'now->problems.push_back(address + ', "(void)(address + ", "test_pipeline", "Evidence.WhatCannotBeCompared*"),
    "an account that is not in the report passes": ("pipeline/report/evidence.cpp", "if (!compared.contains(address))", "if (false)", "test_pipeline", "Evidence.WhatCannotBeCompared*"),
    "a side that was not read whole has evidence": ("pipeline/report/evidence.cpp", "      whole_ = false;\n", "", "test_pipeline", "Evidence.OfWhatWasNotReadWhole*"),
}


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options)


def compile_commands(build):
    return {str(pathlib.Path(c["file"]).relative_to(ROOT)): c for c in json.loads((build / "compile_commands.json").read_text())
            if pathlib.Path(c["file"]).is_relative_to(ROOT)}


def link_command(build, binary):
    last = run(["ninja", "-C", str(build), "-t", "commands", f"tests/{binary}"]).stdout.strip().splitlines()[-1]
    # ": && c++ ... -o tests/BINARY ... && discover the tests"
    return next(shlex.split(part) for part in last.split(" && ") if f"-o tests/{binary}" in part)


def try_mutant(build, commands, name):
    """'' when a test failed as it must, else what is wrong."""
    source, old, new, binary, tests = MUTANTS[name]
    text = (ROOT / source).read_text()
    if text.count(old) != 1:
        return f"{old!r} stands {text.count(old)} times in {source}; bring the mutant up to date"
    with tempfile.TemporaryDirectory() as folder:
        mutated, object_file, executable = (pathlib.Path(folder) / n for n in ("mutant.cpp", "mutant.o", binary))
        mutated.write_text(text.replace(old, new))
        c = commands[source]
        arguments = shlex.split(c["command"])
        if "ccache" in arguments[0]:
            arguments = arguments[1:]
        arguments = [a for a in arguments if not re.fullmatch(r"-O\d|-Werror|-g\d?|-fsanitize.*", a)]
        arguments[arguments.index("-o") + 1] = str(object_file)
        arguments[arguments.index("-c") + 1] = str(mutated)
        compiled = run(arguments + ["-O0", "-w"], cwd=c["directory"])
        if compiled.returncode:
            return "does not compile: " + compiled.stdout[-2000:]
        link = link_command(build, binary)
        at = link.index("-o")
        link[at + 1] = str(executable)
        linked = run(link[:at] + [str(object_file)] + link[at:], cwd=build)
        if linked.returncode:
            return "does not link: " + linked.stdout[-2000:]
        try:
            ran = run([str(executable), f"--gtest_filter={tests}"], timeout=300, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        except subprocess.TimeoutExpired:
            return ""
        if " 0 tests" in ran.stdout.split("[==========]")[1]:
            return f"no test is called {tests}"
        return "" if ran.returncode else f"nobody noticed: {tests} passed"


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    names = sys.argv[2:] or list(MUTANTS)
    if names[0] == "--share":
        names, shares = list(MUTANTS), int(names[1])
        stale = [n for n in names if (ROOT / MUTANTS[n][0]).read_text().count(MUTANTS[n][1]) != 1]
        if stale:
            sys.exit("mutants.py: what they change is no longer there, bring them up to date: " + ", ".join(stale))
        if os.environ.get("MUTANTS") != "all":
            today = datetime.date.today().toordinal() % shares
            names = names[today::shares]
            print(f"The share of today, {today + 1} of {shares}; MUTANTS=all tries all {len(MUTANTS)}.", flush=True)
    commands = compile_commands(build)
    width = max(map(len, names))
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, wrong in zip(names, pool.map(lambda n: try_mutant(build, commands, n), names)):
            print(f"{name:{width}}  {'caught by ' + MUTANTS[name][4] if not wrong else 'NOT CAUGHT: ' + wrong}", flush=True)
            bad += bool(wrong)
    print(f"{len(names) - bad} of {len(names)} mutants were caught.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
