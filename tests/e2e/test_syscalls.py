"""The program dies at a system call, or a system call fails: nothing lost, nothing twice, and one clear sentence.

strace counts the calls and makes the faults. It counts each thread by itself: the network has one, the store another, and what
both do is hit first in the one that is further ahead. SYSCALL_SWEEP=all tries every call instead of a sample."""
import os, re, shutil, subprocess, sys
import support
from tries import Tries

# LeakSanitizer traces its own process, which strace does already.
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
SWEEP_ALL = os.environ.get("SYSCALL_SWEEP") == "all"
REPORTS = ["reports/run-1.json.part", "reports/run-1.txt.part"]
PATHS = ["state.db", "state.db-wal", "state.db-journal", "lock", "4d2kms.log", *REPORTS]


def sample(count, size):
    """1..count, or `size` of them spread over all: the first always, the last if there is room for two."""
    if SWEEP_ALL or count <= size:
        return list(range(1, count + 1))
    return sorted({1 + round(i * (count - 1) / max(1, size - 1)) for i in range(size)})


class Syscalls(Tries):
    def traced(self, calls, *more, paths=(), output=None):
        """Runs the program under strace, looking at `calls` (on `paths` only, if there are any)."""
        where = [word for p in paths for word in ("-P", str(self.state / p))]
        argv = ["strace", "-f", "-qq", "-o", output or "/dev/null", *where, "-e", f"trace={calls}", *more, *self.argv("run", "--settle", 0.5)]
        # A folder of its own, to see a core file.
        return subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, timeout=120, cwd=self.dir)

    def count(self, calls, paths=()):
        """How often the busiest thread makes each of these calls in an undisturbed run: {call: times}."""
        output = self.dir / "calls"
        r = self.traced(calls, paths=paths, output=output)
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        threads = {}
        for thread, call in re.findall(r"^(\d+) +(\w+)\(", output.read_text(), re.M):
            threads[thread, call] = threads.get((thread, call), 0) + 1
        busiest = {}
        for (_, call), times in threads.items():
            busiest[call] = max(times, busiest.get(call, 0))
        self.next_try()
        return busiest

    def resume(self, when):
        r = subprocess.run([str(a) for a in self.argv("run", "--settle", 0.5, "--quiet")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual(r.returncode, 0, f"{when}: {r.stdout} {r.stderr}")
        self.expect_all_well(when)

    def test_dying_at_any_call_loses_and_doubles_nothing(self):
        tried = died = 0
        # Where no path is given, it is every file and every connection.
        for calls, paths, size in (("sendto", (), 16), ("recvfrom", (), 6), ("fdatasync", (), 10), ("pwrite64", PATHS, 4), ("pwrite64", ["state.db-wal"], 8),
                                   ("unlink,ftruncate,mkdir,flock,writev", PATHS, 1)):
            for call, times in self.count(calls, paths).items():
                for n in sample(times, size):
                    when = f"killed at {call} {n} of {times}"
                    r = self.traced(call, "-e", f"inject={call}:signal=KILL:when={n}", paths=paths)
                    tried += 1
                    died += r.returncode in (-9, 137)
                    # The busiest thread's last calls can be one more or less from run to run.
                    self.assertIn(r.returncode, (-9, 137) if n < times * 0.8 else (-9, 137, 0), f"{when}: {r.stdout} {r.stderr}")
                    self.resume(when)
                    self.next_try()
        print(f"died at {died} of {tried} calls", file=sys.stderr)
        self.assertGreater(died, tried * 0.9)

    def test_calls_that_fail_end_in_one_clear_sentence(self):
        tried, codes = 0, {}
        for calls, paths, size in (("pwrite64", ["state.db-wal"], 3), ("pwrite64", ["state.db", "state.db-journal"], 2), ("pwrite64", ["lock"], 1), ("fdatasync", (), 3),
                                   ("openat", PATHS, 9), ("mkdir", [".", "reports"], 2), ("writev,write", REPORTS, 1), ("write", ["4d2kms.log"], 1),
                                   ("unlink,ftruncate", ["state.db-wal", "state.db-journal"], 1)):
            for call, times in self.count(calls, paths).items():
                for n in sample(times, size):
                    for error in ("EIO", "ENOSPC"):
                        for when in (f"{n}", f"{n}+"):  # once, or from then on
                            what = f"{error} at {call} {when} of {times} on {' '.join(paths) or 'any file'}"
                            if not SWEEP_ALL and (n + len(error) + len(when)) % 2:
                                continue  # half of them
                            r = self.traced(call, "-e", f"inject={call}:error={error}:when={when}", paths=paths)
                            tried += 1
                            with self.subTest(what):
                                self.judge_failure(r, what)
                                if paths is REPORTS:
                                    self.assertIn("Could not write", r.stderr, what)
                            codes[r.returncode] = codes.get(r.returncode, 0) + 1
                            self.resume(what)
                            self.next_try()
        print(f"{tried} failures: exit codes {codes}", file=sys.stderr)

    def test_nobody_goes_on_behind_a_failed_sync(self):
        """The kernel may call the next one a success although the octets are lost. Once the store is at work, that is: its
        last syncs only tidy up, when all is recorded."""
        times = self.count("fdatasync", ["state.db-wal"])["fdatasync"]
        for n in sample(int(times * 0.9), 20):
            what = f"EIO at sync {n} of {times}"
            r = self.traced("fdatasync", "-e", f"inject=fdatasync:error=EIO:when={n}", paths=["state.db-wal"])
            with self.subTest(what):
                self.judge_failure(r, what)
                self.assertEqual(r.returncode, 10, what)
            self.next_try()

    def judge_failure(self, r, what):
        said = f"{what}: {r.returncode}\n{r.stdout}\n{r.stderr}"
        self.assertIn(r.returncode, (0, 1, 10), said)  # a signal would be negative
        self.assertFalse([n for n in os.listdir(self.dir) if n.startswith("core")], said)
        if r.returncode == 0:
            self.assertIn("Complete", r.stdout)
            self.expect_all_well(what)  # it coped
            return
        self.assertNotIn("Complete", r.stdout, said)
        complaints = [line for line in r.stderr.splitlines() if line.startswith("4d2kms: ")]
        self.assertEqual(len(complaints), 1, said)
        self.assertIn(str(self.state), complaints[0], said)
        self.assertRegex(complaints[0], r"run again|Make room|[Cc]heck|--state|--log-file|rights", said)
        self.assertNotIn("unexpected", complaints[0], said)


if not shutil.which("strace"):
    print("strace is not installed", file=sys.stderr)
    sys.exit(77)
support.main()
