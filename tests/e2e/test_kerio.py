"""From 4D Mail to Kerio Connect, on the demo's servers: each requirement of the original tool by its number."""
import csv, json, os, shutil, socket, subprocess, sys
from pathlib import Path
import support
from kerio import ApiError
from kerio_sandbox import KerioSandbox
from support import FIXTURES, PROGRAM, SANITIZED, WRITES

FOURD = FIXTURES / "4d"


def roster():
    text = (FOURD / "roster.csv").read_text(encoding="utf-8-sig")
    separator = ";" if text.splitlines()[0].count(";") > text.splitlines()[0].count(",") else ","
    return list(csv.DictReader(text.splitlines(), delimiter=separator))


class FourDServer(KerioSandbox):
    """The demo's 4D server: 3 Post Offices, 5 SMTP domains, 12 accounts, 3 that cannot be moved."""
    people = [(r["address"].split("@")[0], r["password"]) for r in roster()]
    addresses = {r["address"].split("@")[0]: r["address"] for r in roster()}
    domains = {"North": ["north.example", "nord.example"], "South": ["south.example"], "Science Lab": ["lab.example", "research.example"]}
    messages = 25
    options = {"RAWLOG": "1"}
    path = FOURD / "plist"

    def home(self, user):
        return self.addresses[user].split("@")[1]

    def office(self, user):
        return next(o for o, ds in self.domains.items() if self.home(user) in ds)

    def source_options(self):
        return ["--source-path", self.path, "--source-host", "127.0.0.1", "--source-port", self.port("source")]

    def copy_of_configuration(self):
        copy = self.dir / "MailboxServer"
        if copy.exists():
            shutil.rmtree(copy)
        shutil.copytree(FOURD / "plist", copy)
        self.path = copy
        return copy

    @property
    def moved(self):
        # A '+' in a log-in name is not taken by the target.
        return [u for u in self.users if "+" not in u[0]]


