"""Cyrus and Courier, as source and as target: docs/servers.md says what they do differently, each point has a test here."""
import atexit, contextlib, json, os, random, re, shutil, sqlite3, subprocess, sys, tempfile, time
from pathlib import Path
import support
from support import FIXTURES, PROGRAM, Sandbox
import judge, make_mail, other_servers

SOFTWARE = Path(tempfile.mkdtemp(prefix="4d2kms-software-"))
SOFTWARE.chmod(0o755)
atexit.register(shutil.rmtree, SOFTWARE, ignore_errors=True)


def generated(maildir):
    """What make_mail.py has written: {levels of the name, in modified UTF-7: [(octets as IMAP gives them, flags, INTERNALDATE)]}."""
    out = {}
    for folder in [maildir, *sorted(maildir.glob(".*"))]:
        path = ("INBOX",) if folder == maildir else tuple(folder.name[1:].split("."))
        names = {p.name.split(":")[0]: p for part in ("cur", "new") for p in (folder / part).iterdir()}
        keywords = folder / "dovecot-keywords"
        keywords = [line.split()[1] for line in keywords.read_text().splitlines()] if keywords.exists() else []
        letters = {v: k for k, v in make_mail.SYSTEM_FLAGS.items()}
        out[path] = []
        for line in (folder / "dovecot-uidlist").read_text().splitlines()[1:]:
            file = names[line.split(":", 1)[1]]
            flags = [letters.get(c) or keywords[ord(c) - ord("a")] for c in file.name.partition(":2,")[2]]
            date = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(file.stat().st_mtime))
            out[path].append((re.sub(rb"\r?\n", b"\r\n", file.read_bytes()), flags, date))
    return out


judge.EXAMPLES = 10**6          # all faults by name, not ten of them


class Pair(Sandbox):
    """`kinds`: what the source and the target are. Mail that a source refuses is not in it."""
    kinds = ("dovecot", "cyrus")
    users = [(f"u{i}", "secret", f"u{i}") for i in (1, 2)]
    messages, big = 64, 0   # for each; big ones are streamed
    settings = {}           # of a server that is not Dovecot

    def setUp(self):
        try:
            for kind in {"cyrus", "courier"} & set(self.kinds):
                other_servers.unpack(kind, SOFTWARE)
        except other_servers.Unavailable as why:
            self.skipTest(str(why))
        super().setUp()

    def fill(self):
        if self.kinds[0] == "dovecot":
            self.generate(self.dir / "source-mail", "vmail")

    def generate(self, folder, owner):
        support.run(sys.executable, FIXTURES / "make_mail.py", "maildir", folder, "--users", self.dir / "source.users", "--messages", self.messages, "--big", self.big, "--owner", owner)

    def start_servers(self):
        for kind in ("cyrus", "courier"):
            (self.dir / f"{kind}-software").symlink_to(SOFTWARE / f"{kind}-software")
        try:
            for name, kind in zip(("source", "target"), self.kinds):
                self.start(name, kind)
            if self.kinds[0] != "dovecot":
                made = self.made()
                for login, password, _ in self.users:
                    self.append_all(login, password, made[login])
        except other_servers.Unavailable as why:
            self.tearDown()
            self.skipTest(str(why))
        except BaseException:
            self.tearDown()         # unittest does not, after a setUp that failed
            raise

    def made(self):
        self.generate(self.dir / "made", "nobody")
        return {login: generated(self.dir / "made" / login / "Maildir") for login, _, _ in self.users}

    def start(self, name, kind):
        if kind == "dovecot":
            support.run(FIXTURES / "sandbox.sh", "start", self.dir, name, env=self.options)
        else:
            other_servers.start(kind, self.dir, name, self.settings)

    def append_all(self, login, password, mailboxes):
        self.refused = []
        client = judge.ImapClient("127.0.0.1", self.port("source"))
        client.command("LOGIN {} {}", login.encode(), password.encode())
        separator, prefix = (".", "INBOX.") if self.kinds[0] == "courier" else ("/", "")
        for path, messages in mailboxes.items():
            name = "INBOX" if path == ("INBOX",) else prefix + separator.join(path)
            if name != "INBOX":
                try:
                    client.command("CREATE {}", name.encode())
                except judge.ImapError as error:
                    self.refused.append((name, str(error)))
                    continue
            client.command("SUBSCRIBE {}", name.encode())
            for octets, flags, date in messages:
                binary = "~" if b"\0" in octets and self.kinds[0] == "cyrus" else ""
                try:
                    client.command("APPEND {} (" + " ".join(flags) + f') "{date}" {binary}{{}}', name.encode(), octets)
                except judge.ImapError as error:
                    self.refused.append((name, str(error)))
        client.close()

    def tearDown(self):
        for name in ("source", "target"):
            other_servers.stop(self.dir, name) if (self.dir / f"{name}.pid").exists() else None
        super().tearDown()

    def target_name(self, name):
        """Where a mailbox should go; "/" separates the levels."""
        if name == "INBOX":
            return name
        if self.kinds[0] == "courier":
            name = name.removeprefix("INBOX/")
        if self.kinds[1] == "cyrus":
            name = re.sub(r'[%"\\\\{}]', lambda m: f"={ord(m[0]):02X}", name)
        return "INBOX/" + name if self.kinds[1] == "courier" else name

    def judge(self, canonical=True):
        verdicts = {}
        for login, password, other, other_password in judge.read_pairs(self.dir / "pairs"):
            source = judge.read_account(self.port("source"), login, password)
            target = judge.read_account(self.port("target"), other, other_password)
            names = {n: self.target_name(n) for n in source.mailboxes.keys() | source.parents | source.subscriptions}
            verdicts[login] = judge.compare(source, target, names, canonical)
        verdict = judge.add_up(verdicts)
        return 0 if verdict["clean"] else 1, verdict

    def argv(self, command, *more, **where):
        return super().argv(command, *(["--escape", '%"\\\\{}'] if self.kinds[1] == "cyrus" else []), *more, **where)


