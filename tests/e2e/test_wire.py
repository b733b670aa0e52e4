"""The line breaks, at chosen places and in every way a line can, or is slow: what was sent once is there once.

Each try has a relay before one of the two servers that makes one fault; then a further run without it. WIRE=all tries every
place in every way, instead of each place in one."""
import hashlib, itertools, json, os, re, signal, subprocess, sys, time
from pathlib import Path
import support
from tries import Tries

# Where: the side, and what the relay is told.
PLACES = {
    "in a FETCH literal": ("source", "--cut-on", r"UID FETCH .*BODY", "--cut-when", "answer"),
    "in a later FETCH literal": ("source", "--cut-on", r"UID FETCH .*BODY:3", "--cut-when", "answer"),
    "in the list of messages": ("source", "--cut-on", "UID FETCH .*RFC822.SIZE", "--cut-when", "answer"),
    "in LIST": ("source", "--cut-on", r"^\S+ LIST", "--cut-when", "answer"),
    "before the source's log-in is answered": ("source", "--cut-on", r"^\S+ LOGIN", "--cut-when", "complete"),
    "in the source's greeting": ("source", "--cut-after-octets", "5", "--cut-direction", "down"),
    "at an octet from the source": ("source", "--cut-after-octets", "30000", "--cut-direction", "down"),
    "before the target's log-in": ("target", "--cut-on", r"^\S+ LOGIN"),
    "in the target's LIST": ("target", "--cut-on", r"^\S+ LIST", "--cut-when", "answer"),
    "in an APPEND literal": ("target", "--cut-on", r"\bAPPEND ", "--cut-when", "middle"),
    "in a later APPEND literal": ("target", "--cut-on", r"\bAPPEND :3", "--cut-when", "middle"),
    "after the last octet of an APPEND": ("target", "--cut-on", r"\bAPPEND ", "--cut-when", "complete"),
    "after the last octet of a later APPEND": ("target", "--cut-on", r"\bAPPEND :3", "--cut-when", "complete"),
    "at an octet to the target": ("target", "--cut-after-octets", "50000"),
}
WAYS = ["reset", "end", "truncate", "freeze"]
LINES = ["none", "tls", "starttls"]