class WholeServer(FourDServer):
    def test_R1_R2_R5_R6_R7_the_whole_server(self):
        plan = json.loads(self.tool("plan", "--json", exit=3))
        calls = self.double.calls()
        self.assertFalse([c for c in calls if c["writes"]], "a plan only reads")
        self.assertGreater(len(calls), 8)
        self.assertIsNone(WRITES.search(self.raw("source")))
        self.assertEqual(self.double.dump()["users"], [])
        self.assertEqual(plan["totals"]["accounts_to_move"], 12)

        report = self.report("load", "--plan", 1, exit=3)
        # R1: a domain a Post Office, named after its first SMTP domain; R2: the others are its aliases.
        found = {d["name"]: d["aliasList"] for d in self.double.api().login().call("Domains.get", {"query": {}})["list"]}
        self.assertEqual({k: v for k, v in found.items() if k != "kerio.example"},
                         {"north.example": ["nord.example"], "south.example": [], "lab.example": ["research.example"]})
        # R5: each account with the same password.
        for user, password, address in self.moved:
            with self.subTest("R5", user=user):
                self.log_in(address, password).logout()
        # R6: without a password, or with log-in disabled: not migrated, and listed with the reason.
        skipped = {a["account"]: a["skipped"] for a in report["accounts"] if "skipped" in a}
        self.assertIn("no password", skipped["nopass@north.example"])
        self.assertIn("log-in disabled", skipped["locked@south.example"])
        self.assertEqual(len(skipped), 3)
        self.assertEqual(len(self.logins()), 11)
        # R7: all folders and messages.
        verdict = self.expect_moved(report)
        self.assertGreater(verdict["flags"] + verdict["keywords"], 0, "the generated mail has keywords and \\Deleted")
        # What the target cannot keep is listed, message by message, and nothing else is. A message can have both.
        listed = {(m["account"], m["mailbox"], m["uid"]) for m in report["messages"] if m["kind"] == "flags"}
        self.assertGreaterEqual(len(listed), max(verdict["flags"], verdict["keywords"]))
        self.assertLessEqual(len(listed), verdict["flags"] + verdict["keywords"])
        kept = set("\\Seen \\Answered \\Draft \\Flagged $MDNSent $Forwarded $AutoJunk $AutoNotJunk $Junk $NotJunk".split())
        for m in report["messages"]:
            if m["kind"] == "flags":
                self.assertFalse(kept & set(m["detail"].replace("not kept: ", "").split()), m)
        # "Data not reachable over IMAP is left out (and said so)."
        self.assertTrue(any(n["kind"] == "forward" for n in report["not_migrated"]))
        self.assertTrue(any(n["kind"] == "list" and n["post_office"] == "North" for n in report["not_migrated"]), report["not_migrated"])
        addresses = {a["before"]: a for a in report["addresses"]}
        self.assertEqual(addresses["anna@nord.example"]["account"], "anna@north.example")
        self.assertEqual(addresses["nopass@nord.example"]["status"], "not migrated")
        # An account name that the target does not take: that account only, in the target's words.
        error = next(a["error"] for a in report["accounts"] if a["account"] == "hugo+list@south.example")
        self.assertIn("hugo+list is not valid", error)

        # A second run changes nothing, and neither does one that has lost its state.
        self.double.calls(), self.double.commands()
        before = self.double.dump()
        for state in ("kept", "lost"):
            if state == "lost":
                shutil.rmtree(self.state)
            again = self.migrate(exit=3)
            self.assertEqual(again["run"]["appended"], 0)
            self.assertEqual(self.double.dump(), before)
            writing = [c["method"] for c in self.double.calls() if c["writes"]]
            self.assertEqual(set(writing), {"Users.create"}, f"state {state}: only the refused account is tried again")
            self.assertFalse([c for c in self.double.commands() if " APPEND" in c or " CREATE" in c])

        # Verification of everything: addresses by Aliases.check, a log-in as each account, then the mail.
        verified = self.report("verify", exit=3)
        self.assertEqual(sum(a["status"] == "delivered, as checked" for a in verified["addresses"]), 4 * 2 + 3 + 4 * 2)
        self.assertEqual(verified["verification"]["unexplained"], 0)
        self.assertIn("Addresses, before and after", self.tool("report"))
        # Somebody takes an alias away and deletes an account: seen.
        self.double.control("remove anna@north.example")
        api = self.double.api().login()
        lab = next(d["id"] for d in api.call("Domains.get", {"query": {}})["list"] if d["name"] == "lab.example")
        api.call("Domains.set", {"domainIds": [lab], "pattern": {"aliasList": []}})
        verified = self.report("verify", "--level", "quick", exit=3)
        kinds = [(d["kind"], d["detail"]) for d in verified["differences"]]
        self.assertTrue(any(k == "alias" and "research.example" in d for k, d in kinds), kinds)