class DovecotToCyrus(Pair):
    """The generated mail, with all its oddities. What the judge finds must be what our report names, message by message."""
    big = 1
    by_itself = {"altered", "lost"}         # what this target is known to do, as the judge counts it

    def named(self, report, kind):
        separator = "." if self.kinds[0] == "courier" else "/"
        return {(m["account"].split("@")[0], self.target_name(m["mailbox"].replace(separator, "/")), m["uid"]) for m in report["messages"] if m["kind"] == kind}

    def found(self, verdict, fault):
        return {(e["account"], e["mailbox"], e["uid"]) for e in verdict["examples"] if e["fault"] == fault}

    def check(self, report, verdict):
        altered = self.found(verdict, "altered")
        self.assertLessEqual(self.named(report, "rewritten"), altered)
        self.assertLessEqual(altered, self.named(report, "rewritten") | self.named(report, "repair"))
        self.assertEqual(self.found(verdict, "lost"), self.named(report, "quarantine"))
        self.assertEqual({f for f in judge.FAULTS if verdict[f]}, set(self.by_itself), json.dumps(verdict["examples"], indent=1)[:3000])

    def test_moved_once_and_every_difference_is_named(self):
        report = self.report(exit=None)
        _, verdict = self.judge()
        self.check(report, verdict)
        books = report["books"]
        self.assertEqual((books["pending"], books["verified"], report["verification"]["unexplained"]), (0, books["bound"], 0))
        self.assertGreater(books["bound"], len(self.users) * self.messages * 0.8)
        self.assertEqual(self.code, 3 if "lost" in self.by_itself else 0)
        self.assertEqual(verdict["source_messages"], books["inventory"])
        # A further run sends nothing, and one without the state only offers again what was refused.
        log = self.dir / "commands"
        port = self.relay("--log", log)
        again = self.report("run", "--same-servers", exit=self.code, target_port=port)
        self.assertEqual(again["run"]["appended"], 0)
        self.assertNotIn("APPEND", log.read_text())
        shutil.rmtree(self.state)
        anew = self.report(exit=self.code, target_port=port)
        self.assertEqual(anew["run"]["appended"], 0)
        self.assertEqual("APPEND" in log.read_text(), "lost" in self.by_itself)
        self.assertEqual(self.judge()[1], verdict)
        self.tool("verify", "--same-servers", exit=self.code)
        self.assertEqual(self.judge()[1], verdict)


class CourierToCyrus(DovecotToCyrus):
    big = 0
    kinds = ("courier", "cyrus")


class CyrusToDovecot(DovecotToCyrus):
    big = 0
    by_itself = set()
    kinds = ("cyrus", "dovecot")


class DovecotToCourier(DovecotToCyrus):
    by_itself = set()
    kinds = ("dovecot", "courier")


