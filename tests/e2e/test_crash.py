"""kill -9, frozen servers, lost answers and restarts on real servers: nothing lost, nothing twice."""
import os, random, shutil, signal, subprocess, sys, time
import support
from support import FIXTURES, PROGRAM, SANITIZED, Sandbox


class Kill(Sandbox):
    users = [(f"u{i}", "secret", f"u{i}") for i in range(1, 6)]
    messages = 400

    def stored(self):
        n = 0
        for box in (self.dir / "target-mail").glob("*/Maildir"):
            for folder in (box, *box.glob(".*")):
                try:
                    n += sum(1 for _ in os.scandir(folder / "cur")) if (folder / "cur").is_dir() else 0
                except OSError:
                    pass
        return n

    def test_thirty_kills_of_one_migration(self):
        chance = random.Random(int(os.environ.get("SEED", "20")))
        rounds, kills = int(os.environ.get("KILLS", "30")), 0
        total = len(self.users) * self.messages
        for n in range(rounds):
            # Killed when the target holds so many messages, so that the kills are spread over the whole migration.
            at = chance.uniform(n, n + 1) * total / rounds
            kills += support.killed_when(lambda: self.stored() >= at, self.argv("run", "--settle", 1, "--quiet"), chance)
        r = self.report("run", "--settle", 1)
        print(f"{kills} kills of {rounds}; the last run sent {r['run']['appended']} of {r['books']['inventory']}", file=sys.stderr)
        self.assertGreaterEqual(kills, rounds * 2 // 3)
        self.expect_clean("after the kills")
        self.assertEqual(r["books"]["bound"], r["books"]["inventory"])
        log = self.dir / "commands"
        port = self.relay("--log", log)
        self.assertEqual(self.report("run", "--same-servers", target_port=port)["run"]["appended"], 0)
        shutil.rmtree(self.state)
        self.assertEqual(self.report("run", target_port=port)["run"]["appended"], 0)
        self.assertNotIn("APPEND", log.read_text())
        self.tool("verify", "--same-servers")


class Faults(Sandbox):
    users = [("u1", "secret", "u1"), ("u2", "secret", "u2")]
    messages = 150

    def test_lost_answers_and_cuts_at_every_point_of_an_append(self):
        for options in (["--drop-tagged", r"\bAPPEND :2"], ["--cut-on", r"\bAPPEND :2", "--cut-when", "before"], ["--cut-on", r"\bAPPEND :2", "--cut-when", "middle"],
                        ["--cut-on", r"\bAPPEND :2", "--cut-when", "after"], ["--cut-on", r"\bAPPEND :2", "--cut-when", "complete"], ["--cut-after-octets", "20000"]):
            for hide in ([], ["--hide", "MULTIAPPEND,UIDPLUS"]):
                with self.subTest(fault=options, hide=hide):
                    support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
                    shutil.rmtree(self.dir / "target-mail", ignore_errors=True)
                    shutil.rmtree(self.state, ignore_errors=True)
                    support.run(FIXTURES / "sandbox.sh", "start", self.dir, "target")
                    r = self.report("run", "--settle", 1, target_port=self.relay(*options, *hide))
                    self.expect_clean(str(options))
                    self.assertEqual(r["books"]["pending"], 0)

    def test_server_frozen_in_an_append_that_finishes_later(self):
        """F15: the old session stores its window after we have looked, reconnected and sent it again."""
        frozen = []
        for _ in range(5):
            frozen = self.freeze_in_an_append()
            if frozen:
                break
            support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
            shutil.rmtree(self.dir / "target-mail", ignore_errors=True)
            shutil.rmtree(self.state, ignore_errors=True)
            support.run(FIXTURES / "sandbox.sh", "start", self.dir, "target")
        self.assertTrue(frozen, "no server process was caught in an APPEND")
        time.sleep(2)
        # What the thawed session stored too late is swept by the next run, or is on the list.
        self.tool("run", "--settle", 1, "--same-servers", exit=None)
        self.assertIn(self.code, (0, 3))
        code, verdict = self.judge()
        print("frozen:", len(frozen), "clean:", code == 0, file=sys.stderr)
        if code != 0:
            self.assertIn("Surplus", self.tool("report"), verdict)

    def writing(self, user):
        try:
            return any((self.dir / "target-mail" / user).rglob("tmp/*"))
        except OSError:
            return False  # not there yet, or renamed while we looked

    def freeze_in_an_append(self):
        """The target's processes that were stopped while a message was written; thawed when the program has ended."""
        master = next(self.dir.rglob("target*/master.pid")).read_text().strip()
        # Slowed down, so that there is time to hit it in the middle of a window.
        port = self.relay("--delay", 60)
        p = subprocess.Popen([str(a) for a in self.argv("run", "--settle", 1, "--timeout", 2, "--jobs", 1, "--json", "--only", "u1@*", target_port=port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        frozen = []
        end = time.monotonic() + 60
        while not frozen and time.monotonic() < end and p.poll() is None:
            if self.writing("u1"):
                for e in filter(str.isdigit, os.listdir("/proc")):
                    try:
                        with open(f"/proc/{e}/stat") as f:
                            name, rest = f.read().rsplit(")", 1)
                        if rest.split()[1] == master and name.endswith("(imap"):
                            os.kill(int(e), signal.SIGSTOP)
                            frozen.append(int(e))
                    except OSError:
                        continue
        try:
            p.communicate(timeout=120)
        finally:
            for pid in frozen:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        return frozen

    def test_target_restarted_in_the_middle(self):
        p = subprocess.Popen([str(a) for a in self.argv("run", "--settle", 1, "--json")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.6 if SANITIZED else 0.15)
        support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
        time.sleep(0.5)
        support.run(FIXTURES / "sandbox.sh", "start", self.dir, "target")
        p.communicate(timeout=120)
        self.report("run", "--settle", 1, "--same-servers")
        self.expect_clean()

    def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(self):
        p = subprocess.Popen([str(a) for a in self.argv("run", "--settle", 1)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(0.8 if SANITIZED else 0.12)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        self.assertIn(p.returncode, (130, 0), err)
        if p.returncode == 130:
            self.assertIn("run the same command again", out)
        self.report("run", "--settle", 1)
        self.expect_clean()


support.main()