class Requirements(FourDServer):
    messages = 3

    def test_R3_an_existing_domain_is_left_alone_and_skipped(self):
        self.double.control("domain south.example")
        before = self.domain("south.example")
        r = self.migrate(exit=3)
        self.assertEqual(self.domain("south.example"), before)
        skipped = [a["account"] for a in r["accounts"] if "(R3)" in a.get("skipped", "")]
        self.assertEqual(sorted(skipped), ["elena@south.example", "frank@south.example", "gina@south.example", "hugo+list@south.example"])
        self.assertFalse([l for l in self.logins() if "south" in l])
        self.assertEqual(len(self.logins()), 8)
        self.expect_moved_of(r, "north.example", "lab.example")
        # --existing-domain adopt: accounts go into it, it is not modified.
        r = self.migrate("--existing-domain", "adopt", exit=3)
        self.assertEqual(len(self.logins()), 11)
        after = self.domain("south.example")
        self.assertEqual(before, after)
        # The decision stands without the option.
        self.assertEqual(self.migrate(exit=3)["run"]["appended"], 0)
        self.assertEqual(len(self.logins()), 11)

    def expect_moved_of(self, report, *domains):
        users = self.users
        self.users = [u for u in users if u[2].split("@")[1] in domains]
        try:
            self.expect_moved(report)
        finally:
            self.users = users

    def test_R4_a_clash_with_an_alias_fails_that_post_office_only(self):
        self.double.control("domain other.example=nord.example,lab.example")
        r = self.migrate(exit=3)
        self.assertEqual({l.split("@")[1] for l in self.logins()}, {"south.example"})
        self.assertIsNone(self.domain("north.example"))
        reasons = {a["account"]: a["skipped"] for a in r["accounts"] if "skipped" in a}
        self.assertIn("nord.example is an alias of the target's domain other.example already (R4)", reasons["anna@north.example"])
        self.assertIn("(R4)", reasons["ines@lab.example"])
        # adopt leaves out just the clashing alias, and says so.
        r = self.migrate("--existing-domain", "adopt", exit=3)
        self.assertEqual(self.domain("north.example")["aliases"], [])
        self.assertTrue([d for d in r["domains"] if d["name"] == "nord.example" and d["state"] == "refused"], r["domains"])
        self.assertIsNone(self.domain("lab.example"), "a name that is taken cannot be adopted")

    def test_R8_the_configuration_is_read_from_the_file_system_as_who_may_read_it(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        copy = self.copy_of_configuration()
        copy.chmod(0o700)
        binary = self.dir / "4d2kms"
        shutil.copy(PROGRAM, binary)
        binary.chmod(0o755)
        r = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary, "inspect", "--source-path", copy], capture_output=True, text=True)
        self.assertEqual(r.returncode, 1)
        self.assertIn("Permission denied", r.stderr)
        self.assertEqual(subprocess.run([PROGRAM, "inspect", "--source-path", copy], stdout=subprocess.DEVNULL).returncode, 0)

    def test_R9_a_damaged_configuration_of_one_post_office_stops_everything(self):
        for name in ("missing-file", "damaged-xml"):
            with self.subTest(name):
                self.path = FOURD / "broken" / name
                self.tool("run", exit=1)
                self.assertIn("Could not read the configuration of a Post Office", self.said)
                self.assertIn("Nothing was migrated", self.said)
                self.assertEqual(self.double.calls(), [], "nothing was asked of the target")
                self.assertEqual(self.raw("source"), b"")

    def test_R10_the_default_path_is_named_and_another_can_be_given(self):
        argv = [a for a in self.argv("run")]
        at = argv.index("--source-path")
        del argv[at:at + 2]
        r = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
        self.assertEqual(r.returncode, 1)
        self.assertIn("/Applications/4DWebSTAR/MailboxServer", r.stderr)
        self.copy_of_configuration()
        self.tool("plan", exit=3)

    def test_R11_another_source_port_can_be_given_and_a_dead_one_is_named(self):
        dead = socket.socket()
        self.addCleanup(dead.close)
        dead.bind(("127.0.0.1", 0))
        port = dead.getsockname()[1]
        argv = self.argv("plan", "--only", "anna@*")
        argv[argv.index("--source-port") + 1] = port
        r = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
        self.assertEqual(r.returncode, 1)
        self.assertIn(f"127.0.0.1:{port}", r.stderr)
        self.assertIn("--source-port", r.stderr)
        # The state is not bound to a server that was never reached.
        self.tool("plan", "--only", "anna@*")

    def test_R12_target_connection_and_log_in_are_tested_first(self):
        self.password_file.write_text("wrong\n")
        self.tool("run", exit=12)
        self.assertIn("Log-in as admin", self.said)
        self.assertEqual(len([c for c in self.double.calls() if c["method"] == "Session.login"]), 1, "tried once")
        self.assertEqual(self.raw("source"), b"", "the source was not even asked")
        self.password_file.write_text("admin-secret\n")
        self.double.control("switch services imap-off")
        self.tool("run", exit=1)
        self.assertIn("Secure IMAP", self.said)
        self.double.control("switch services default")
        argv = self.argv("run", state=self.dir / "another")
        argv[argv.index("--target-api-port") + 1] = self.double.imap_port
        r = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
        self.assertEqual(r.returncode, 1, r.stderr)
        self.assertIn(str(self.double.imap_port), r.stderr)

    def test_R13_with_the_source_out_of_reach_nothing_is_made(self):
        support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "source")
        self.tool("run", exit=1)
        self.assertIn("source does not answer", self.said)
        self.assertFalse([c for c in self.double.calls() if c["writes"]])
        self.assertEqual(self.logins(), [])

    def test_R14_the_primary_domain_is_never_a_migrated_one(self):
        self.kerio.double.stop()
        self.kerio.double = self.double = type(self.double)(
            "--dovecot-port", self.port("target"), "--dovecot-master", "kerio", "--dovecot-password", "master-secret", "--passwd", self.dir / "target.passwd",
            "--primary", "north.example", program=PROGRAM)
        for more in ([], ["--existing-domain", "adopt"]):
            r = self.migrate(*more, exit=3)
            self.assertIn("primary domain", next(a["skipped"] for a in r["accounts"] if a["account"] == "anna@north.example"))
            self.assertFalse([l for l in self.logins() if "north" in l])

    def test_R15_duplicates_are_named_and_fail_every_post_office_concerned(self):
        self.path = FOURD / "broken" / "duplicate-domain"
        plan = json.loads(self.tool("plan", "--json", exit=3))
        failed = [d for d in plan["domains"] if d["decision"] == "fail"]
        self.assertGreaterEqual(len(failed), 2, plan["domains"])
        self.assertTrue(all("two Post Offices" in d["reason"] for d in failed), failed)