class CourierToDovecot(DovecotToCyrus):
    big = 0
    by_itself = set()
    kinds = ("courier", "dovecot")


class CyrusToCourier(DovecotToCyrus):
    big = 0
    by_itself = set()
    kinds = ("cyrus", "courier")


class KillCyrus(Pair):
    """kill -9 in the middle, again and again, then to the end."""
    rounds = 6

    def stored(self):
        pattern = r"\d+\." if self.kinds[1] == "cyrus" else r"\d+\.M.*"
        return sum(bool(re.fullmatch(pattern, name)) for folder, _, names in os.walk(self.dir / "target") if not folder.endswith("/tmp") for name in names)

    def test_killed_and_resumed(self):
        chance, kills = random.Random(7), 0
        for n in range(self.rounds):
            at = chance.uniform(n, n + 1) * len(self.users) * self.messages / self.rounds
            kills += support.killed_when(lambda: self.stored() >= at, self.argv("run", "--settle", 1, "--quiet"), chance)
        report = self.report("run", "--settle", 1, exit=None)
        print(f"{kills} kills of {self.rounds}; the last run sent {report['run']['appended']} of {report['books']['inventory']}", file=sys.stderr)
        self.assertGreaterEqual(kills, self.rounds // 2)
        _, verdict = self.judge()
        self.assertEqual((verdict["duplicates"], verdict["foreign"], verdict["flags"], verdict["dates"]), (0, 0, 0, 0), verdict)
        self.assertEqual(verdict["lost"], report["books"]["quarantined"])
        self.assertEqual((report["books"]["pending"], report["verification"]["unexplained"], report["surplus"]), (0, 0, []))
        self.assertEqual(report["books"]["verified"] + report["books"]["quarantined"], report["books"]["inventory"])


class KillCourier(KillCyrus):
    kinds = ("dovecot", "courier")


def message(subject, *header, body=b"some text\r\n"):
    lines = [f"Subject: {subject}".encode(), b"From: jane@example.org", b"Date: Mon, 3 Feb 2014 10:00:00 +0000", *header]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Quirk(Pair):
    """One account; the mail and the servers are those of each test."""
    users = [("u1", "secret", "u1")]

    def setUp(self):
        pass

    def tearDown(self):
        if hasattr(self, "dir"):
            super().tearDown()

    def begin(self, source, target, mail, **settings):
        """mail: messages, or (message, flags, INTERNALDATE in seconds), or {mailbox: of these}."""
        self.kinds, self.settings = (source, target), settings
        self.mail = mail if isinstance(mail, dict) else {"INBOX": mail}
        self.mail = {name: [m if isinstance(m, tuple) else (m, [], 1391421600) for m in messages] for name, messages in self.mail.items()}
        Pair.setUp(self)

    def fill(self):
        if self.kinds[0] != "dovecot":
            return
        maildir = Path(make_mail.new_maildir(self.dir / "source-mail", "u1", False))
        for name, messages in self.mail.items():
            box = make_mail.MaildirWriter(maildir, tuple(name.split("/")), 4711, random.Random(1))
            for octets, flags, date in messages:
                box.add(octets, date, [f for f in flags if f in make_mail.SYSTEM_FLAGS], [f for f in flags if f not in make_mail.SYSTEM_FLAGS])
            box.close()
        make_mail.subscribe(maildir, [n.split("/") for n in self.mail])
        make_mail.give_to("vmail", self.dir / "source-mail", "u1")

    def made(self):
        date = lambda d: time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(d))
        return {"u1": {tuple(make_mail.modified_utf7(p) for p in name.split("/")): [(m, flags, date(d)) for m, flags, d in messages] for name, messages in self.mail.items()}}

    def client(self, side="target"):
        c = judge.ImapClient("127.0.0.1", self.port(side))
        self.addCleanup(c.close)
        c.command("LOGIN u1 secret")
        return c

    def there(self, side="target", mailbox="INBOX"):
        return judge.read_account(self.port(side), "u1", "secret").mailboxes[mailbox]

    def octets(self, mailbox="INBOX"):
        c = self.client()
        c.command("EXAMINE {}", mailbox.encode())
        return [literals[0] for _, literals in c.command("UID FETCH 1:* BODY.PEEK[]") if literals]

    def notes(self, report, kind):
        return [m["detail"] for m in report["messages"] if m["kind"] == kind]

    def logged(self, *more, exit=0, **relay):
        """A run through a relay: its report and the lines of the relay's log."""
        log = self.dir / "commands"
        report = self.report("run", "--settle", 1, *more, exit=exit, target_port=self.relay("--log", log))
        return report, log.read_text()


