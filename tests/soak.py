#!/usr/bin/env python3
"""Soak: a long migration between two Dovecots, everything killed and restarted at random until it is done; then judged.

  tests/soak.py PROGRAM [--messages 100000] [--accounts 20] [--seed N] [--quiet-after MINUTES] [--result FILE]

Every one to five seconds: the program gets kill -9 (and is started again), or a server is stopped and started, or some of its imap
processes get kill -9. After --quiet-after minutes nothing more is broken, so that it ends. At the end the program must say
"Complete", its books must close, a further run must send nothing, and fixtures/judge.py must find nothing lost and nothing there
twice that is not on the program's list. Writes the figures into FILE (docs/soak-result.md) and exits 0 if all of it holds.
Run by hand, or in the night: a few minutes for 100,000 messages on two cores. Python standard library only."""
import argparse, datetime, json, os, random, shutil, signal, sqlite3, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "fixtures"
sys.path.insert(0, str(FIXTURES))
import judge  # noqa: E402


def children(pid, name):
    """Its direct children of that name."""
    found = []
    try:
        for child in open(f"/proc/{pid}/task/{pid}/children").read().split():
            try:
                if open(f"/proc/{child}/comm").read().strip() == name:
                    found.append(int(child))
            except OSError:
                pass  # ended meanwhile
    except OSError:
        pass
    return found


