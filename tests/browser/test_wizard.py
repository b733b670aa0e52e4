"""The wizard in a real Chromium: whole migrations through all its pages, aborted, killed and come back to; every page is looked at
by axe-core in light and dark. `test_wizard.py PROGRAM [SHOTS]`: pictures of every page go to the folder SHOTS."""
import csv, json, os, shutil, socket, subprocess, sys, threading, time, unittest, urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
SHOTS = Path(os.environ["WIZARD_SHOTS"]).resolve() if os.environ.get("WIZARD_SHOTS") else None
import support  # noqa: E402
from kerio_sandbox import KerioSandbox  # noqa: E402
from support import FIXTURES, PROGRAM, Sandbox  # noqa: E402
from wizard import Wizard  # noqa: E402

# Where npm puts what only these tests need; kept from run to run.
MODULES = Path(os.environ.get("BROWSER_MODULES") or Path(PROGRAM).parent / "browser").resolve()


def install():
    if not all(shutil.which(p) for p in ("node", "npm", "chromium")):
        print("skipped: node, npm and chromium are needed (fixtures/packages.sh)")
        sys.exit(77)
    MODULES.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package-lock.json").read_text()
    mark = MODULES / "installed"
    if mark.exists() and mark.read_text() == wanted:
        return
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, MODULES)
    support.run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", cwd=MODULES)
    mark.write_text(wanted)


class Browser:
    """Mixed into a sandbox: one person in front of the wizard."""

    def wizard(self, *options):
        w = Wizard(PROGRAM, self.state, "--settle", 1, "--files", self.files, *options)
        self.addCleanup(lambda: w.process.poll() is None and w.stop())
        return w

    def person(self, url, *steps, locale="en-GB", shots=None, timeout=60000):
        """Does the steps of drive.mjs; its answer. No page may have anything that axe-core finds."""
        job = self.dir / "job.json"
        if shots and SHOTS:
            SHOTS.mkdir(parents=True, exist_ok=True)
        job.write_text(json.dumps({"modules": str(MODULES / "node_modules"), "url": url, "steps": steps, "locale": locale,
                                   "shots": str(SHOTS) if shots and SHOTS else None, "timeout": timeout}))
        r = subprocess.run(["node", HERE / "drive.mjs", job], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600)
        self.assertEqual(r.returncode, 0, r.stderr + r.stdout[-3000:])
        answer = json.loads(r.stdout)
        self.assertEqual(answer["axe"], [])
        self.assertEqual(answer["complaints"], [])
        return answer

    @property
    def files(self):
        return self.dir / "home"

    def setUp(self):
        super().setUp()
        self.files.mkdir()


class FourD(Browser, KerioSandbox):
    """From the 4D configuration of the fixtures into the Kerio double."""
    messages = 60

    def setUp(self):
        with open(FIXTURES / "4d" / "roster.csv", encoding="utf-8-sig", newline="") as f:
            text = f.read()
        rows = list(csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.splitlines()[0] else ","))
        self.addresses = {r["address"].split("@")[0]: r["address"] for r in rows}
        self.people = [(r["address"].split("@")[0], r["password"]) for r in rows]
        super().setUp()
        shutil.copytree(FIXTURES / "4d" / "plist", self.files / "MailboxServer")

    def home(self, user):
        return self.addresses[user].split("@")[1]

    def to_summary(self):
        """From the introduction to the plan, as a person with a keyboard does it."""
        return [
            ["at", "/introduction"], ["look", "1-introduction"], ["tab", "main a.primary", "Enter"],
            ["at", "/configuration"], ["look", "2-configuration"],
            ["tab", "[data-choose=source-path]", "Enter"], ["wait", ".chooser [data-enter$=MailboxServer]"], ["look", "2-configuration-chooser"],
            ["key", ".chooser [data-enter$=MailboxServer]", "Enter"], ["wait", ".chooser [data-take$='MailboxServer']:not([hidden])"],
            ["key", ".chooser [data-only-folder]", "Enter"], ["key", "#source-path", "Enter"],
            ["at", "/source"], ["look", "3-source"],
            ["fill", "#source-host", "127.0.0.1"], ["fill", "#source-port", "1"], ["tab", "button[type=submit]", "Enter"],
            ["text", ".notice.bad", "Could not connect"], ["look", "3-source-failed"],
            ["fill", "#source-port", str(self.port("source"))], ["tab", "button[type=submit]", "Enter"],
            ["at", "/target"], ["look", "4-target"],
            ["fill", "#target-host", "127.0.0.1"], ["fill", "#target-api-port", str(self.double.api_port)],
            ["fill", "#target-user", "admin"], ["fill", "#password", "wrong"], ["tab", "button[type=submit]", "Enter"],
            ["text", ".notice.warn .fingerprint", self.double.fingerprint], ["look", "4-target-certificate"],
            ["tab", "#pin", "Space"], ["tab", "button[type=submit]", "Enter"],
            ["text", ".notice.bad", "did not accept"], ["look", "4-target-refused"],
            ["fill", "#password", "admin-secret"], ["tab", "button[type=submit]", "Enter"],
            ["at", "/summary"], ["look", "5-summary-first"], ["tab", "[data-post='/api/plan']", "Enter"],
            ["at", "/summary"], ["text", "h2", "Plan 1"],
        ]

    def test_a_whole_migration_aborted_killed_and_come_back_to(self):
        w = self.wizard("--max-rate", "200K")  # 128 MiB: eleven minutes, met in their middle on any machine
        seen = self.person(w.url, *self.to_summary(), ["look", "5-summary-plan"], ["count", "rows", ".accounts tbody tr"],
                           ["uncheck", "[data-account='lars@lab.example']"], ["open", "/summary"],
                           ["text", ".accounts tr.dim", "lars@lab.example"],
                           ["tab", "[data-post='/api/start']", "Enter"], ["at", "/progress"], ["copied", 10], ["look", "6-progress"],
                           shots=True, timeout=120000)
        self.assertEqual(seen["values"]["rows"], 15)
        # The browser is closed; the migration goes on, and the command line sees it.
        status = json.loads(support.run(PROGRAM, "status", "--json", "--state", self.state).stdout)
        self.assertEqual((status["command"], status["stage"]), ("load", "copy"))
        self.person(w.another_link(), ["at", "/progress"], ["text", "#live h2", "Copying"], ["tab", "[data-post='/api/abort']", "Enter"],
                    ["wait", "[data-post='/api/start']"], ["text", ".accounts", "waiting"], ["look", "6-progress-aborted"],
                    ["tab", "[data-post='/api/start']", "Enter"], ["wait", "#live progress"], shots=True)
        time.sleep(1)
        w.kill()
        # Nothing of what was chosen must be given again, but the password.
        w = self.wizard("--max-rate", "0")
        report = self.dir / "report.json"
        self.person(w.url, ["at", "/target"], ["fill", "#password", "admin-secret"], ["tab", "button[type=submit]", "Enter"],
                    ["at", "/summary"], ["text", ".notice", "did not come to its end"], ["look", "5-summary-resume"],
                    ["tab", "[data-post='/api/start']", "Enter"], ["at", "/results"], ["look", "7-results"],
                    ["download", "a[href$='.json']", str(report)], shots=True, timeout=200000)
        got = json.loads(report.read_text())
        self.assertEqual(got["verdict"]["exit"], 3, "those without a password are listed")
        self.assertEqual(len(self.logins()), 10, "all but the one left out, and the one whose name the target does not take")
        self.expect_moved(got)
        self.assertEqual(w.process.poll(), None)
        self.person(w.another_link(), ["at", "/results"], ["tab", "[data-post='/api/quit']", "Enter"], ["text", ".notice", "has ended"])
        self.assertEqual(w.ended(), 0)
        # No password is in anything that is kept.
        for path in self.state.rglob("*"):
            if path.is_file():
                octets = path.read_bytes()
                for secret in ("admin-secret", "Winter-2003", "Zwerge im Wald"):
                    self.assertNotIn(secret.encode(), octets, path)

    @property
    def moved(self):
        return [u for u in self.users if u[0] not in ("lars", "hugo+list")]


