"""What can be asked of a run and changed in it while it works: status, tune, stop, report, and clients that mean ill."""
import json, os, pty, select, signal, socket, stat, subprocess, sys, time
import support
from support import FIXTURES, PROGRAM, Sandbox

ASK = b'{"4d2kms":1,"request":"status"}\n'


class Control(Sandbox):
    users = [(f"u{i}", "secret", f"u{i}") for i in range(1, 7)]
    messages = 120
    slow = ["--max-rate", "100K", "--verify", "none", "--settle", 1]  # minutes, unless it is told to go faster

    def setUp(self):
        super().setUp()
        self.running = []

    def fill(self):  # none of the large ones: windows must be small beside the limit
        support.run(sys.executable, FIXTURES / "make_mail.py", "maildir", self.dir / "source-mail", "--users", self.dir / "source.users", "--messages", self.messages)

    def tearDown(self):
        for p in self.running:
            if p.poll() is None:
                p.kill()
            p.communicate()
        super().tearDown()

    def start(self, *more, **where):
        p = subprocess.Popen([str(a) for a in self.argv("run", *more, **where)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.running.append(p)
        return p

    def ended(self, p, exit=0):
        out, err = p.communicate(timeout=200)
        self.assertEqual(p.returncode, exit, out[:2000] + err[-4000:])
        return out, err

    def call(self, *argv, exit=0, state=None):
        r = subprocess.run([PROGRAM, *map(str, argv), "--state", str(state or self.state)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        if exit is not None:
            self.assertEqual(r.returncode, exit, r.stdout + r.stderr)
        self.said = r.stderr
        return r.stdout

    def status(self, **where):
        return json.loads(self.call("status", "--json", **where))

    def until(self, wanted, what, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := wanted():
                return value
            time.sleep(0.05)
        self.fail(f"never: {what}")

    def copying(self, messages=1, **where):
        """The status of a run that has copied some messages, and is not done."""
        def look():
            s = self.status(**where) if os.path.exists(f"{where.get('state') or self.state}/control") else {}
            return s.get("stage") == "copy" and s["messages_done"] >= messages and s
        return self.until(look, "a copy under way")

    def connections(self):
        """To the target, as the kernel counts them."""
        port = "%04X" % self.port("target")
        with open("/proc/net/tcp") as table:
            return sum(f[2].endswith(":" + port) and f[3] == "01" for f in map(str.split, table.readlines()[1:]))

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(self.state / "control"))
        s.settimeout(20)
        return s

    def test_status_report_and_end(self):
        first = self.report("run", "--only", "u1@example.org", "--verify", "none")
        run = self.start(*self.slow)
        def with_a_pace():  # which takes two samples, half a second apart
            s = self.copying(20)
            return s["eta_seconds"] and s
        s = self.until(with_a_pace, "a time to go")
        self.assertEqual(stat.S_IMODE(os.stat(self.state / "control").st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.state).st_mode), 0o700)
        self.assertEqual((s["4d2kms"], s["ok"], s["command"], s["pid"]), (1, True, "run", run.pid))
        self.assertEqual(s["accounts"], 5, "that of the run before has nothing to copy")
        self.assertEqual(s["accounts_running"], 4)
        self.assertEqual({a["account"] for a in s["running"]} - {f"u{i}@example.org" for i in range(2, 7)}, set())
        self.assertEqual(s["messages_done"], sum(a["messages_done"] for a in s["running"]), "nobody has ended yet")
        self.assertGreaterEqual(s["messages"], 5 * 120)
        self.assertLess(s["octets_done"], s["octets"])
        self.assertGreater(s["eta_seconds"], 1)
        self.assertTrue(any("octets a second" in a.get("waiting", "") for a in s["running"]), s)
        self.assertIn("messages", self.call("status"))
        # The report of the run before, from beside this one.
        beside = json.loads(self.call("report", "--json"))
        self.assertEqual(beside["run"], first["run"])
        self.assertIn("a run is working", self.said)
        self.call("report", "--run", 99, exit=11)
        watch = subprocess.Popen([PROGRAM, "status", "--watch", "--json", "--state", str(self.state)], stdout=subprocess.PIPE, text=True)
        self.running.append(watch)
        run.send_signal(signal.SIGUSR1)
        self.call("tune", "--max-rate", 0)
        _, err = self.ended(run)
        self.assertRegex(err, r"copy: [\d,]+ of [\d,]+ messages")
        lines = [json.loads(l) for l in watch.communicate(timeout=30)[0].splitlines()]
        self.assertIn("stage", lines[0])
        self.assertIn("runs", lines[-1], "it ends with the books")
        self.assertFalse(os.path.exists(self.state / "control"))
        self.assertIn("runs", self.status())
        self.expect_clean()

    def test_tune_changes_a_running_run(self):
        run = self.start(*self.slow, "--jobs", 1)
        self.copying()
        self.assertEqual(self.connections(), 1)
        self.assertIn("3 accounts at once", self.call("tune", "--jobs", 3))
        self.until(lambda: self.connections() == 3, "three accounts at once", 5)
        self.call("tune", "--jobs", 60)
        self.assertIn("--source-connections", self.said)
        self.until(lambda: self.connections() == 4, "four, for that many connections are allowed", 5)
        lowered = self.status()
        self.call("tune", "--jobs", 1)
        self.assertEqual(self.status()["accounts_running"], 4, "nobody is thrown out")
        before = self.status()
        self.call("tune", "--max-rate", "2M")
        # Never more than those that were running, and one alone at last.
        seen = set()
        while run.poll() is None and self.connections():
            seen.add(self.connections())
            time.sleep(0.02)
        self.assertLessEqual(max(seen), 4)
        self.assertIn(1, seen)
        self.ended(run)
        self.assertEqual(lowered["tuning"]["accounts_at_once"], 4)
        self.assertEqual(before["tuning"]["max_rate"], 100 * 1024)
        self.expect_clean()

    def test_rate_is_kept(self):
        run = self.start(*self.slow)
        s = self.copying()
        began = time.monotonic()
        self.call("tune", "--max-rate", (s["octets"] - s["octets_done"]) // 8)
        self.ended(run)
        # Eight seconds, but for the window that each account had on its way, and nearly no more.
        self.assertGreater(time.monotonic() - began, 5)
        self.assertLess(time.monotonic() - began, 40)
        self.expect_clean()

    def test_tune_that_is_wrong_changes_nothing(self):
        run = self.start(*self.slow)
        was = self.copying()["tuning"]
        self.call("tune", exit=2)
        for wrong in (b'{"4d2kms":1,"request":"tune","jobs":0}\n', b'{"4d2kms":1,"request":"tune","jobs":2,"colour":"red"}\n', b'{"4d2kms":1,"request":"tune","max_rate":-1}\n'):
            with self.connect() as s:
                s.sendall(wrong)
                self.assertFalse(json.loads(s.makefile().readline())["ok"])
        self.assertEqual(self.status()["tuning"], was)
        self.call("stop")
        self.ended(run, 130)

    def test_quiet_hours_hold_the_mail_back_and_end_when_told(self):
        now = time.localtime(time.time() - 60)
        later = time.localtime(time.time() + 7200)
        run = self.start("--verify", "none", "--quiet-hours", time.strftime("%H:%M", now) + "-" + time.strftime("%H:%M", later))
        waits = self.until(lambda: os.path.exists(self.state / "control") and [a for a in self.status().get("running", []) if "quiet hours" in a.get("waiting", "")], "waiting for the quiet hours")
        self.assertGreater(waits[0]["waiting_seconds"], 7000)
        time.sleep(1)
        self.assertEqual(self.status()["messages_done"], 0)
        self.call("tune", "--quiet-hours", "")
        self.ended(run)
        self.expect_clean()

    def test_stop_then_resume(self):
        run = self.start(*self.slow)
        done = self.copying(10)["messages_done"]
        self.call("stop")
        began = time.monotonic()
        self.ended(run, 130)
        self.assertLess(time.monotonic() - began, 10, "nobody waits for a limit when told to stop")
        self.call("stop", exit=1)
        self.assertIn("No 4d2kms", self.said)
        r = self.report("run")
        self.assertEqual(r["books"]["pending"], 0)
        self.assertLess(r["run"]["appended"], r["books"]["inventory"] - done + 1)
        self.expect_clean()

    def test_a_terminal_that_is_gone_stops_it_but_under_nohup(self):
        run = self.start(*self.slow)
        self.copying()
        run.send_signal(signal.SIGHUP)
        self.ended(run, 130)
        ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        try:
            again = self.start(*self.slow)
        finally:
            signal.signal(signal.SIGHUP, ignored)
        self.copying()
        again.send_signal(signal.SIGHUP)
        self.call("tune", "--max-rate", 0)
        self.ended(again)
        self.expect_clean()

    def test_hostile_clients_change_nothing(self):
        run = self.start(*self.slow)
        self.copying()
        with self.connect() as s:  # a line of 1 MB
            try:
                s.sendall(b"x" * (1 << 20))
                self.assertIn(b"at most", s.recv(4096))
            except (BrokenPipeError, ConnectionResetError):
                pass
        for wrong in (b"\n", b"nonsense\n", b"[]\n", b'{"4d2kms":2,"request":"status"}\n', b'{"4d2kms":1}\n', b'{"4d2kms":1,"request":"rm"}\n', b"[" * 4000 + b"\n", b"\xff\xfe\n"):
            with self.connect() as s:
                s.sendall(wrong)
                self.assertFalse(json.loads(s.makefile().readline())["ok"], wrong)
        with self.connect() as s:  # many at once, in any pieces
            for i in range(0, len(ASK), 3):
                s.sendall(ASK[i:i + 3])
            s.sendall(ASK * 5)
            f = s.makefile()
            self.assertTrue(all(json.loads(f.readline())["ok"] for _ in range(6)))
        with self.connect() as s:  # asks, and never fetches an answer
            s.setblocking(False)
            try:
                for _ in range(100000):
                    s.send(ASK)
            except BlockingIOError:
                pass
            self.assertTrue(self.status()["ok"])
        before = self.status()["messages_done"]
        half = [self.connect() for _ in range(100)]
        try:
            for s in half:
                try:
                    s.sendall(b'{"4d2kms"')
                except (BrokenPipeError, ConnectionResetError):
                    pass
            descriptors = len(os.listdir(f"/proc/{run.pid}/fd"))
            self.assertLess(descriptors, 60, "those beyond a few are let go")
            # They keep nobody out, and the run goes on meanwhile.
            self.until(lambda: self.status()["messages_done"] > before, "more messages", 30)
        finally:
            for s in half:
                s.close()
        self.call("tune", "--max-rate", 0)
        self.ended(run)
        self.expect_clean()

    def listens(self):
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def test_socket_of_a_killed_run_is_replaced(self):
        run = self.start(*self.slow)
        self.copying()
        run.kill()
        run.wait()
        self.assertTrue(os.path.exists(self.state / "control"))
        self.assertIn("runs", self.status(), "nobody listens there: the state itself is read")
        again = self.start(*self.slow)
        # Knocked at, not asked by "status": where nobody listens yet that opens the state, and the run would find it locked.
        self.until(self.listens, "the socket of the next run")
        refused = self.start()  # a second run gets no lock, and leaves the first one's socket alone
        self.ended(refused, 11)
        self.assertEqual(self.status()["pid"], again.pid)
        self.call("tune", "--max-rate", 0)
        self.ended(again)
        self.expect_clean()

    def test_path_longer_than_a_socket_address(self):
        deep = self.dir / ("d" * 60) / ("e" * 60)
        deep.mkdir(parents=True)
        run = self.start(*self.slow, state=deep / "state")
        self.copying(state=deep / "state")
        self.assertEqual(stat.S_IMODE(os.stat(deep / "state" / "control").st_mode), 0o600)
        self.call("stop", state=deep / "state")
        self.ended(run, 130)

    def test_a_place_that_is_taken_stops_nothing(self):
        """Without a socket a run goes on, and says so."""
        self.state.mkdir(mode=0o700)
        (self.state / "control").mkdir()
        _, err = self.ended(self.start("--verify", "none"))
        self.assertIn("There is no control socket", err)
        self.expect_clean()

    def test_terminal_shows_a_table_that_is_drawn_anew(self):
        parent, child = pty.openpty()
        run = subprocess.Popen([str(a) for a in self.argv("run", *self.slow)], stdout=subprocess.DEVNULL, stderr=child)
        self.running.append(run)
        os.close(child)
        shown = b""
        def read():
            nonlocal shown
            while select.select([parent], [], [], 0)[0]:
                try:
                    shown += os.read(parent, 65536)
                except OSError:
                    return True
            return b"\x1b[" in shown and b"copy: " in shown and b"WAITS FOR" in shown
        self.until(read, "a table")
        self.assertRegex(shown, rb"\x1b\[\d+A\r\x1b\[J", "and it was drawn over")
        run.send_signal(signal.SIGTERM)
        self.until(lambda: read() and run.poll() is not None, "its end")
        self.assertEqual(run.returncode, 130)
        os.close(parent)

    def test_a_plan_that_is_stopped_is_not_kept(self):
        port = self.relay("--delay", 500, side="source")
        argv = self.argv("plan", "--jobs", 1)
        argv[argv.index("--source-port") + 1] = port
        plan = subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.running.append(plan)
        def under_way():
            s = self.status() if os.path.exists(self.state / "control") else {}
            return s.get("stage") == "inventory" and s["accounts_done"] >= 1
        self.until(under_way, "a plan that is half done")
        self.call("stop")
        self.ended(plan, 130)
        self.tool("load", "--same-servers", exit=2)
        self.assertIn("There is no plan yet", self.said)

    def test_json_lines_for_machines(self):
        run = self.start("--json", *self.slow)
        self.copying(30)
        time.sleep(1.5)
        self.call("stop")
        _, err = self.ended(run, 130)
        lines = [json.loads(l)["progress"] for l in err.splitlines() if l.startswith("{")]
        self.assertTrue(any(l["stage"] == "copy" and l["messages_done"] > 0 for l in lines))


support.main()
