"""kill -9 into a migration to Kerio: at the administration's calls, before and after they are carried out, and at random moments
of the mail. KERIO_SWEEP=all for every call, KILLS=50 for as many as one likes."""
import os, random, subprocess, sys, time
import support
from kerio_sandbox import ADDRESSES, KerioSandbox


class Kill(KerioSandbox):
    messages = 8

    def run_until_it_hangs(self):
        p = subprocess.Popen([str(a) for a in self.argv("run", "--quiet")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            while p.poll() is None:
                if any(c["struck"] for c in self.double.calls()):
                    return True
                time.sleep(0.005)
            return False
        finally:
            p.kill()
            p.communicate()

    def expect_one_of_each(self, report):
        self.assertEqual(self.logins(), ADDRESSES)
        self.assertEqual(sorted(d["name"] for d in self.double.dump()["domains"]), ["kerio.example", "north.example"])
        self.assertEqual(self.domain("north.example")["aliases"], ["nord.example"])
        self.expect_moved(report)

    def test_killed_at_every_call_that_changes_something(self):
        calls = ["Domains.create", "Domains.set", "Users.create"]
        if os.environ.get("KERIO_SWEEP") == "all":
            calls = ["*"]
        for call in calls:
            for kind in ("freeze", "frozen"):
                for nth in range(1, 100 if call == "*" else 2):
                    with self.subTest(call=call, nth=nth, kind=kind):
                        self.restart()
                        self.double.control(f"fault api {call} {nth} {kind}")
                        hung = self.run_until_it_hangs()
                        if call != "*":
                            self.assertTrue(hung)
                        self.double.control("clear-faults")
                        self.expect_one_of_each(self.migrate())
                        if not hung:
                            break
                else:
                    continue

    def test_killed_at_random_moments_of_the_mail(self):
        chance = random.Random(int(os.environ.get("SEED", "7")))
        rounds = int(os.environ.get("KILLS", "8"))
        total = len(self.people) * self.messages
        for extensions in ("NAMESPACE SPECIAL-USE ID QUOTA CHILDREN", "all"):
            self.restart()
            self.double.control(f"switch extensions {extensions}")
            kills = 0
            for n in range(rounds):
                p = subprocess.Popen([str(a) for a in self.argv("run", "--quiet")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                at, sent = chance.uniform(0, total / rounds * 1.5), 0
                while p.poll() is None and sent < at:
                    sent += sum("MESSAGE" in c for c in self.double.commands())
                if p.poll() is None:
                    p.kill()
                    kills += 1
                p.communicate()
            self.expect_one_of_each(self.migrate())
            print(f"{kills} kills of {rounds}", file=sys.stderr)
            self.assertGreaterEqual(kills, rounds // 3)
            self.double.commands()
            self.assertEqual(self.migrate()["run"]["appended"], 0)
            self.assertFalse([c for c in self.double.commands() if "APPEND" in c])


support.main()