class Plain(Browser, Sandbox):
    """From one Dovecot to another, with a roster."""
    users = [(f"u{i}", "secret", f"u{i}") for i in range(1, 4)]
    messages = 40

    def to_summary(self):
        return [["at", "/introduction"], ["click", "main a.primary"], ["at", "/configuration"],
                ["upload", "#upload", str(self.roster)], ["key", "#roster", "Enter"], ["at", "/source"],
                ["fill", "#source-host", "127.0.0.1"], ["fill", "#source-port", str(self.port("source"))], ["key", "#source-port", "Enter"],
                ["at", "/target"], ["check", "input[value=imap]"], ["fill", "#target-host", "127.0.0.1"],
                ["fill", "#target-imap-port", str(self.port("target"))], ["choose", "#target-tls", "none"], ["key", "#target-imap-port", "Enter"],
                ["at", "/summary"], ["click", "[data-post='/api/plan']"], ["at", "/summary"], ["wait", "[data-post='/api/start']"]]

    def test_an_uploaded_roster_in_german(self):
        w = self.wizard()
        self.person(w.url, *self.to_summary(), ["text", "h1", "Was geschehen wird"], ["look", "5-summary-de"],
                    # Rules that were changed and not kept stop the start, and say so.
                    ["click", ".policies > summary"], ["choose", "#verify", "sample"], ["click", "[data-post='/api/start']"],
                    ["text", ".answer .notice", "nicht übernommen"], ["open", "/summary"], ["click", "[data-post='/api/start']"],
                    ["at", "/results"], ["text", "h1", "Das Ergebnis"], ["look", "7-results-de"],
                    ["choose", "#language", "cs"], ["text", "h1", "Výsledek"], ["look", "7-results-cs"],
                    ["click", "[data-post='/api/verify']"], ["wait", "#live"], ["at", "/results"], locale="de-AT", shots=True)
        self.expect_clean()
        for path in self.state.rglob("*"):
            if path.is_file():
                self.assertNotIn(b"secret", path.read_bytes(), path)

    def test_an_unknown_schema_shows_its_structure_and_takes_a_mapping(self):
        shutil.copytree(FIXTURES / "4d" / "unknown-schema", self.files / "unknown")
        mapping = (self.files / "unknown" / "mapping.json").read_text()
        w = self.wizard()
        self.person(w.url, ["open", "/configuration"], ["fill", "#source-path", str(self.files / "unknown")], ["key", "#source-path", "Enter"],
                    ["wait", ".notice.bad"], ["wait", "main > details[open] pre"], ["look", "2-configuration-unknown"],
                    ["fill", "#mapping", mapping], ["key", "#source-path", "Enter"], ["at", "/source"], shots=True)


def main():
    install()
    support.main()


if __name__ == "__main__":
    main()