class CommandLine(FourDServer):
    messages = 3

    def test_R23_R24_the_options_of_the_original(self):
        help = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True)
        self.assertEqual(help.returncode, 0)
        for option in ("--target-host", "--target-user", "--target-pass", "--source-host", "--source-path", "--source-port", "--quiet", "--help"):
            self.assertIn(option, help.stdout)
        # The command is left out, the password on the command line, everything else as in the manual of 2006.
        argv = [PROGRAM, "--target-host", "127.0.0.1", "--target-user", "admin", "--target-pass", "admin-secret", "--source-host", "127.0.0.1",
                "--source-path", self.path, "--source-port", self.port("source"), "--quiet",
                "--target-api-port", self.double.api_port, "--state", self.state, "--settle", 1]
        r = subprocess.run([str(a) for a in argv], capture_output=True, text=True)
        self.assertEqual(r.returncode, 3, r.stderr)
        self.assertEqual(len(r.stdout.strip().splitlines()), 1, "quiet: the verdict")
        self.assertEqual(len(self.logins()), 11)

    def test_the_password_is_wiped_from_the_command_line_at_once_and_is_nowhere_else(self):
        self.double.control("fault api Session.login 1 freeze")
        argv = [str(a) for a in self.argv("plan")]
        at = argv.index("--target-pass-file")
        argv[at:at + 2] = ["--target-pass", "adm1n-t0p-secret"]
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            while not self.double.calls():
                pass
            self.assertNotIn("adm1n-t0p-secret", Path(f"/proc/{p.pid}/cmdline").read_text())
        finally:
            p.kill()
            out, err = p.communicate()
        self.assertIn("--target-pass-file", err, "the better ways are named")
        for f in self.state.rglob("*"):
            if f.is_file():
                self.assertNotIn(b"adm1n-t0p-secret", f.read_bytes(), f)

    def test_passwords_from_descriptor_and_environment(self):
        argv = self.argv("plan", "--only", "anna@*")
        at = argv.index("--target-pass-file")
        for options, more in (([ "--target-pass-env", "KERIO_ADMIN"], {"env": {**os.environ, "KERIO_ADMIN": "admin-secret"}}),
                              (["--target-pass-fd", "0"], {"input": "admin-secret\n"})):
            r = subprocess.run([str(a) for a in (*argv[:at], *options, *argv[at + 2:])], capture_output=True, text=True, **more)
            self.assertEqual(r.returncode, 0, r.stderr)

    def test_R25_missing_parameters_bring_the_brief_instructions(self):
        for argv in ([PROGRAM], [PROGRAM, "--target-user", "admin"], [PROGRAM, "--target-pass", "x"], [PROGRAM, "run"]):
            r = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, start_new_session=True)
            self.assertEqual(r.returncode, 2, argv)
            self.assertIn("4d2kms [--target-host HOST] --target-user USER --target-pass PASSWORD", r.stderr)

    def test_R26_one_line_when_both_servers_are_on_this_host(self):
        """sudo ./4d2kms --target-user admin --target-pass abcd"""
        default = Path("/Applications/4DWebSTAR/MailboxServer")
        if os.geteuid() != 0 or Path("/Applications").exists():
            self.skipTest("needs root, and no /Applications of this machine's own")
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if s.connect_ex(("127.0.0.1", 4040)) == 0:
                self.skipTest("port 4040 is taken")
        self.kerio.double.stop()
        self.kerio.double = self.double = type(self.double)(
            "--api-port", 4040, "--admin-password", "abcd", "--dovecot-port", self.port("target"), "--dovecot-master", "kerio",
            "--dovecot-password", "master-secret", "--passwd", self.dir / "target.passwd", program=PROGRAM)
        # The source's port is the configuration's own.
        copy = self.copy_of_configuration()
        prefs = copy / "WSMailboxServer.prefs.xml"
        text = prefs.read_text()
        self.assertIn("<integer>143</integer>", text)
        prefs.write_text(text.replace("<integer>143</integer>", f"<integer>{self.port('source')}</integer>"))
        default.parent.mkdir(parents=True)
        try:
            default.symlink_to(copy)
            r = subprocess.run([PROGRAM, "--target-user", "admin", "--target-pass", "abcd"], cwd=self.dir, capture_output=True, text=True)
            self.assertEqual(r.returncode, 3, r.stderr)
            self.assertIn("3 accounts skipped", r.stdout)
            self.assertEqual(len(self.logins()), 11)
            self.assertIn("accepted and remembered: " + self.double.fingerprint, r.stderr)
            self.state = self.dir / "4d2kms.state"
            self.assertTrue((self.state / "state.db").exists())
        finally:
            shutil.rmtree("/Applications")


