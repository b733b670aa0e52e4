"""What an administrator meets at two in the morning: each one clear sentence, the right exit code, nothing half-done."""
import json, os, shutil, socket, subprocess, time
from pathlib import Path
import support
from support import FIXTURES, PROGRAM, SANITIZED, Sandbox


class Errors(Sandbox):
    users = [("u1", "secret", "u1")]
    messages = 60

    def fails(self, *argv, exit, says, stdin=None, **more):
        r = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, **more)
        self.assertEqual(r.returncode, exit, r.stdout + r.stderr)
        for s in [says] if isinstance(says, str) else says:
            self.assertIn(s, r.stdout + r.stderr)
        return r

    def test_wrong_password_is_tried_once_and_named(self):
        self.roster.write_text(self.roster.read_text().replace("secret", "wrong"))
        self.fails(*self.argv("run"), exit=12, says=["u1", "server said NO", "AUTHENTICATIONFAILED", "not tried again"])

    def test_wrong_source_password(self):
        self.roster.write_text("address;password;source_login;target_login;target_password\nu1@example.org;other;u1;u1;secret\n")
        self.fails(*self.argv("run"), exit=12, says=["on source", "was refused"])

    def test_wrong_target_password(self):
        self.roster.write_text("address;password;source_login;target_login;target_password\nu1@example.org;secret;u1;u1;other\n")
        self.fails(*self.argv("run"), exit=3, says=["on target", "was refused"])

    def test_no_server(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            free = s.getsockname()[1]
        self.fails(*self.argv("run", target_port=free), exit=1, says=["target does not answer", f"127.0.0.1:{free}", "Connection refused", "--target-imap-port"])
        # Many accounts: it is the server, and none is tried in vain.
        self.roster.write_text("address;password\n" + "".join(f"u{i}@example.org;secret\n" for i in range(200)))
        argv = self.argv("extract", state=self.dir / "other")
        argv[argv.index("--source-port") + 1] = free
        started = time.monotonic()
        self.fails(*argv, exit=1, says=[f"127.0.0.1:{free}", "Connection refused", "run again"])
        self.assertLess(time.monotonic() - started, 40)

    def test_not_an_imap_server(self):
        p = subprocess.Popen(["python3", "-m", "http.server", "0", "--bind", "127.0.0.1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, cwd=self.dir)
        try:
            port = int(p.stdout.readline().split("port ")[1].split()[0])
            self.fails(*self.argv("run", "--timeout", 2, target_port=port), exit=3, says=["nothing was heard"])
        finally:
            p.kill()
            p.wait()
            p.stdout.close()

    def over_tls(self, *more):
        return [a if a != "none" else "tls" for a in self.argv("run", *more, target_port=self.port("target", tls=True))]

    def restart_target(self, cert):
        support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
        support.run(FIXTURES / "sandbox.sh", "start", self.dir, "target", env={"CERT": cert})

    def test_expired_certificate(self):
        self.restart_target("expired")
        r = self.fails(*self.over_tls("--target-ca", self.dir / "ca.pem"), exit=1, says=["certificate has expired", "No password was sent", "--target-pin sha256:"])
        self.assertNotIn("accepted", r.stderr)

    def test_unknown_ca(self):
        self.restart_target("unknown-ca")
        # Loopback's first sight does not count once a CA was named.
        self.fails(*self.over_tls("--target-ca", self.dir / "ca.pem"), exit=1, says=["cannot be trusted", "--target-pin sha256:", "--target-ca FILE"])

    def test_cleartext_beyond_loopback_is_refused_before_anything_is_sent(self):
        argv = self.argv("run")
        argv[argv.index("--target-host") + 1] = "mail.example.org"
        self.fails(*argv, exit=2, says=["--allow-cleartext"])

    def test_foreign_file_as_state(self):
        self.state.mkdir(mode=0o700)
        (self.state / "state.db").write_text("dear diary, " * 100)
        self.fails(*self.argv("run"), exit=10, says=["state.db"])
        self.assertEqual((self.state / "state.db").read_text(), "dear diary, " * 100)
        (self.dir / "file").write_text("x")
        self.fails(*self.argv("run", state=self.dir / "file"), exit=10, says=["must be a folder"])

    def test_second_run_at_the_same_time(self):
        p = subprocess.Popen([str(a) for a in self.argv("run", target_port=self.relay("--delay", 2000))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(500):
                if (self.state / "control").exists():
                    break
                time.sleep(0.02)
            self.fails(*self.argv("run"), exit=11, says=[f"process {p.pid}"])
            # But it can be asked how it is getting on.
            end, said = time.monotonic() + 20, ""
            while "of 1 accounts done" not in said:
                self.assertLess(time.monotonic(), end, said)
                said = support.run(PROGRAM, "status", "--state", self.state, check=False).stdout
        finally:
            p.kill()
            p.wait()
        self.report("run", "--same-servers", "--settle", 1)

    def test_read_only_folder(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        folder = self.dir / "ro"
        folder.mkdir(mode=0o755)
        roster = self.dir / "r.csv"
        shutil.copy(self.roster, roster)
        roster.chmod(0o644)
        binary = self.dir / "4d2kms"
        shutil.copy(PROGRAM, binary)
        binary.chmod(0o755)
        argv = self.argv("run", state=folder / "state")
        argv[0] = binary
        argv[argv.index(self.roster)] = roster
        self.fails("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *argv, exit=10, says=["Permission denied", "--state DIR"])

    def test_full_disk_stops_sending_and_goes_on_when_there_is_room(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to mount a small file system")
        small = self.dir / "small"
        small.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no mount here")
        try:
            r = self.fails(*self.argv("run", "--log-file", self.dir / "log", state=small / "state"), exit=10, says=["disk is full", "goes on where it stopped"])
            subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
            self.report("run", "--settle", 1, state=small / "state")
            self.expect_clean()
        finally:
            subprocess.run(["umount", "-l", small])

    def test_stale_plan_is_refused_with_what_changed(self):
        self.tool("plan")
        box = self.dir / "source-mail" / "u1" / "Maildir" / "new" / "1900000000.M1.later"
        box.parent.mkdir(exist_ok=True)
        box.write_bytes(b"Subject: later\n\nx\n")
        subprocess.run(["chown", "vmail:vmail", box])
        self.tool("extract")
        r = self.fails(*self.argv("load", "--plan", 1), exit=13, says=["Plan 1 is stale", "INBOX", "source was"])
        self.tool("plan")
        self.tool("load", "--plan", 2)
        self.expect_clean()

    def test_broken_configurations_stop_before_any_network_traffic(self):
        for name, says in (("missing-file", "could not be"), ("damaged-xml", "line"), ("entity-bomb", ""), ("no-post-office", "Post Office")):
            with self.subTest(name):
                r = subprocess.run([PROGRAM, "run", "--source-path", str(FIXTURES / "4d" / "broken" / name), "--source-host", "192.0.2.1", "--allow-cleartext", "--target", "imap", "--state", str(self.state)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
                self.assertEqual(r.returncode, 1, r.stderr)
                self.assertNotIn("192.0.2.1", r.stderr)
        r = subprocess.run([PROGRAM, "inspect", "--source-path", str(FIXTURES / "4d" / "broken" / "duplicate-domain")], stdout=subprocess.PIPE, text=True)
        self.assertEqual(r.returncode, 0)

    def test_options_from_a_file_but_no_password(self):
        config = self.dir / "night.conf"
        words = [str(w) for w in self.argv("run")[2:]]
        config.write_text("".join(f'{k[2:]}="{v}"\n' for k, v in zip(words[::2], words[1::2])))
        self.fails(PROGRAM, "run", "--config", config, exit=0, says="Complete")
        config.write_text(config.read_text() + 'target-pass="x"\n')
        self.fails(PROGRAM, "run", "--config", config, exit=2, says="target-pass")

    def test_what_would_look_like_success_and_is_a_mistake(self):
        self.fails(*self.argv("run", "--only", "nobody"), exit=2, says=["No account matches", "jane@north.example"])
        for command in ("verify", "retry", "load"):
            self.fails(*self.argv(command, state=self.dir / "mistyped"), exit=10, says="no run has used that folder yet")
        config = self.dir / "bad.conf"
        for line in ('rooster="x"', "deleted skip"):
            config.write_text(line + "\n")
            self.fails(*self.argv("run", "--config", config), exit=2, says="See 4d2kms --help")
        self.tool("plan")
        self.tool("load", "--only", "u1@*")

    def test_usage_is_brief_and_exit_2(self):
        self.fails(PROGRAM, exit=2, says=["4d2kms", "plan"])
        self.fails(PROGRAM, "run", "--nonsense", exit=2, says=["--nonsense"])
        self.fails(PROGRAM, "run", "--roster", self.roster, exit=2, says=["--target imap"])
        self.assertIn("4d2kms 0.", subprocess.run([PROGRAM, "--version"], stdout=subprocess.PIPE, text=True).stdout)

    def test_secrets_are_nowhere(self):
        """S23: a canary as password; looked for in argv, logs, state, reports and what is printed, in several encodings."""
        import base64, urllib.parse
        canary = "Kan4rie!vogel"
        for name in ("source", "target"):
            (self.dir / f"{name}.users").write_text(f"u1\t{canary}\n")
        (self.dir / "pairs").write_text(f"u1\t{canary}\tu1\t{canary}\n")
        self.roster.write_text(self.roster.read_text().replace("secret", canary))
        support.run(FIXTURES / "sandbox.sh", "start", self.dir)
        p = subprocess.Popen([str(a) for a in self.argv("run", "--verbose", "--target-pass", canary, target_port=self.relay("--delay", 300))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        time.sleep(0.8)
        seen = Path(f"/proc/{p.pid}/cmdline").read_bytes()
        out = p.communicate(timeout=120)[0]
        self.assertEqual(p.returncode, 0, out[-2000:])
        self.assertIn(b"LOGIN ***", out)
        places = {"argv": seen, "output": out}
        for f in self.state.rglob("*"):
            if f.is_file():
                places[str(f)] = f.read_bytes()
        forms = [canary, base64.b64encode(canary.encode()).decode(), base64.b64encode(b"\0u1\0" + canary.encode()).decode(), urllib.parse.quote(canary), canary.encode().hex(), canary[::-1]]
        for place, octets in places.items():
            for form in forms:
                self.assertNotIn(form.encode(), octets, f"{form} in {place}")


class Corpus(Sandbox):
    """Real mail by others, where it is at hand (MAIL_CORPUS)."""
    users = [("real", "secret", "real")]

    def setUp(self):
        self.corpus = os.environ.get("MAIL_CORPUS")
        if not self.corpus or not Path(self.corpus).is_dir():
            self.skipTest("MAIL_CORPUS names no folder of real mail: NOT TESTED WITH REAL MAIL")
        super().setUp()

    def fill(self):
        support.run("python3", FIXTURES / "make_mail.py", "maildir", self.dir / "source-mail", "--corpus", self.corpus, "--user", "real")

    def test_everything_arrives_or_is_quarantined_with_the_servers_words(self):
        r = self.report(exit=None)
        self.assertIn(self.code, (0, 3))
        self.assertEqual(r["books"]["inventory"], len(list(Path(self.corpus).glob("*.eml"))))
        self.assertEqual(r["books"]["bound"] + r["books"]["quarantined"], r["books"]["inventory"])
        self.assertEqual(r["books"]["verified"], r["books"]["bound"])
        code, verdict = self.judge()
        total = verdict.get("total", verdict)
        kept = len(list((self.state / "quarantine").glob("*.eml"))) if (self.state / "quarantine").exists() else 0
        self.assertEqual(kept, r["books"]["quarantined"])
        self.assertIn(f'"lost": {kept}', json.dumps(verdict), json.dumps(verdict)[:2000])
        for kind in ("flags", "keywords", "dates", "duplicates", "altered"):
            self.assertNotRegex(json.dumps(verdict), f'"{kind}": [1-9]')


support.main()
