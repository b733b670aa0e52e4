"""F15: a server process frozen in the middle of an APPEND wakes up after we have given it up, and stores what it had.

It wakes at any moment: before we give up, in the settle, in the resend, after the run. A further run then looks. Nothing may be
lost, and every second copy is removed or on the list. ZOMBIES=50 for as many as one likes."""
import json, os, random, signal, subprocess, sys, time
import support
from kerio_sandbox import KerioSandbox
from tries import Tries

# What the server offers: the more it lacks, the less can be mended, but never is less known.
SERVERS = [(), ("UIDPLUS",), ("UIDPLUS", "MULTIAPPEND"), ("MULTIAPPEND",), None]  # None: no relay in between


class Zombie(Tries):
    logins = ("small", "large")
    mail = ("--messages", 40, "--folders", 2)

    def fill(self):
        super().fill()
        (self.dir / "large.user").write_text("large\tsecret\n")
        support.run(sys.executable, support.FIXTURES / "make_mail.py", "maildir", self.dir / "source-mail", "--users", self.dir / "large.user", *self.mail, "--big", 2, "--replace")

    def test_what_wakes_up_too_late_is_removed_or_listed(self):
        chance = random.Random(int(os.environ.get("SEED", "15")))
        wanted = int(os.environ.get("ZOMBIES", "4"))
        self.caught = self.missed = self.stored_twice = self.removed = self.listed = 0
        while self.caught < wanted:
            self.assertLess(self.missed, 10 + wanted, "the server is too fast to be caught in an APPEND")
            login = chance.choice(["small", "small", "large"])
            hidden = SERVERS[self.caught % len(SERVERS)]
            self.next_try([login])
            self.one_zombie(chance, login, hidden)
        print(f"{self.caught} frozen in an APPEND ({self.missed} missed); {self.stored_twice} stored it after all and twice: "
              f"{self.removed} copies removed, {self.listed} listed", file=sys.stderr)

    def appending(self, master, seen, countdown):
        """A target process of this try that holds a message open that is being written, after some that it let pass."""
        for pid, name in open_messages(master, f"{self.dir}/target-mail/{self.trying[0]}-{self.tries}/"):
            if (pid, name) not in seen:
                seen.add((pid, name))
                if len(seen) > countdown:
                    return pid
        return None

    def one_zombie(self, chance, login, hidden):
        master = int((self.dir / "target.pid").read_text())
        port = self.port("target") if hidden is None else self.relay("--delay", 10, *(["--hide", ",".join(hidden)] if hidden else []))
        late = chance.random() < 0.4
        wake_after = None if late else chance.uniform(0.3, 4.5)
        countdown = chance.randrange(3)
        p = subprocess.Popen([str(a) for a in self.argv("run", "--settle", 1, "--timeout", 1, "--json", target_port=port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        zombie, seen, frozen_at = None, set(), 0
        try:
            while zombie is None and p.poll() is None:
                zombie = self.appending(master, seen, countdown)
                if zombie:
                    os.kill(zombie, signal.SIGSTOP)
                    frozen_at = time.monotonic()
            if zombie and wake_after is not None:
                while p.poll() is None and time.monotonic() < frozen_at + wake_after:
                    time.sleep(0.01)
                os.kill(zombie, signal.SIGCONT)
            out, _ = p.communicate(timeout=200)
        finally:
            if zombie:
                try:
                    os.kill(zombie, signal.SIGCONT)
                except ProcessLookupError:
                    pass
            if p.poll() is None:
                p.kill()
                p.wait()
        what = f"try {self.tries}: {login}, without {hidden}, woken {'after the run' if late else f'after {wake_after:.2f} s'}"
        self.assertIn(p.returncode, (0, 1, 3), what)
        if not zombie:
            self.missed += 1
            return
        self.caught += 1
        # The zombie ends when it has seen that its connection is gone.
        end = time.monotonic() + 40
        while zombie in children(master) and time.monotonic() < end:
            time.sleep(0.05)
        before = self.verdict()
        r = self.report("run", "--settle", 1, "--same-servers", target_port=port, exit=None)
        verdict = self.verdict()
        said = f"{what}: {json.dumps(verdict, indent=1)[:3000]}\n{json.dumps(r['surplus'], indent=1)[:2000]}\n{r['verdict']}"
        listed = sum(not s["removed"] for s in r["surplus"])
        removed = sum(s["removed"] for s in r["surplus"])
        for fault in ("lost", "altered", "foreign", "flags", "keywords", "dates", "missing_mailboxes", "extra_mailboxes"):
            self.assertEqual(verdict[fault], 0, said)
        self.assertEqual(verdict["duplicates"], listed, said)
        self.assertEqual("nothing is there twice" in r["verdict"]["sentence"], listed == 0, said)
        self.assertEqual(r["books"]["pending"], 0, said)
        if hidden is None or "UIDPLUS" not in hidden:
            self.assertEqual(listed, 0, said)  # with UIDPLUS it can be, and is, removed
        self.stored_twice += before["duplicates"] > 0 or removed > 0
        self.removed += removed
        self.listed += listed
        for relay in self.relays:
            relay.kill()
            relay.wait()
            relay.stdout.close()
        self.relays.clear()


class KerioZombie(KerioSandbox):
    """With the fence: the target's list of connections tells how long a lost one still works. Nothing is there twice."""
    wanted = int(os.environ.get("ZOMBIES", "3"))
    people = [(f"z{n}", f"Winter-{n}") for n in range(1, 2 * wanted + 1)]

    def test_the_fence_waits_for_what_a_lost_connection_still_stores(self):
        chance = random.Random(int(os.environ.get("SEED", "15")))
        master = int((self.dir / "target.pid").read_text())
        caught = 0
        for person in self.users:
            if caught < self.wanted:
                caught += self.one_zombie(master, person, chance)
        self.assertEqual(caught, self.wanted, "the server is too fast to be caught in an APPEND")
        print(f"fence: {caught} frozen in an APPEND, each waited for, nothing stored twice", file=sys.stderr)

    @property
    def moved(self):
        return [self.person]

    def waited_for(self, person, times=1):
        end = time.monotonic() + 60
        while (self.state / "4d2kms.log").read_text().count(f"still works on an old connection to {person[2]}") < times:
            self.assertLess(time.monotonic(), end, "nobody waits for the old connection")
            time.sleep(0.05)

    def freeze(self, master, p):
        """A process of the target frozen in an APPEND of that run; None if the run was over before."""
        while p.poll() is None:
            for zombie, _ in open_messages(master, f"{self.dir}/target-mail/"):
                os.kill(zombie, signal.SIGSTOP)
                return zombie
        return None

    def test_stopped_at_the_fence_nothing_is_decided(self):
        master = int((self.dir / "target.pid").read_text())
        for person in self.users:
            run = [str(a) for a in self.argv("run", "--only", person[2], "--timeout", 2)]
            p = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            zombie = self.freeze(master, p)
            if not zombie:
                p.wait()
                continue
            try:
                self.waited_for(person)
                p.terminate()
                self.assertEqual(p.wait(30), 130)
                # The next run stands before the same fence; had it been decided, it would send again at once.
                p = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.waited_for(person, times=2)
            finally:
                os.kill(zombie, signal.SIGCONT)
                p.wait(100)
            report = self.report("run", "--only", person[2])
            self.assertEqual(report["surplus"], [])
            self.assertEqual(report["books"]["pending"], 0, report["verdict"])
            self.person = person
            self.expect_moved(report)
            return
        self.fail("the server is too fast to be caught in an APPEND")

    def one_zombie(self, master, person, chance):
        run = ["--only", person[2], "--timeout", 2]
        p = subprocess.Popen([str(a) for a in self.argv("run", *run, "--json")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        zombie = None
        try:
            zombie = self.freeze(master, p)
            if zombie:
                # It has had the settle, too, by then: without the fence the message would be sent again now.
                self.waited_for(person)
                time.sleep(chance.uniform(0, 4))
                self.assertIsNone(p.poll(), "the run ended while an old connection was still at work")
        finally:
            if zombie:
                os.kill(zombie, signal.SIGCONT)
            else:
                p.kill()
        out, _ = p.communicate(timeout=100)
        if not zombie:
            return False
        report = json.loads(out)
        self.assertEqual(sum("old connection" in e for e in report["events"]), 2, report["events"])
        report = self.report("run", *run)
        self.assertEqual(report["surplus"], [])
        self.assertEqual(report["books"]["pending"], 0, report["verdict"])
        self.person = person
        self.expect_moved(report)
        return True


def open_messages(master, mail):
    """(process, file) for each message that a process of that server is writing below `mail`."""
    for pid in children(master):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                name = os.readlink(f"/proc/{pid}/fd/{fd}")
                if name.startswith(mail) and "/tmp/" in name[len(mail):]:
                    yield pid, name
        except OSError:
            continue  # it has ended, or closed the file


def children(master):
    try:
        with open(f"/proc/{master}/task/{master}/children") as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        return []


support.main()
