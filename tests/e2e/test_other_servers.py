"""Cyrus and Courier, as source and as target: docs/servers.md says what they do differently, each point has a test here."""
import atexit, json, os, random, re, shutil, subprocess, sys, tempfile, time, unittest
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
    messages = 64
    settings = {}           # of a server that is not Dovecot

    def setUp(self):
        try:
            for kind in {"cyrus", "courier"} & set(self.kinds):
                other_servers.unpack(kind, SOFTWARE)
        except other_servers.Unavailable as why:
            self.skipTest(str(why))
        super().setUp()

    def fill(self):
        super().fill() if self.kinds[0] == "dovecot" else None

    def start_servers(self):
        for kind in ("cyrus", "courier"):
            (self.dir / f"{kind}-software").symlink_to(SOFTWARE / f"{kind}-software")
        try:
            for name, kind in zip(("source", "target"), self.kinds):
                self.start(name, kind)
        except other_servers.Unavailable as why:
            self.tearDown()
            self.skipTest(str(why))
        if self.kinds[0] != "dovecot":
            support.run(sys.executable, FIXTURES / "make_mail.py", "maildir", self.dir / "made", "--users", self.dir / "source.users", "--messages", self.messages, "--big", 1, "--owner", "nobody")
            for login, password, _ in self.users:
                self.append_all(login, password, generated(self.dir / "made" / login / "Maildir"))

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
                    client.command("SUBSCRIBE {}", name.encode())
                except judge.ImapError as error:
                    self.refused.append((name, str(error)))
                    continue
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


class Pairing(Pair):
    """The generated mail, with all its oddities. What the judge finds must be what our report names, message by message."""
    by_itself = {}          # what this target is known to do, as the judge counts it

    def named(self, report, kind):
        separator = "." if self.kinds[0] == "courier" else "/"
        return {(m["account"].split("@")[0], self.target_name(m["mailbox"].replace(separator, "/")), m["uid"]) for m in report["messages"] if m["kind"] == kind}

    def found(self, verdict, fault):
        return {(e["account"], e["mailbox"], e["uid"]) for e in verdict["examples"] if e["fault"] == fault}

    def check(self, report, verdict):
        self.assertEqual(self.found(verdict, "altered"), self.named(report, "rewritten") | self.named(report, "repaired"))
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


class DovecotToCyrus(Pairing):
    by_itself = {"altered", "lost"}


class CourierToCyrus(DovecotToCyrus):
    kinds = ("courier", "cyrus")


class CyrusToDovecot(Pairing):
    kinds = ("cyrus", "dovecot")


class DovecotToCourier(Pairing):
    kinds = ("dovecot", "courier")


class CourierToDovecot(Pairing):
    kinds = ("courier", "dovecot")


class CyrusToCourier(Pairing):
    kinds = ("cyrus", "courier")


if __name__ == "__main__":
    support.main()
