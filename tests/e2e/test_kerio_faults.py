"""Each switch and each fault of the Kerio double: the right thing is given up, everything else is done, one clear sentence."""
import csv, json, re, shutil, subprocess, sys, time, unittest
import support
from kerio_sandbox import ADDRESSES, KerioSandbox
from support import FIXTURES, PROGRAM, SANITIZED


class Faults(KerioSandbox):
    def expect_all(self, report, order=True):
        self.assertEqual(self.logins(), ADDRESSES)
        self.assertEqual(self.domain("north.example")["aliases"], ["nord.example"])
        self.expect_moved(report, order)

    def test_faults_of_the_administration_that_cost_nothing_but_time(self):
        for fault in ("Domains.create 1 500", "Domains.create 1 lost", "Domains.create 1 cut", "Domains.create 1 garbage", "Domains.set 1 lost",
                      "Domains.set 1 503", "Users.create 1 502", "Users.create 1 lost", "Users.create 1 garbage", "Users.create 1 413",
                      "Users.create 1 expired", "Domains.create 1 expired", "Domains.get 1 lost", "Domains.get 2 500", "Users.get 1 garbage", "Users.get 1 expired"):
            with self.subTest(fault):
                self.restart()
                self.double.control(f"fault api {fault}")
                report = self.migrate()
                self.expect_all(report)
                self.assertEqual(report["books"]["pending"], 0)

    def test_a_frozen_administration_is_given_up_after_the_silence_and_looked_at(self):
        for fault in ("Users.create 1 freeze", "Users.create 1 frozen"):
            with self.subTest(fault):
                self.restart()
                self.double.control(f"fault api {fault}")
                self.expect_all(self.migrate("--timeout", 4))

    def test_an_item_that_is_refused_costs_that_account_only(self):
        self.double.control("fault api Users.create 1 item:1000:The mailbox of %1 is cursed")
        r = self.migrate(exit=3)
        self.assertEqual(self.logins(), ADDRESSES[1:])
        error = next(a["error"] for a in r["accounts"] if a["account"] == ADDRESSES[0])
        self.assertIn("is cursed", error)
        self.assertIn("Its mail stays pending", error)
        self.assertEqual(r["books"]["pending"], 12)
        self.expect_all(self.migrate())

    def test_a_domain_that_is_refused_costs_its_accounts(self):
        self.double.control("fault api Domains.create * item:1000:No")
        r = self.migrate(exit=3)
        self.assertEqual(self.logins(), [])
        self.assertIn("Could not create the domain north.example", r["accounts"][0]["error"])
        self.assertTrue(any(d["state"] == "refused" for d in r["domains"]))
        self.double.control("clear-faults")
        self.expect_all(self.migrate())

    def test_an_alias_that_is_refused_costs_that_alias(self):
        self.double.control("fault api Domains.set * item:1000:No")
        r = self.migrate(exit=3)
        self.assertEqual(self.logins(), ADDRESSES)
        self.assertTrue([d for d in r["domains"] if d["name"] == "nord.example" and d["state"] == "refused"])
        self.assertIn("1 domain or alias not made", r["verdict"]["sentence"])
        self.double.control("clear-faults")
        self.expect_all(self.migrate())

    def test_errors_of_a_whole_call_end_in_a_sentence(self):
        for fault, exit, says in (("Domains.get * error:1004:Insufficient rights to perform the requested operation.", 1, "Insufficient rights"),
                                  ("Session.login 1 redirect", 1, "elsewhere.invalid"), ("Domains.get * 500", 1, "HTTP 500"),
                                  ("Users.create * error:1004:Insufficient rights", 3, "Insufficient rights")):
            with self.subTest(fault):
                self.restart()
                self.double.control(f"fault api {fault}")
                out = self.tool("run", exit=exit)
                self.assertIn(says, self.said + out)
                self.double.control("clear-faults")
                self.expect_all(self.migrate())

    def test_the_licence_stops_at_the_nth_user(self):
        self.double.control("switch licence-users 2")
        r = self.migrate(exit=3)
        self.assertEqual(self.logins(), ADDRESSES[:2])
        self.assertIn("licence", next(a["error"] for a in r["accounts"] if a["account"] == ADDRESSES[2]))
        self.assertEqual(r["books"]["bound"], 24)
        self.double.control("switch licence-users -1")
        self.expect_all(self.migrate())

    def test_refused_passwords_are_listed_or_replaced(self):
        self.double.control("fault api Domains.set 1 cut")  # the domain is there before the accounts are
        self.double.control("domain north.example=nord.example")
        self.double.control("set north.example password_complexity on")
        self.double.control("set north.example password_minimum 10")
        self.double.control("clear-faults")
        r = self.migrate("--existing-domain", "adopt", exit=3)
        self.assertEqual(self.logins(), ADDRESSES[:2])  # 'a<b&c>'d' is too short
        self.assertIn("shorter than 10", next(a["skipped"] for a in r["accounts"] if a["account"] == ADDRESSES[2]))
        r = self.migrate("--existing-domain", "adopt", "--on-refused-password", "generate", exit=0)
        self.assertEqual(self.logins(), ADDRESSES)
        new = self.state / "new-passwords.csv"
        self.assertEqual(new.stat().st_mode & 0o777, 0o600)
        line = [l for l in new.read_text().splitlines() if l.startswith('"carla@north.example"')][-1]
        password = line.split(",", 1)[1][1:-1].replace('""', '"')
        self.log_in(ADDRESSES[2], password).logout()
        self.users = [(u, password if a == ADDRESSES[2] else p, a) for u, p, a in self.users]
        self.source_password_of_carla = self.people[2][1]
        # Later runs know it, too.
        self.assertEqual(self.migrate()["run"]["appended"], 0)
        self.assertNotIn(password.encode(), (self.state / "state.db").read_bytes())

    @unittest.skipUnless(shutil.which("strace"), "no strace")
    @unittest.skipIf(SANITIZED, "LeakSanitizer does not work under strace")
    def test_a_new_password_is_on_the_disk_before_it_is_on_the_server(self):
        self.double.control("domain north.example=nord.example")
        self.double.control("set north.example password_complexity on")
        self.double.control("set north.example password_minimum 10")
        log = self.dir / "strace"
        argv = self.argv("run", "--existing-domain", "adopt", "--on-refused-password", "generate")
        subprocess.run(["strace", "-f", "-y", "-o", str(log), "-e", "trace=mkdir,write,fsync,sendmsg,sendto", *map(str, argv)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300, check=True)
        self.assertEqual(self.logins(), ADDRESSES)
        calls = [l.split(None, 1)[1] for l in log.read_text(errors="replace").splitlines()]
        first = lambda what, since=0: next((i for i in range(since, len(calls)) if re.search(what, calls[i])), len(calls))
        made = first(r'^mkdir\("[^"]*/%s"' % self.state.name)
        self.assertLess(made, len(calls))
        # The state folder's name, the line, the file's name: all before the next octet for a server.
        self.assertLess(first(r"^fsync\(\d+<%s>\)" % re.escape(str(self.state.parent.resolve())), made), first(r"^send", made))
        written = first(r"^write\(\d+<[^>]*/new-passwords.csv>")
        self.assertLess(written, len(calls))
        synced = first(r"^fsync\(\d+<[^>]*/new-passwords.csv>\)", written)
        named = first(r"^fsync\(\d+<%s>\)" % re.escape(str(self.state.resolve())), synced)
        self.assertLess(named, first(r"^send|^write\(\d+<(TCP|socket)", written))

    def test_too_large_batches_are_split(self):
        self.double.control("switch too-large-items 1")
        self.expect_all(self.migrate())

    def test_small_pages_and_strict_queries(self):
        self.double.control("switch page-cap 1")
        self.double.control("switch full-query on")
        self.expect_all(self.migrate())

    def test_other_codes_for_what_is_there_already(self):
        for value in ("1000", "toplevel", "accept"):
            with self.subTest(value):
                self.restart()
                self.double.control(f"switch duplicate {value}")
                for call in ("Domains.create", "Users.create"):
                    self.double.control(f"fault api {call} 1 lost")
                self.expect_all(self.migrate())

    def test_an_object_whose_fate_is_not_known_is_not_done(self):
        for call, says in (("Domains.create", "1 domain or alias not made"), ("Users.create", "3 accounts with an error")):
            with self.subTest(call):
                self.restart()
                self.double.control(f"fault api {call} * 500")
                r = self.migrate(exit=3)
                self.assertIn(says, r["verdict"]["sentence"])
                self.assertEqual([d["state"] for d in r["domains"] if d["name"] == "north.example"], ["unknown" if "Domains" in call else "ours"])
                self.assertTrue(all("HTTP 500" in a["error"] for a in r["accounts"]), r["accounts"])
                # Nothing is made here, so that it is still not known.
                r = self.report("verify", exit=3)
                self.assertEqual(len([p for p in r["problems"] if "has no account on the target" in p]), 3, r["problems"])
                self.double.control("clear-faults")
                self.expect_all(self.migrate())

    def test_addresses_that_could_not_be_checked_are_a_problem_and_the_log_in_is_tried_again(self):
        # Three log-ins to the administration: look, make, check. One that fails costs a moment.
        self.double.control("fault api Session.login 3 503")
        r = self.migrate()
        self.assertEqual(len([c for c in self.double.calls() if c["method"] == "Session.login"]), 4)
        self.assertFalse(r["problems"])
        self.restart()
        for n in range(3, 7):
            self.double.control(f"fault api Session.login {n} 503")
        r = self.migrate(exit=3)
        self.assertIn("1 place not verified", r["verdict"]["sentence"])
        self.assertIn("The addresses could not be checked: Could not log in", r["problems"][0])
        self.assertEqual(r["books"]["bound"], 36, "the mail is there all the same")
        # verify: no verdict at all.
        self.double.control("clear-faults")
        for n in range(2, 6):
            self.double.control(f"fault api Session.login {n} 503")
        self.assertEqual(self.tool("verify", "--json", exit=1), "")
        self.assertIn("HTTP 503", self.said)
        self.double.control("clear-faults")
        self.report("verify")

    def new_passwords(self):
        """By address; each once."""
        path = self.state / "new-passwords.csv"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        with open(path, newline="") as f:
            rows = list(csv.reader(f))
        self.assertEqual(len(rows), len({r[0] for r in rows}), rows)
        return dict(rows)

    def strict_domain(self):
        self.double.control("domain north.example=nord.example")
        self.double.control("set north.example password_complexity on")
        self.double.control("set north.example password_minimum 14")  # all three are too short

    def test_half_a_line_of_the_new_passwords_is_dropped_by_the_next_run(self):
        self.strict_domain()
        adopt = ["--existing-domain", "adopt", "--on-refused-password", "generate"]
        self.migrate(*adopt, "--only", "anna@*")
        anna = self.new_passwords()["anna@north.example"]
        # It died while it wrote the next: before, in and after the password. None of these was used.
        path = self.state / "new-passwords.csv"
        for torn in (b'"bj', b'"bjorn@north.example","Half-', b'"bjorn@north.example","Whole-1234567"', b"\0\0\0"):
            with self.subTest(torn):
                with open(path, "ab") as f:
                    f.write(torn)
                self.migrate(*adopt, "--only", "anna@*")
                self.assertEqual(self.new_passwords(), {"anna@north.example": anna})
        with open(path, "ab") as f:
            f.write(b'"bjorn@north.example","Half-')
        r = self.migrate(*adopt)
        new = self.new_passwords()
        self.assertEqual(sorted(new), ADDRESSES)
        self.assertEqual(new["anna@north.example"], anna)
        for address, password in new.items():
            self.log_in(address, password).logout()
        self.assertEqual(r["books"]["pending"], 0)

    def test_killed_between_a_new_password_and_its_account(self):
        adopt = ["--existing-domain", "adopt", "--on-refused-password", "generate"]
        for fault in ("freeze", "frozen"):
            with self.subTest(fault):
                self.restart()
                self.strict_domain()
                # All in one batch, then anna alone with her own, then with a new one.
                self.double.control(f"fault api Users.create 3 {fault}")
                p = subprocess.Popen([str(a) for a in self.argv("run", "--quiet", *adopt)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    while p.poll() is None and not any(c["struck"] for c in self.double.calls()):
                        time.sleep(0.01)
                finally:
                    p.kill()
                    p.wait()
                first = self.new_passwords()
                self.assertEqual(list(first), ["anna@north.example"])
                self.double.control("clear-faults")
                self.assertEqual(self.migrate(*adopt)["books"]["pending"], 0)
                new = self.new_passwords()
                self.assertEqual(sorted(new), ADDRESSES)
                self.assertEqual(new["anna@north.example"], first["anna@north.example"])
                for address, password in new.items():
                    self.log_in(address, password).logout()
                # A later run has mail to bring, and gets in.
                self.assertEqual(self.report("verify", *adopt)["problems"], [])

    def test_a_new_password_that_is_not_used_is_not_in_the_list(self):
        adopt = ["--existing-domain", "adopt", "--on-refused-password", "generate"]
        self.strict_domain()
        # anna: her new one is refused, too. bjorn: his own passes after all, at the second try.
        self.double.control("fault api Users.create 3 item:1000:Internal error")
        r = self.migrate(*adopt, exit=3)
        self.assertIn("Internal error", next(a["error"] for a in r["accounts"] if a["account"] == ADDRESSES[0]))
        self.assertEqual(sorted(self.new_passwords()), ADDRESSES[1:])
        self.double.control("set north.example password_complexity off")
        self.migrate(*adopt)
        self.assertEqual(sorted(self.new_passwords()), ADDRESSES[1:], "the roster's was taken")
        self.log_in(ADDRESSES[0], self.people[0][1]).logout()

    def test_aliases_of_a_domain_that_was_there_are_listed_and_nobody_elses_is_taken(self):
        for line in ("domain north.example=by-hand.example", "domain other.example=nord.example"):
            self.double.control(line)
        r = self.migrate("--existing-domain", "adopt", exit=3)
        self.assertEqual(self.logins(), ADDRESSES)
        for when in ("first", "again", "the alias is free"):
            self.assertEqual(self.domain("north.example")["aliases"], ["by-hand.example"], when)
            listed = next(d for d in r["domains"] if d["name"] == "nord.example")
            self.assertEqual(listed["state"], "refused", when)
            self.assertIn("not modified" if when == "the alias is free" else "is an alias of the target's domain other.example", listed["detail"])
            if when != "the alias is free":
                self.assertEqual(self.domain("other.example")["aliases"], ["nord.example"], when)
            if when == "again":
                self.double.control("remove other.example")
            r = self.migrate(exit=3)
        self.assertFalse([c for c in self.double.calls() if c["method"] == "Domains.set"])

    def test_an_alias_of_our_own_domain_that_is_missing_is_added_unless_it_is_somebody_elses_now(self):
        self.migrate()
        api = self.double.api().login()

        def aliases(domain, names):
            id = next(d["id"] for d in api.call("Domains.get", {"query": {}})["list"] if d["name"] == domain)
            api.call("Domains.set", {"domainIds": [id], "pattern": {"aliasList": names}})

        aliases("north.example", ["by-hand.example"])
        self.migrate()
        self.assertEqual(sorted(self.domain("north.example")["aliases"]), ["by-hand.example", "nord.example"])
        aliases("north.example", [])
        self.double.control("domain other.example=nord.example")
        r = self.migrate("--existing-domain", "adopt", exit=3)
        self.assertEqual(self.domain("other.example")["aliases"], ["nord.example"])
        self.assertEqual(self.domain("north.example")["aliases"], [])
        self.assertIn("is an alias of the target's domain other.example", next(d["detail"] for d in r["domains"] if d["name"] == "nord.example"))

    def test_a_ca_counts_for_more_than_a_certificate_remembered(self):
        self.migrate("--only", "anna@*")
        self.tool("plan", "--only", "anna@*")
        self.double.calls(), self.double.commands()
        # A CA that did not sign the double's certificate.
        self.tool("plan", "--target-ca", self.dir / "ca.pem", exit=1)
        self.assertIn("cannot be trusted", self.said)
        self.assertIn("No password was sent", self.said)
        self.assertEqual(self.double.calls(), [])
        self.assertEqual(self.double.commands(), [])

    # ---- the source ----

    def test_an_account_whose_source_log_in_is_refused_is_skipped_and_tried_again(self):
        # The target's password is the right one throughout.
        text = self.roster.read_text().replace("post_office\n", "post_office;target_password\n")
        text = "".join(line + (";Winter-2003" if line.startswith("anna@") else ";" if "@" in line else "") + "\n" for line in text.splitlines())
        wrong = text.replace('"Winter-2003"', '"wrong"')
        self.assertNotEqual(text, wrong)
        self.roster.write_text(wrong)
        plan = json.loads(self.tool("plan", "--json", exit=3))
        skipped = {a["account"]: a["reason"] for a in plan["accounts"] if a.get("reason")}
        self.assertEqual(list(skipped), ["anna@north.example"])
        self.assertIn("was refused: server said NO", skipped["anna@north.example"])
        r = self.report("load", "--plan", 1, exit=3)
        self.assertEqual(self.logins(), ADDRESSES[1:])
        self.assertEqual(r["books"]["bound"], 24)
        self.assertIn("was refused: server said NO", next(a["error"] for a in r["accounts"] if a["account"] == ADDRESSES[0]))
        self.assertEqual(self.report("load", "--plan", 1, exit=3)["run"]["appended"], 0, "not stale: it is as it was")
        self.report("retry", exit=3)
        self.assertNotIn("anna", self.tool("plan", "diff", 1, 2), "the same reason")
        self.roster.write_text(text)
        r = self.migrate()
        self.expect_all(r)
        # The same when it has an inventory already.
        self.roster.write_text(wrong)
        plan = json.loads(self.tool("plan", "--refresh", "--json", exit=3))
        self.assertEqual([a["account"] for a in plan["accounts"] if a.get("reason")], ["anna@north.example"])
        r = self.report("load", exit=3)
        self.assertIn("was refused: server said NO", next(a["error"] for a in r["accounts"] if a["account"] == ADDRESSES[0]))
        self.roster.write_text(text)
        self.expect_all(self.migrate())

    # ---- IMAP ----

    def test_new_mailboxes_at_the_top_level_refused_go_below_inbox(self):
        self.double.control("switch root-create no")
        r = self.migrate()
        targets = {m["target"] for a in r["accounts"] for m in a["mailboxes"] if m["target"]}
        self.assertTrue(any(t.startswith("INBOX/Kunden") for t in targets), targets)
        self.assertIn("Sent Items", targets)
        self.expect_moved(r)
        self.assertEqual(self.migrate()["run"]["appended"], 0)
        self.assertIn("goes to \"INBOX/", self.tool("report", "--run", 1))

    def test_refused_dates_cost_the_date_and_are_listed(self):
        self.double.control("switch append-date utc-only")
        self.expect_all(self.migrate())
        self.restart()
        self.double.control("switch append-date refuse")
        r = self.migrate("--only", "anna@*")
        self.users = self.users[:1]
        v = self.judged(r)
        self.assertEqual((v["lost"], v["duplicates"]), (0, 0))
        self.assertEqual(sum(m["kind"] == "date" and "refused the date" in m["detail"] for m in r["messages"]), 12)

    def test_a_full_account_stops_alone(self):
        self.double.control("switch quota full-after-5")
        r = self.migrate(exit=3)
        self.assertIn("uota", r["accounts"][0]["error"])
        self.assertGreater(r["books"]["pending"], 0)
        self.double.control("switch quota ok")
        self.expect_all(self.migrate())

    def test_nul_is_repaired_and_said(self):
        box = self.dir / "source-mail" / "anna" / "Maildir" / "new" / "1900000000.M1.nul"
        box.parent.mkdir(exist_ok=True)
        box.write_bytes(b"Subject: nul\n\na\0b\n")
        support.run("chown", "vmail:vmail", box)
        self.double.control("switch nul no")
        r = self.migrate()  # a source Dovecot hands NUL out as 0x80: nothing to repair, nothing lost
        self.expect_all(r)

    def test_accounts_that_appear_late(self):
        self.double.control("switch visible-after-ms 4000")
        r = self.migrate()
        self.expect_all(r)

    def test_a_server_without_a_mail_licence_is_named(self):
        self.double.control("switch mail-licence expired")
        self.tool("run", exit=None)
        self.assertIn(self.code, (1, 3))
        self.assertIn("icen", self.said, self.said)

    def test_all_extensions_shown(self):
        self.double.control("switch extensions all")
        self.expect_all(self.migrate())
        self.assertEqual(self.migrate()["run"]["appended"], 0)
        # A second copy is never removed here: it would turn up in Deleted Items.
        self.assertFalse([c for c in self.double.commands() if "EXPUNGE" in c or "STORE" in c])

    def test_connections_that_drop(self):
        self.double.control("switch imap-drop-after-commands 60")
        self.expect_all(self.migrate())

    def test_imap_faults(self):
        for fault in ("APPEND 3 lost", "APPEND 3 cut", "APPEND 3 middle", "APPEND 3 bye", "APPEND 3 no-then-done:Internal error", "APPEND 2 no:Try again later",
                      "CREATE 1 lost", "SELECT 2 cut", "UID FETCH 3 middle", "LIST 1 bye"):
            for extensions in (None, "all"):
                with self.subTest(fault, extensions=extensions):
                    self.restart()
                    if extensions:
                        self.double.control("switch extensions all")
                    self.double.control(f"fault imap {fault}")
                    report = self.migrate()
                    self.assertTrue(all(not s["removed"] for s in report["surplus"]))
                    # One that was refused and taken the second time stands behind those that came after it.
                    self.expect_all(report, order="no:" not in fault)

    def test_names_on_windows(self):
        self.double.control("switch os Windows")
        r = self.migrate()
        self.expect_all(r)
        self.assertTrue(any("=3A" in m["target"] or "=2A" in m["target"] for a in r["accounts"] for m in a["mailboxes"]))


class Guard(KerioSandbox):
    people = [(f"u{i}", "Winter-2003") for i in range(5)]
    messages = 2
    double_options = ["--domain", "north.example", "--switch", "guess-block=3"] + [o for i in range(5) for o in ("--user", f"u{i}@north.example=other")]

    def test_wrong_passwords_are_tried_once_each_and_the_lock_out_is_told(self):
        start = time.monotonic()
        r = self.migrate("--existing-domain", "adopt", "--existing-account", "adopt", exit=3)
        self.assertGreater(time.monotonic() - start, 9, "after three refusals, those under way counted, one log-in in five seconds")
        logins = [c for c in self.double.commands() if c.split()[-1] in ("LOGIN", "AUTHENTICATE")]
        self.assertEqual(len(logins), 5, logins)
        self.assertTrue(all("was refused: server said NO" in a.get("error", a.get("skipped", "")) for a in r["accounts"]), r["accounts"])
        self.assertEqual(r["books"]["pending"], 10)


class Adopt(KerioSandbox):
    double_options = ["--domain", "north.example=nord.example", "--user", "anna@north.example=her own", "--master-password", "m4ster"]

    def test_an_existing_account_is_skipped_or_gets_mail_by_the_master_password(self):
        r = self.migrate("--existing-domain", "adopt", exit=3)
        self.assertIn("--existing-account adopt", next(a["skipped"] for a in r["accounts"] if a["account"] == "anna@north.example"))
        master = self.dir / "master"
        master.write_text("m4ster\n")
        master.chmod(0o600)
        self.double.control("fault imap X-MASTERAUTH 1 no:[UNAVAILABLE] Busy")
        r = self.migrate("--existing-account", "adopt", "--existing-domain", "adopt", "--target-master-pass-file", master, "--verbose")
        self.assertIn("was put off: server said NO [UNAVAILABLE] Busy", self.said)
        self.assertIn("X-SETUSER", (self.state / "4d2kms.log").read_text())
        for f in (f for f in self.state.rglob("*") if f.is_file()):
            self.assertNotIn(b"m4ster", f.read_bytes(), f)
        for said in (self.said, (self.state / "4d2kms.log").read_text()):
            self.assertNotIn("m4ster", said)
            self.assertIsNone(re.search(r"\b[0-9a-f]{32}\b", said), "the digest")
        self.assertEqual(r["books"]["bound"], 36)
        self.log_in("anna@north.example", "her own").logout()
        self.expect_moved_with({"anna": "her own"}, r)
        # The decision stands; verify logs in as each account that we made with its own password.
        r = self.report("verify", "--target-master-pass-file", master, "--existing-domain", "adopt", "--existing-account", "adopt")
        self.assertFalse([d for d in r["differences"] if d["kind"] == "log-in"])
        master.write_text("wrong\n")
        self.tool("verify", "--target-master-pass-file", master, exit=12)
        self.assertIn("master password", self.said)

    def expect_moved_with(self, passwords, report):
        # The passwd-file of the Dovecot behind the double has the target's passwords.
        (self.dir / "pairs").write_text("".join(f"{u}\t{p}\t{a}\t{passwords.get(u, p)}\n" for u, p, a in self.users))
        table = {a["account"].split("@")[0]: {m["mailbox"]: m["target"] for m in a["mailboxes"] if m["target"]} for a in report["accounts"]}
        (self.dir / "map.json").write_text(json.dumps(table))
        v = json.loads(support.run(sys.executable, FIXTURES / "judge.py", self.port("source"), self.port("target"), "--pairs", self.dir / "pairs",
                                   "--canonical", "--map", self.dir / "map.json", check=False).stdout)
        self.assertEqual((v["lost"], v["duplicates"], v["foreign"], v["order"]), (0, 0, 0, 0), v)


class OwnPasswords(KerioSandbox):
    """With the master password everybody gets in; whether its owner does is tried, but not until the guard shuts us out."""
    people = [(f"u{i}", "Winter-2003") for i in range(6)]
    messages = 2
    double_options = ["--switch", "guess-block=3", "--master-password", "m4ster"]

    def test_verify_does_not_lock_anybody_out(self):
        master = self.dir / "master"
        master.write_text("m4ster\n")
        master.chmod(0o600)
        for jobs in (1, 4, 8):
            with self.subTest(jobs=jobs):
                self.restart()
                self.migrate("--target-master-pass-file", master)
                for _, _, address in self.users:
                    self.double.control(f"user {address}=changed")
                self.double.commands()
                r = self.report("verify", "--target-master-pass-file", master, "--jobs", jobs, exit=3)
                tried = [c for c in self.double.commands() if c.split()[-1] in ("LOGIN", "AUTHENTICATE")]
                self.assertEqual(len(tried), 2, tried)
                self.assertEqual(len([d for d in r["differences"] if d["kind"] == "log-in"]), 2)
                self.assertEqual(len(r["problems"]), 1, r["problems"])
                self.assertIn("were not tried: 2 refusals", r["problems"][0])
                self.assertEqual(r["verification"]["messages"], 12, "all of them were verified")


support.main()
