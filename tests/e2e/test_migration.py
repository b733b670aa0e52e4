"""A whole migration between real servers: plan, run, again, state lost, verify, with every extension hidden."""
import json, re, subprocess
import support
from support import FIXTURES, PROGRAM, WRITES, Sandbox


class FourD(Sandbox):
    """From a 4D configuration, both formats, odd passwords, skipped accounts."""
    options = {"RAWLOG": "1"}
    form = "plist"

    def setUp(self):
        import csv
        self.users = []
        with open(FIXTURES / "4d" / "roster.csv", encoding="utf-8-sig", newline="") as f:
            text = f.read()
            for row in csv.DictReader(text.splitlines(), delimiter=";" if text.splitlines()[0].count(";") > text.splitlines()[0].count(",") else ","):
                self.users.append((row["address"].split("@")[0], row["password"], row["address"]))
        self.messages = 40
        super().setUp()

    def source_options(self):
        return ["--source-path", FIXTURES / "4d" / self.form, "--source-host", "127.0.0.1", "--source-port", self.port("source")]

    def test_plan_run_again_and_verify(self):
        plan = json.loads(self.tool("plan", "--json", exit=3))
        self.assertEqual(plan["totals"]["accounts_to_move"], 12)
        self.assertEqual(plan["totals"]["accounts_to_skip"], 3)
        self.assertGreaterEqual(plan["totals"]["messages_to_move"], 12 * 40)
        for side in ("source", "target"):
            self.assertIsNone(WRITES.search(self.raw(side)), f"a plan wrote on the {side}")
        report = self.report("load", "--plan", 1, exit=3)
        self.assertEqual(report["books"]["pending"], 0)
        self.assertEqual(report["books"]["bound"], report["books"]["inventory"])
        self.assertEqual(sum("skipped" in a for a in report["accounts"]), 3)
        self.assertTrue(any(n["kind"] == "forward" for n in report["not_migrated"]), report["not_migrated"])
        self.expect_clean("first run")
        raw = self.raw("source")
        self.assertIsNone(WRITES.search(raw))
        self.assertNotIn(b"BODY[]", raw)
        self.assertIn(b"BODY.PEEK[]", raw)
        self.raw("target")
        # A plan on a full target writes nothing either, and a further run sends nothing.
        self.tool("plan", exit=3)
        self.assertIsNone(WRITES.search(self.raw("target")))
        again = self.report(exit=3)
        self.assertEqual(again["run"]["appended"], 0)
        self.assertNotIn(b"APPEND", self.raw("target"))
        self.tool("verify", exit=3)
        self.assertIn("Seen at the source and not migrated", self.tool("report"))
        self.assertIn("RUN", self.tool("status"))


class FourDXml(FourD):
    form = "xml"


class Plain(Sandbox):
    def test_complete_idempotent_and_recognised_without_the_state(self):
        r = self.report()
        self.assertEqual(r["books"]["verified"], r["books"]["inventory"])
        self.expect_clean()
        log = self.dir / "commands"
        port = self.relay("--log", log)
        self.report("run", "--same-servers", target_port=port)
        r = self.report("run", target_port=port, state=self.dir / "other")
        self.assertEqual(r["run"]["appended"], 0)
        self.assertNotIn("APPEND", log.read_text())
        self.expect_clean("after the state was lost")

    def test_hidden_extensions_each_alone_and_all_together(self):
        for hide in ("UIDPLUS", "LITERAL+", "MULTIAPPEND", "UIDPLUS,LITERAL+,MULTIAPPEND"):
            with self.subTest(hide=hide):
                support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
                subprocess.run(["rm", "-rf", str(self.dir / "target-mail"), str(self.state)])
                support.run(FIXTURES / "sandbox.sh", "start", self.dir, "target")
                port = self.relay("--hide", hide)
                r = self.report(target_port=port)
                self.assertEqual(r["books"]["pending"], 0)
                self.expect_clean(hide)
                self.assertEqual(self.report(target_port=port)["run"]["appended"], 0)
                subprocess.run(["rm", "-rf", str(self.state)])
                self.assertEqual(self.report(target_port=port)["run"]["appended"], 0)

    def test_delta_brings_new_mail_and_new_mailboxes_only(self):
        first = self.report()
        import make_mail
        support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "source")
        box = self.dir / "source-mail" / "u1" / "Maildir"
        for sub in (box / "new", box / ".Later" / "new", box / ".Later" / "cur", box / ".Later" / "tmp"):
            sub.mkdir(parents=True, exist_ok=True)
        for i, folder in enumerate((box, box, box / ".Later")):
            (folder / "new" / f"190000000{i}.M{i}.later").write_bytes(b"Subject: later %d\n\nx\n" % i)
        subprocess.run(["chown", "-R", "vmail:vmail", str(box)])
        support.run(FIXTURES / "sandbox.sh", "start", self.dir, "source")
        r = self.report("run", "--same-servers")
        self.assertEqual(r["run"]["appended"], 3)
        self.assertEqual(r["books"]["inventory"], first["books"]["inventory"] + 3)
        self.expect_clean()

    def test_tls_with_a_ca_a_pin_and_first_sight_on_loopback(self):
        def over_tls(*more, state, exit=0):
            argv = [a if a != "none" else "tls" for a in self.argv("run", "--json", *more, target_port=self.port("target", tls=True), state=self.dir / state)]
            r = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(r.returncode, exit, r.stderr)
            return r
        over_tls("--target-ca", self.dir / "ca.pem", state="ca")
        starttls = [a if a != "none" else "starttls" for a in self.argv("run", "--target-ca", self.dir / "ca.pem", state=self.dir / "starttls")]
        r = subprocess.run([str(a) for a in starttls], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(r.returncode, 0, r.stderr)
        seen = over_tls(state="first").stderr
        pin = re.search(r"sha256:[0-9a-f]{64}", seen).group(0)
        self.assertNotIn("remembered", over_tls(state="first").stderr, "pinned, and silent from then on")
        over_tls("--target-pin", pin, state="pin")
        wrong = over_tls("--target-pin", "sha256:" + "0" * 64, state="wrong", exit=1).stderr
        self.assertIn("not the pinned one", wrong)
        self.assertIn("No password was sent", wrong)
        self.expect_clean()


class Quota(Sandbox):
    users = [("u1", "secret", "u1"), ("u2", "secret", "u2")]
    options = {"QUOTA": "1M"}

    def test_full_account_stops_alone_and_goes_on_when_there_is_room(self):
        r = self.report(exit=3)
        self.assertGreater(r["books"]["pending"], 0)
        self.assertEqual(r["books"]["quarantined"], 0)
        self.assertIn("uota", json.dumps(r["accounts"]))
        support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
        support.run(FIXTURES / "sandbox.sh", "start", self.dir, "target", env={"QUOTA": ""})
        self.report("run", "--same-servers")
        self.expect_clean()


support.main()