class Soak:
    def __init__(self, options):
        self.options = options
        self.chance = random.Random(options.seed)
        self.dir = Path(tempfile.mkdtemp(prefix="4d2kms-soak-"))
        self.dir.chmod(0o755)
        self.state = self.dir / "state"
        self.done = {"kills of the program": 0, "restarts of the source": 0, "restarts of the target": 0,
                     "kill -9 of the source's imap processes": 0, "kill -9 of the target's imap processes": 0}
        self.memory = 0  # KiB
        self.runs = 0

    def sandbox(self, *words):
        subprocess.run(["sh", FIXTURES / "sandbox.sh", words[0], self.dir, *words[1:]], check=True, stdout=subprocess.DEVNULL)

    def prepare(self):
        logins = [f"u{i}" for i in range(1, self.options.accounts + 1)]
        for side in ("source", "target"):
            (self.dir / f"{side}.users").write_text("".join(f"{u}\tsecret\n" for u in logins))
        self.pairs = [(u, "secret", u, "secret") for u in logins]
        roster = self.dir / "roster.csv"
        roster.write_text("address;password;source_login;target_login\n" + "".join(f"{u}@example.org;secret;{u};{u}\n" for u in logins))
        roster.chmod(0o600)
        each = self.options.messages // self.options.accounts
        made = subprocess.run([sys.executable, FIXTURES / "make_mail.py", "maildir", self.dir / "source-mail", "--users", self.dir / "source.users", "--messages", str(each),
                               "--seed", str(self.options.seed)], check=True, stdout=subprocess.PIPE, text=True)
        print(made.stdout.strip(), flush=True)
        self.sandbox("start")

    def port(self, side):
        return int((self.dir / f"{side}.port").read_text())

    def start(self, command, *more):
        self.runs += 1
        # A server that was stopped may come back on other ports.
        argv = [self.options.program, command, "--roster", self.dir / "roster.csv", "--source-host", "127.0.0.1", "--source-port", self.port("source"), "--target", "imap",
                "--target-host", "127.0.0.1", "--target-tls", "none", "--target-imap-port", self.port("target"), "--state", self.state, "--settle", 2, "--timeout", 20,
                "--same-servers", "--quiet", *more]
        self.output = open(self.dir / "output", "w+")
        return subprocess.Popen([str(a) for a in argv], stdout=self.output, stderr=subprocess.STDOUT, text=True)

    def watch(self, p):
        try:
            for line in open(f"/proc/{p.pid}/status"):
                if line.startswith("VmHWM"):
                    self.memory = max(self.memory, int(line.split()[1]))
        except OSError:
            pass

    def disturb(self, p):
        what = self.chance.choices(list(self.done), [4, 2, 2, 2, 2])[0]
        if what == "kills of the program":
            if p.poll() is not None:
                return
            p.kill()
        else:
            side = "source" if "source" in what else "target"
            if what.startswith("restarts"):
                self.sandbox("stop", side)
                time.sleep(self.chance.uniform(0, 1))
                self.sandbox("start", side)
            else:
                workers = children(int((self.dir / f"{side}.pid").read_text()), "imap")
                hit = self.chance.sample(workers, min(len(workers), self.chance.randint(1, 3)))
                if not hit:
                    return
                for pid in hit:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
        self.done[what] += 1

    def migrate(self):
        """Runs until the program says 0, however often that takes."""
        began = time.monotonic()
        while True:
            p = self.start("run")
            quiet = time.monotonic() - began > 60 * self.options.quiet_after
            next_one = time.monotonic() + self.chance.uniform(1, 5)
            while p.poll() is None:
                self.watch(p)
                time.sleep(0.1)
                if not quiet and time.monotonic() > next_one:
                    self.disturb(p)
                    next_one = time.monotonic() + self.chance.uniform(1, 5)
                quiet = quiet or time.monotonic() - began > 60 * self.options.quiet_after
            self.output.seek(0)
            said = self.output.read()
            self.output.close()
            if p.returncode == 0:
                print(said.strip().splitlines()[-1], flush=True)
                break
            if p.returncode not in (-9, 1, 3):
                raise SystemExit(f"exit code {p.returncode} is none that a killed server explains:\n{said[-3000:]}")
            if self.runs > 100000 or quiet and p.returncode != -9 and self.runs_in_quiet(began) > 10:
                raise SystemExit(f"it does not end although nothing is broken any more:\n{said[-3000:]}")
        return time.monotonic() - began

    def runs_in_quiet(self, began):
        self.quiet_runs = getattr(self, "quiet_runs", 0) + 1
        return self.quiet_runs

    def books(self):
        db = sqlite3.connect(self.state / "state.db")
        try:
            keys = ("inventory", "bound", "gone", "excluded", "quarantined", "pending")
            books = dict(zip(keys, db.execute("SELECT count(*), sum(state IN (3,4)), sum(state=5), sum(state=6), sum(state=7), sum(state<3) FROM message").fetchone()))
            removed, listed = db.execute("SELECT coalesce(sum(removed), 0), count(*) - coalesce(sum(removed), 0) FROM surplus").fetchone()
            appended = db.execute("SELECT appended FROM run ORDER BY id DESC LIMIT 1").fetchone()[0]
            return books, removed, listed, appended
        finally:
            db.close()

    def run(self):
        try:
            self.prepare()
            seconds = self.migrate()
            # What a killed server process left half done shows by now; this run sweeps it, and sends nothing.
            last = self.start("run")
            code = last.wait()
            self.output.close()
            books, removed, listed, appended = self.books()
            verdict = judge.judge(self.port("source"), self.port("target"), self.pairs, canonical=True)
        finally:
            self.sandbox("stop")
            shutil.rmtree(self.dir, ignore_errors=True)
        others = {k: verdict[k] for k in judge.FAULTS if verdict[k] and k not in ("duplicates", "order")}
        good = (code == 0 and not others and verdict["duplicates"] == listed and appended == 0 and books["pending"] == 0
                and books["inventory"] == sum(v for k, v in books.items() if k != "inventory") == verdict["source_messages"])
        self.write(good, seconds, books, removed, listed, verdict, others)
        return 0 if good else 1

    def write(self, good, seconds, books, removed, listed, verdict, others):
        lines = ["# Soak", "", "Written by `tests/soak.py PROGRAM`: a migration between two Dovecots in which the program, both servers and their processes are", "killed and restarted at random, "
                 "every one to five seconds, until it is done; judged by `fixtures/judge.py`.", "", "| | |", "|---|---|"]
        rows = [("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")), ("seed", self.options.seed),
                ("messages, accounts", f"{verdict['source_messages']:,}, {self.options.accounts}"), ("runs of the program", self.runs), *self.done.items(),
                ("time", f"{seconds / 60:.1f} minutes on {os.cpu_count()} cores"), ("memory of the program at most", f"{self.memory / 1024:.0f} MiB"),
                ("books", ", ".join(f"{k} {v:,}" for k, v in books.items())), ("lost", verdict["lost"]), ("there twice and not on the list", verdict["duplicates"] - listed),
                ("second copies removed, listed", f"{removed}, {listed}"), ("mailboxes in another order", verdict["order"]),
                ("other faults", json.dumps(others) if others else "none"), ("verdict", "nothing lost, nothing doubled" if good else "**NOT IN ORDER**")]
        lines += [f"| {k} | {v} |" for k, v in rows]
        Path(self.options.result).write_text("\n".join(lines) + "\n")
        print("\n".join(lines), flush=True)
        if not good:
            print(json.dumps(verdict, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("--messages", type=int, default=100000)
    parser.add_argument("--accounts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--quiet-after", type=float, default=600)
    parser.add_argument("--result", default=ROOT / "docs" / "soak-result.md")
    sys.exit(Soak(parser.parse_args()).run())


main()