class Plans(KerioSandbox):
    def test_a_plan_on_a_server_full_of_clashes_only_reads(self):
        for line in ("domain nord.example", "domain x.example=north.example", "alias anna@kerio.example=x@kerio.example"):
            self.double.control(line)
        self.tool("plan", exit=3)
        self.double.control("remove nord.example")
        self.tool("plan", "--existing-domain", "adopt", exit=3)
        calls = self.double.calls()
        self.assertFalse([c for c in calls if c["writes"]])
        self.assertIsNone(WRITES.search(self.raw("source")))

    def test_a_plan_on_accounts_that_exist_only_reads_over_imap_too(self):
        self.migrate()
        self.double.commands(), self.double.calls()
        self.tool("plan", "--refresh")
        self.assertFalse([c for c in self.double.calls() if c["writes"]])
        verbs = {c.split()[-1] if "UID" not in c else " ".join(c.split()[1:3]) for c in self.double.commands()}
        self.assertTrue(verbs)
        self.assertFalse(verbs & {"SELECT", "CREATE", "APPEND", "STORE", "UID STORE", "SUBSCRIBE", "DELETE", "RENAME", "CLOSE", "EXPUNGE"}, verbs)

    def test_a_stale_plan_is_refused_in_words_and_plans_can_be_compared(self):
        self.tool("plan")
        self.double.control("domain north.example")
        self.tool("load", "--plan", 1, exit=13)
        self.assertIn("Plan 1 is stale; nothing was done", self.said)
        self.assertIn("domain north.example: decision was create, is skip", self.said)
        self.assertFalse([c for c in self.double.calls() if c["writes"]])
        self.tool("plan", exit=3)
        diff = self.tool("plan", "diff", 1, 2)
        self.assertIn("anna@north.example: decision was \"move\", is \"skip\"", diff)
        self.double.control("remove north.example")
        self.assertEqual(self.report("load", "--plan", 1)["books"]["pending"], 0)
        # A plan that was carried out can be loaded again: what is done is no change.
        self.assertEqual(self.report("load", "--plan", 1)["run"]["appended"], 0)

    def test_collisions_password_policy_and_licence_are_in_the_plan(self):
        self.double.control("domain north.example")
        self.double.control("alias bjorn@north.example=x@kerio.example")
        self.double.control("set north.example password_complexity on")
        self.double.control("set north.example password_minimum 11")
        self.double.control("switch licence-users 0")
        plan = json.loads(self.tool("plan", "--existing-domain", "adopt", "--json", exit=3))
        why = {a["account"]: a.get("reason", "") for a in plan["accounts"]}
        self.assertIn("the alias \"bjorn\"", why["bjorn@north.example"])
        self.assertIn("shorter than 11", why["carla@north.example"])
        self.assertEqual(why["anna@north.example"], "")
        self.assertTrue(any("LICENCE" in r for r in plan["remarks"]), plan["remarks"])
        self.assertTrue(any("LOG-IN GUARD" in r for r in plan["remarks"]), plan["remarks"])


support.main()