class Wire(Tries):
    logins = ("u1",)
    mail = ("--messages", 20, "--folders", 3, "--big", 1)
    at = {}  # what this try has instead of a server's own port: side -> (port, kind of TLS)

    def argv(self, command, *more, **where):
        argv = super().argv(command, *more, **where)
        for side, (port, tls) in self.at.items():
            argv[argv.index("--source-port" if side == "source" else "--target-imap-port") + 1] = port
            if side == "source":
                argv += ["--source-tls", tls]
            else:
                argv[argv.index("--target-tls") + 1] = tls
            if tls != "none":
                argv += [f"--{side}-ca", self.dir / "ca.pem"]
        return argv

    def through(self, side, *options, tls="none"):
        """From now on the server is behind this relay; the relay's log."""
        log = self.dir / f"relay-{len(self.relays)}"
        certificate = self.dir / "tls" / "valid.pem", self.dir / "tls" / "valid.key"
        front = [] if tls == "none" else [f"--{tls}", *certificate]
        self.at = {**self.at, side: (self.relay(*options, *front, "--log", log, side=side), tls)}
        return log

    def directly(self):
        self.at = {}
        for r in self.relays:
            r.kill()
            r.wait()
            r.stdout.close()
        self.relays.clear()

    def run_and_run_again(self, when, *more):
        """A run in which anything may happen, and one with nothing in its way."""
        self.tool("run", "--settle", 0.5, *more, exit=None)
        self.assertIn(self.code, (0, 1, 3), f"{when}: {self.said}")
        said = self.said
        self.directly()
        self.tool("run", "--settle", 0.5, "--same-servers", exit=None)
        self.assertEqual(self.code, 0, f"{when}: {self.said}")
        self.expect_all_well(when)
        return said

    def test_a_line_that_breaks_anywhere_in_any_way(self):
        every = itertools.cycle(itertools.product(LINES, WAYS))
        for place, (side, *options) in PLACES.items():
            kinds = itertools.product(LINES, WAYS) if os.environ.get("WIRE") == "all" else [next(every)]
            for tls, by in kinds:
                when = f"{by} {place}, {tls}"
                with self.subTest(when):
                    self.next_try()
                    log = self.through(side, *options, "--by", by, tls=tls)
                    self.run_and_run_again(when, "--timeout", 2)
                    self.assertIn("CUT", log.read_text(), when)

    def test_far_away_and_narrow_lines(self):
        """F17: a round trip of 500 ms; 40 kB/s. Nothing is given up while octets flow: --timeout is as short as it can be."""
        for tls, options in (("tls", ["--delay", 500]), ("none", ["--rate", 40000]), ("starttls", ["--rate", 60000, "--delay", 60])):
            with self.subTest(options):
                self.next_try()
                for side in ("source", "target"):
                    self.through(side, *options, tls=tls)
                said = self.run_and_run_again(f"{options} {tls}", "--timeout", 3)
                self.assertNotIn("was lost", said)

    def test_a_server_that_only_keeps_the_line_alive_is_given_up(self):
        """F18: it drips, or talks on and on, and is never silent for --timeout."""
        for side, command, action in (("source", "UID FETCH .*BODY", "drip 0.2"), ("source", "UID FETCH .*BODY", "chatter 0.2"),
                                      ("target", r"\bAPPEND ", "chatter 0.2"), ("target", r"^\S+ LOGIN", "chatter 0.2")):
            when = f"{side}: {action} at {command}"
            with self.subTest(when):
                self.next_try()
                self.through(side, "--on", command, action)
                began = time.monotonic()
                said = self.run_and_run_again(when, "--timeout", 1)
                self.assertIn("has not got on within 6.0 s", said, when)
                self.assertLess(time.monotonic() - began, 60, when)

    def test_a_pause_that_the_server_asks_for_is_made_and_shown(self):
        """F25, at the log-in and at an APPEND."""
        for command in (r"^\S+ LOGIN", r"\bAPPEND "):
            with self.subTest(command):
                self.next_try()
                self.through("target", "--hide", "LITERAL+", "--on", command, "answer %t NO Request is throttled. Suggested Backoff Time: 12500 milliseconds")
                began = time.monotonic()
                said = self.run_and_run_again(command)
                self.assertGreater(time.monotonic() - began, 12.5)
                self.assertIn("12 s because the server asked", said)

    def stored(self):
        return sum(1 for _ in (self.dir / "target-mail" / f"u1-{self.tries}").rglob("cur/*"))

    def test_a_machine_that_was_suspended_goes_on(self):
        """F9: all stands still for longer than --timeout, at three moments."""
        for part in (0, 0.3, 0.7):
            with self.subTest(part):
                self.next_try()
                self.through("target", "--delay", 40)
                p = subprocess.Popen([str(a) for a in self.argv("run", "--settle", 0.5, "--timeout", 2)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                while p.poll() is None and self.stored() < part * 20:
                    time.sleep(0.005)
                self.assertIsNone(p.poll(), "it was over before it could be stopped")
                os.kill(p.pid, signal.SIGSTOP)
                time.sleep(4)
                os.kill(p.pid, signal.SIGCONT)
                said = p.communicate(timeout=100)[1]
                self.assertEqual(p.returncode, 0, said)
                self.run_and_run_again(f"stopped after {part}")


class Big(support.Sandbox):
    """F11: one huge message in little memory. BIG_MB=1500 for as large as one likes."""
    users = [("u1", "secret", "u1")]
    messages = 3
    megabytes = int(os.environ.get("BIG_MB", "100"))

    def fill(self):
        super().fill()
        cur = next((self.dir / "source-mail").glob("u1/Maildir")) / "cur"
        big = cur / "1600000000.M1P1.big:2,S"
        line = b"%072d\n"
        with open(big, "wb") as f:
            f.write(b"From: big@example.org\nSubject: big\nDate: Fri, 17 Jul 2020 02:44:25 +0000\n\n")
            for at in range(0, self.megabytes * 1000000, 73000):
                f.write(b"".join(line % (at + n) for n in range(1000)))
        os.chown(big, cur.stat().st_uid, cur.stat().st_gid)

    def printed(self, side):
        """SHA-256 of the largest message, without CR; its size."""
        path = max((self.dir / f"{side}-mail" / "u1" / "Maildir" / "cur").iterdir(), key=lambda p: p.stat().st_size)
        digest = hashlib.sha256()
        with open(path, "rb") as f:
            while octets := f.read(1 << 20):
                digest.update(octets.replace(b"\r", b""))
        return digest.hexdigest(), path.stat().st_size

    def test_one_huge_message_streams(self):
        began, memory = time.monotonic(), 0
        with open(self.dir / "said", "w+") as said:
            p = subprocess.Popen([str(a) for a in self.argv("run", "--json")], stdout=subprocess.PIPE, stderr=said, text=True)
            while p.poll() is None:
                try:
                    memory = max(memory, int(re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{p.pid}/status").read_text())[1]))
                except (OSError, TypeError):
                    pass    # it is ending
                time.sleep(0.05)
            out = p.communicate()[0]
            said.seek(0)
            self.assertEqual(p.returncode, 0, said.read())
        report = json.loads(out)
        self.assertEqual(report["books"]["verified"], report["books"]["inventory"])
        self.assertEqual(self.printed("source")[0], self.printed("target")[0])
        print(f"{self.printed('source')[1] / 1e6:.0f} MB in {time.monotonic() - began:.0f} s, {memory / 1024:.0f} MiB of memory", file=sys.stderr)
        self.assertGreater(memory, 0)
        if not support.SANITIZED:
            self.assertLess(memory, 64 * 1024)


support.main()
