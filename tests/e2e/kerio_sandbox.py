"""A migration into the Kerio double: what its end-to-end tests share."""
import imaplib, json, shutil, ssl, sys
import support
from kerio import KerioTarget
from support import FIXTURES, PROGRAM, Sandbox

imaplib._MAXLINE = 10_000_000

ADDRESSES = ["anna@north.example", "bjorn@north.example", "carla@north.example"]  # of the people below


class KerioSandbox(Sandbox):
    """A source Dovecot with `people`, the double in front of another, a roster or a 4D configuration."""
    people = [("anna", "Winter-2003"), ("bjorn", 'pä"ss\\w %{6}'), ("carla", "a<b&c>'d")]
    domains = {"North": ["north.example", "nord.example"]}
    messages = 12
    double_options = []

    def setUp(self):
        self.users = [(u, p, f"{u}@{self.home(u)}") for u, p in self.people]
        super().setUp()
        # Whoever the Post Offices are: a roster and its domains.
        self.roster.write_text("address;password;source_login;post_office\n" + "".join(
            '%s;"%s";%s;%s\n' % (a, p.replace('"', '""'), u, self.office(u)) for u, p, a in self.users))
        self.domain_file = self.dir / "domains.csv"
        self.domain_file.write_text("post_office;domain\n" + "".join(f"{o};{d}\n" for o, ds in self.domains.items() for d in ds))
        self.password_file = self.dir / "admin-password"
        self.password_file.write_text("admin-secret\n")
        self.password_file.chmod(0o600)

    def office(self, user):
        return next(iter(self.domains))

    def home(self, user):
        return self.domains[self.office(user)][0]

    def start_servers(self):
        support.run(FIXTURES / "sandbox.sh", "start", self.dir, "source", env=self.options)
        (self.dir / "target.users").write_text("")
        self.kerio = KerioTarget(self.dir, *self.double_options, program=PROGRAM)
        self.double = self.kerio.double

    def restart(self):
        """An empty target and no state."""
        self.kerio.double.stop()
        support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
        shutil.rmtree(self.dir / "target-mail", ignore_errors=True)
        shutil.rmtree(self.state, ignore_errors=True)
        (self.dir / "target.users").write_text("")
        self.kerio = type(self.kerio)(self.dir, *self.double_options, program=PROGRAM)
        self.double = self.kerio.double

    def tearDown(self):
        self.kerio.double.stop()
        super().tearDown()

    def source_options(self):
        return ["--roster", self.roster, "--domains", self.domain_file, "--source-host", "127.0.0.1", "--source-port", self.port("source")]

    def argv(self, command, *more, state=None, target_port=None):
        return [PROGRAM, command, *self.source_options(), "--target-host", "127.0.0.1", "--target-api-port", self.double.api_port,
                "--target-user", "admin", "--target-pass-file", self.password_file, "--state", state or self.state, "--settle", 1, *more]

    def migrate(self, *more, exit=0):
        return self.report("run", *more, exit=exit)

    # ---- what is on the target ----

    def domain(self, name):
        return next((d for d in self.double.dump()["domains"] if d["name"] == name), None)

    def logins(self):
        out = sorted(u["address"] for u in self.double.dump()["users"])
        self.assertEqual(len(out), len(set(out)), f"an account is there twice: {out}")
        return out

    def log_in(self, address, password):
        """As the account's owner would, over TLS."""
        m = imaplib.IMAP4_SSL("127.0.0.1", self.double.imaps_port, ssl_context=ssl._create_unverified_context())
        m.authenticate("PLAIN", lambda _: f"\0{address}\0{password}".encode())
        return m

    def judged(self, report, more=()):
        """The independent judge's verdict, without what the target cannot keep: keywords, \\Deleted, its own mailboxes."""
        table = {}
        for a in report["accounts"]:
            user = a["account"].split("@")[0]
            table[user] = {m["mailbox"]: m["target"] for m in a["mailboxes"] if m["target"]}
        map_file = self.dir / "map.json"
        map_file.write_text(json.dumps(table))
        (self.dir / "pairs").write_text("".join(f"{u}\t{p}\t{a}\t{p}\n" for u, p, a in self.moved))
        r = support.run(sys.executable, FIXTURES / "judge.py", self.port("source"), self.port("target"), "--pairs", self.dir / "pairs",
                        "--canonical", "--map", map_file, check=False)
        return json.loads(r.stdout)

    @property
    def moved(self):
        return self.users

    def expect_moved(self, report, order=True):
        """Every message is there once, in order, with its date; what differs is what the report lists."""
        v = self.judged(report)
        for kind in ("lost", "altered", "duplicates", "foreign", "dates", "missing_mailboxes", "missing_subscriptions", *(["order"] if order else [])):
            self.assertFalse(v[kind], json.dumps(v, indent=1)[:3000])
        listed = [m for m in report["messages"] if m["kind"] == "flags"]
        wrong = v["flags"] + v["keywords"]
        if wrong:
            self.assertTrue(listed)
        return v


def main():
    support.main()
