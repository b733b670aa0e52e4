"""A pair of servers for many tries: each has a state and target accounts of its own, so nothing is cleaned up in between."""
import json, shutil, sqlite3
import support

TRIES = 4000  # target accounts there are for each login


class Tries(support.Sandbox):
    logins = ("u1", "u2")
    mail = ("--messages", 20, "--folders", 4)

    def setUp(self):
        self.users = [(u, "secret", f"{u}-{n}") for n in range(1, TRIES + 1) for u in self.logins]
        super().setUp()

    def fill(self):
        (self.dir / "source.users").write_text("".join(f"{u}\tsecret\n" for u in self.logins))
        support.run(support.sys.executable, support.FIXTURES / "make_mail.py", "maildir", self.dir / "source-mail", "--users", self.dir / "source.users", *self.mail)
        self.tries = 0
        self.next_try()

    def next_try(self, logins=None):
        self.tries += 1
        self.assertLessEqual(self.tries, TRIES)
        self.trying = logins or self.logins
        shutil.rmtree(self.state, ignore_errors=True)
        self.roster.write_text("address;password;source_login;target_login\n" + "".join(f"{u}@example.org;secret;{u};{u}-{self.tries}\n" for u in self.trying))

    def verdict(self):
        pairs = [(u, "secret", f"{u}-{self.tries}", "secret") for u in self.trying]
        return support.judge.judge(self.port("source"), self.port("target"), pairs, canonical=True)

    def expect_all_well(self, when):
        """The judge's verdict on this try's accounts, and books added up here rather than by the program."""
        verdict = self.verdict()
        self.assertTrue(verdict["clean"], f"{when}: {json.dumps(verdict, indent=1)[:3000]}")
        db = sqlite3.connect(self.state / "state.db")
        try:
            one = lambda sql: db.execute(sql).fetchone()[0]
            self.assertEqual(one("PRAGMA integrity_check"), "ok", when)
            inventory, bound, gone, excluded, quarantined, pending = db.execute(
                "SELECT count(*), sum(state IN (3,4)), sum(state=5), sum(state=6), sum(state=7), sum(state IN (0,1,2)) FROM message").fetchone()
            self.assertEqual(inventory, bound + gone + excluded + quarantined + pending, when)
            self.assertEqual((inventory, bound, pending), (verdict["source_messages"], verdict["target_messages"], 0), when)
            self.assertEqual(one("SELECT count(*) FROM intent"), 0, when)
            self.assertEqual(one("SELECT count(DISTINCT mailbox || ' ' || target_uid) FROM message"), bound, when)
            self.assertEqual(one("SELECT count(*) FROM surplus"), 0, when)
        finally:
            db.close()