class Cyrus(Quirk):
    def test_raw_header_stored_as_X_and_killed_before_the_answer_is_not_sent_twice(self):
        """E1 of what is there is not E1 of what was sent. Three messages become the same octets there."""
        raw = message("raw", "X-Where: Größe".encode())
        other = message("raw", "X-Where: Grüße".encode())
        plain = message("raw", b"X-Where: GrXXXXe")
        self.begin("dovecot", "cyrus", [raw, other, plain, message("ordinary")])
        # The answer is held back for a fifth of a second: time to see the mail on disk and to kill.
        port = self.relay("--delay", 400)
        p = subprocess.Popen([str(a) for a in self.argv("run", "--settle", 1, target_port=port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while p.poll() is None and time.monotonic() < end and not (list(self.dir.glob("target/spool/**/[1-9].")) + list(self.dir.glob("target/spool/**/[1-9]*.")))[3:]:
            time.sleep(0.005)
        self.assertIsNone(p.poll(), "it had ended before it could be killed")
        p.kill()
        p.wait()
        self.assertEqual(len(self.octets()), 4)
        with tempfile.TemporaryDirectory() as copy:
            for f in self.state.glob("state.db*"):
                shutil.copy(f, copy)
            with contextlib.closing(sqlite3.connect(f"{copy}/state.db")) as db:
                self.assertEqual(db.execute("SELECT state, e1x IS NOT NULL FROM message ORDER BY uid").fetchall(), [(1, 1), (1, 1), (1, 0), (1, 0)])
        report, log = self.logged("--same-servers")
        self.assertNotIn("APPEND", log)
        self.assertEqual((report["run"]["appended"], report["books"]["verified"], report["surplus"]), (0, 4, []))
        self.assertEqual(len(self.octets()), 4)
        self.assertEqual(self.notes(report, "rewritten"), ["the target rewrote raw 8-bit octets of the header"] * 2)
        self.tool("verify", "--same-servers")

    def test_LOGINDISABLED_after_log_in_is_no_obstacle(self):
        self.begin("cyrus", "cyrus", [message("one")])
        self.assertIn(b"LOGINDISABLED", self.client().command("CAPABILITY")[0][0])
        self.report()
        self.assertEqual(len(self.there()), 1)

    def test_NUL_is_refused_and_replaced_on_record(self):
        self.begin("courier", "cyrus", [message("before"), message("nul", body=b"a\0b\r\n"), message("after")])
        self.assertEqual(self.refused, [], "Courier keeps NUL")
        report = self.report()
        self.assertEqual(self.notes(report, "repair"), ["NUL octets removed at the end or replaced by 0x80"])
        self.assertIn(message("nul", body=b"a\x80b\r\n"), self.octets())
        shutil.rmtree(self.state)
        self.assertEqual(self.report()["run"]["appended"], 0)

    def test_NUL_given_out_in_a_literal8_is_read(self):
        self.begin("cyrus", "courier", [message("nul", body=b"a\0b\r\n")])
        c = self.client("source")
        c.command("EXAMINE INBOX")
        c.socket.sendall(b"x UID FETCH 1 BODY.PEEK[]\r\n")
        self.assertRegex(c.line(), rb"~\{\d+\}$")
        self.report()
        self.assertEqual(self.octets(), [message("nul", body=b"a\0b\r\n")])

    def test_header_line_without_a_colon_is_quarantined_with_its_words(self):
        bad = message("bad", b"stray words")
        self.begin("dovecot", "cyrus", [message("before"), bad, message("after")])
        report = self.report(exit=3)
        self.assertRegex(self.notes(report, "quarantine")[0], "NO Message contains invalid header")
        self.assertEqual([f.read_bytes() for f in (self.state / "quarantine").glob("*.eml")], [bad])
        self.assertEqual(len(self.there()), 2)

    def test_MULTIAPPEND_is_all_or_nothing_and_the_bad_one_is_found(self):
        good = [message(f"number {i}") for i in range(20)]
        self.begin("dovecot", "cyrus", good[:13] + [message("bad", b"stray words")] + good[13:])
        report, log = self.logged(exit=3)
        appends, messages = len(re.findall(r"\d APPEND\b", log)), len(re.findall("MESSAGE", log))
        self.assertLess(appends, 12, log)
        self.assertGreater(messages, 21)
        self.assertEqual((report["run"]["appended"], report["books"]["quarantined"], report["surplus"]), (20, 1, []))
        self.assertEqual(sorted(self.octets()), sorted(good))

    def test_what_is_larger_than_APPENDLIMIT_is_not_offered_and_the_others_go_on(self):
        """Cyrus answers such a literal+ with NO and BYE: the others of its window would be lost with the session, again and again."""
        line = b"0123456789" * 7 + b"\r\n"
        large, streamed = message("large", body=line * 1200), message("streamed", body=line * 20000)
        self.begin("dovecot", "cyrus", [message("before"), large, streamed, message("after")], maxmessagesize="50000")
        self.assertIn(b"APPENDLIMIT=50000", self.client().command("CAPABILITY")[0][0])
        report = self.report(exit=3)
        self.assertEqual((report["books"]["bound"], report["books"]["quarantined"], report["books"]["pending"]), (2, 2, 0))
        for note in self.notes(report, "quarantine"):
            self.assertRegex(note, "larger than the target takes: APPENDLIMIT=50000; kept as")
        self.assertEqual(sorted(f.read_bytes() for f in (self.state / "quarantine").glob("*.eml")), sorted([large, streamed]))
        self.assertEqual(self.octets(), [message("before"), message("after")])
        # With a higher limit `retry` brings them.
        other_servers.stop(self.dir, "target")
        self.settings = {}
        self.start("target", "cyrus")
        self.tool("retry", "--same-servers", exit=None)
        self.report("run", "--same-servers")
        self.assertEqual(sorted(self.octets()), sorted([message("before"), large, streamed, message("after")]))

    def test_over_quota_without_a_response_code_stops_the_account_only_until_there_is_room(self):
        self.begin("dovecot", "cyrus", [message(f"number {i}", body=b"0123456789" * 3000 + b"\r\n") for i in range(8)], autocreate_quota="100")
        report = self.report(exit=3)
        self.assertGreater(report["books"]["pending"], 0)
        self.assertEqual(report["books"]["quarantined"], 0)
        self.assertIn("NO Over quota", json.dumps(report["accounts"]))
        self.assertIn("Raise the quota", json.dumps(report["accounts"]))

    def test_names_it_refuses_are_told_with_the_option_that_helps(self):
        self.begin("dovecot", "cyrus", {"INBOX": [message("a")], "100%": [message("b")], "back\\slash": [message("c")]})
        argv = self.argv("run", "--json")
        at = argv.index("--escape")
        r = subprocess.run([str(a) for a in argv[:at] + argv[at + 2:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        report = json.loads(r.stdout)
        self.assertEqual((r.returncode, report["books"]["pending"], report["books"]["bound"]), (3, 2, 1))
        errors = [m["error"] for a in report["accounts"] for m in a["mailboxes"] if m.get("error")]
        self.assertEqual(len(errors), 2)
        for error in errors:
            self.assertRegex(error, "NO Invalid mailbox name.*--escape")
        self.report()
        self.expect_clean()

    def test_the_epoch_itself_is_no_date_and_the_second_after_it_is_one(self):
        self.begin("dovecot", "cyrus", [(message("zero"), [], 0), (message("one"), [], 1)])
        report = self.report()
        self.assertEqual([m.date for m in self.there()], [1391421600, 1])
        self.assertEqual(len(self.notes(report, "date")), 1)
        self.assertIn("1-Jan-1970 00:00:00 +0000; sent: the Date: header", self.notes(report, "date")[0])

    def test_keywords_that_others_refuse_are_left_out_on_record(self):
        for target in ("courier", "dovecot"):
            with self.subTest(target):
                long = "k" * 200
                self.begin("cyrus", target, [(message("odd"), ["\\Seen", "foo[1]", "fine"], 1391421600), (message("long"), ["\\Flagged", long], 1391421600)])
                self.assertEqual(self.refused, [])
                report = self.report()
                odd, other = self.there()
                self.assertEqual((odd.flags, odd.keywords, other.flags), ({"\\seen"}, {"fine"}, {"\\flagged"}))
                self.assertEqual(other.keywords, {long} if target == "courier" else set())
                self.assertEqual(self.notes(report, "flags"), ["not kept: foo[1]"] + (["not kept: " + long] if target == "dovecot" else []))
                self.tearDown()


class Courier(Quirk):
    def test_no_UIDNEXT_when_a_mailbox_is_opened(self):
        self.begin("dovecot", "courier", [message(f"number {i}") for i in range(5)])
        self.assertNotIn(b"UIDNEXT", b"".join(text for text, _ in self.client().command("SELECT INBOX")))
        report, log = self.logged()
        self.assertEqual(report["books"]["verified"], 5)
        self.assertIn("STATUS", log)
        shutil.rmtree(self.state)
        self.assertEqual(self.report()["run"]["appended"], 0)

    def test_a_message_an_APPEND_and_no_octet_before_the_server_asks(self):
        self.begin("dovecot", "courier", [message(f"number {i}") for i in range(12)])
        _, log = self.logged()
        self.assertEqual((len(re.findall(r"\d APPEND\b", log)), len(re.findall("MESSAGE", log))), (12, 12))
        self.expect_clean()

    def test_an_APPENDUID_that_was_not_offered_does_no_harm(self):
        self.begin("dovecot", "courier", [message(f"number {i}") for i in range(5)], IMAP_CAPABILITY="IMAP4rev1 CHILDREN NAMESPACE")
        report = self.report()
        self.assertEqual((report["run"]["appended"], report["books"]["verified"]), (5, 5))
        self.assertEqual(self.report("run", "--same-servers")["run"]["appended"], 0)
        self.expect_clean()

    def test_zero_octets_are_quarantined_and_not_stored_as_CRLF(self):
        self.begin("dovecot", "courier", [message("before"), b"", message("after")])
        report, log = self.logged(exit=3)
        self.assertEqual(self.notes(report, "quarantine")[0].split(";")[0], "the message has no octets")
        self.assertEqual([m.size for m in self.there()], [len(message("before")), len(message("after"))])

    def test_an_octet_gets_its_line_end_and_a_bare_CR_is_dropped(self):
        self.begin("dovecot", "courier", [b"x", message("cr", body=b"a\rb\r\n"), message("open", body=b"no end")])
        report = self.report()
        self.assertEqual(self.octets(), [b"x\r\n", message("cr", body=b"ab\r\n"), message("open", body=b"no end\r\n")])
        self.assertEqual((report["books"]["verified"], report["verification"]["byte_identical"]), (3, 0))
        shutil.rmtree(self.state)
        self.assertEqual(self.report()["run"]["appended"], 0)
        self.assertEqual(len(self.there()), 3)

    def test_the_ALERT_on_a_raw_header_is_no_answer(self):
        raw = message("raw", "X-Where: Größe".encode())
        self.begin("dovecot", "courier", [raw, message("after")])
        self.report()
        self.assertEqual(self.octets(), [raw, message("after")])

    def test_a_STORE_would_be_carried_out_under_EXAMINE_and_none_is_sent(self):
        self.begin("courier", "dovecot", [message("new"), (message("seen"), ["\\Seen"], 1391421600)])
        names = lambda: sorted(p.name for p in (self.dir / "source/mail/u1/Maildir").glob("[cn][ue][rw]/*"))
        self.there("source")    # what a log-in changes by itself
        before = names()
        self.report()
        self.tool("verify", "--same-servers")
        self.assertEqual(names(), before)
        self.assertEqual([m.flags for m in self.there("source")], [set(), {"\\seen"}])

    def test_LSUB_names_parents_that_are_not_subscribed(self):
        self.begin("dovecot", "courier", {"INBOX": [message("a")], "top": [message("b")], "top/below": [message("c")]})
        c = self.client()
        for name in (b"INBOX.top", b"INBOX.top.below"):
            c.command("CREATE {}", name)
        c.command("SUBSCRIBE INBOX.top.below")
        self.assertIn((rb'* LSUB (\Noselect \HasChildren) "." "INBOX.top"', []), c.command('LSUB "" "*"'))
        self.report()
        self.expect_clean()

    def test_a_syntax_error_is_answered_NO(self):
        self.begin("dovecot", "courier", [message("a")])
        with self.assertRaisesRegex(judge.ImapError, "NO Error in IMAP command"):
            self.client().command('APPEND INBOX (\\Recent) {}', message("x"))
        self.report()


if __name__ == "__main__":
    support.main()
