"""The line breaks, at chosen places and in every way a line can, or is slow: what was sent once is there once.

Each try has a relay before one of the two servers that makes one fault; then a further run without it. WIRE=all tries every
place in every way, instead of each place in one."""
import itertools, os, re, subprocess, time
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


support.main()
