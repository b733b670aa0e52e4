"""What the end-to-end tests share: two private Dovecots, the program under test, the judge.

Each script is run as `test_x.py PROGRAM` and is an ordinary unittest."""
import json, os, re, shutil, subprocess, sys, tempfile, time, unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
sys.path.insert(0, str(FIXTURES))
import judge  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else ""
SANITIZED = b"__asan_init" in Path(PROGRAM).read_bytes() if PROGRAM else False
# What a client sends that changes something; `SELECT` and `CLOSE` can, too.
WRITES = re.compile(rb"^[0-9.]+ \S+ (UID )?(STORE|APPEND|CREATE|DELETE|RENAME|COPY|MOVE|EXPUNGE|SUBSCRIBE|UNSUBSCRIBE|SELECT|CLOSE|SETMETADATA|SETACL)\b", re.I | re.M)


def run(*argv, env=None, check=True, **more):
    return subprocess.run([str(a) for a in argv], env={**os.environ, **(env or {})}, check=check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


class Sandbox(unittest.TestCase):
    """A fresh pair of servers for each test. `users` = [(source login, password, target login)]."""
    users = [(f"u{i}", "secret", f"u{i}") for i in range(1, 4)]
    messages = 300
    options = {}

    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="4d2kms-e2e-"))
        self.dir.chmod(0o755)
        self.state = self.dir / "state"
        self.relays = []
        (self.dir / "source.users").write_text("".join(f"{s}\t{p}\n" for s, p, _ in self.users))
        (self.dir / "target.users").write_text("".join(f"{t}\t{p}\n" for _, p, t in self.users))
        (self.dir / "pairs").write_text("".join(f"{s}\t{p}\t{t}\t{p}\n" for s, p, t in self.users))
        self.roster = self.dir / "roster.csv"
        self.roster.write_text("address;password;source_login;target_login\n" + "".join('%s@example.org;"%s";%s;%s\n' % (s, p.replace('"', '""'), s, t) for s, p, t in self.users))
        self.roster.chmod(0o600)
        self.fill()
        self.start_servers()

    def start_servers(self):
        run(FIXTURES / "sandbox.sh", "start", self.dir, env=self.options)

    def fill(self):
        run(sys.executable, FIXTURES / "make_mail.py", "maildir", self.dir / "source-mail", "--users", self.dir / "source.users", "--messages", self.messages, "--big", 1)

    def tearDown(self):
        for r in self.relays:
            r.kill()
            r.wait()
            r.stdout.close()
        run(FIXTURES / "sandbox.sh", "stop", self.dir, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def port(self, name, tls=False):
        return int((self.dir / f"{name}.{'tls-' if tls else ''}port").read_text())

    def relay(self, *options, side="target"):
        """A relay in front of a server; its port."""
        p = subprocess.Popen([sys.executable, str(FIXTURES / "relay.py"), "0", str(self.port(side)), *map(str, options)], stdout=subprocess.PIPE, text=True)
        self.relays.append(p)
        return int(p.stdout.readline().split()[1])

    def source_options(self):
        return ["--roster", self.roster, "--source-host", "127.0.0.1", "--source-port", self.port("source")]

    def argv(self, command, *more, target_port=None, state=None):
        return [PROGRAM, command, *self.source_options(), "--target", "imap", "--target-host", "127.0.0.1", "--target-tls", "none",
                "--target-imap-port", target_port or self.port("target"), "--state", state or self.state, *more]

    def tool(self, command, *more, exit=0, **where):
        """Runs the program; its standard output. `exit`: the code it must answer, or None."""
        r = subprocess.run([str(a) for a in self.argv(command, *more, **where)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        if exit is not None:
            self.assertEqual(r.returncode, exit, r.stdout[:3000] + r.stderr[-6000:])
        self.said = r.stderr
        self.code = r.returncode
        return r.stdout

    def report(self, command="run", *more, exit=0, **where):
        out = self.tool(command, "--json", *more, exit=exit, **where)
        return json.loads(out)

    def judge(self, canonical=True):
        r = run(sys.executable, FIXTURES / "judge.py", self.port("source"), self.port("target"), "--pairs", self.dir / "pairs", *(["--canonical"] if canonical else []), check=False)
        return r.returncode, json.loads(r.stdout)

    def expect_clean(self, when=""):
        code, verdict = self.judge()
        self.assertEqual(code, 0, f"{when}: {json.dumps(verdict, indent=1)[:4000]}")

    def raw(self, name):
        """All that clients have sent to a server since it was last asked."""
        out = b""
        for f in sorted((self.dir / f"{name}-rawlog").rglob("*.in")):
            out += f.read_bytes()
            f.unlink()
        return out


def main():
    sys.argv = [sys.argv[0], *sys.argv[2:]]  # further words: names of tests
    unittest.main(verbosity=2)


def killed_when(ready, argv, chance):
    """Runs the command and sends it kill -9 within 20 ms of `ready()`; whether it was still running."""
    p = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while p.poll() is None and not ready():
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.02))
    running = p.poll() is None
    if running:
        p.kill()
    p.wait()
    return running
