#!/usr/bin/env python3
"""4d2kms beside the tools that are installed and a blind pump, on the same mail, interleaved.

  compare.py [--sets S,M,K] [--rounds 3] [--what first,verify,noop,plain,delta,inventory,hidden,tls,delay,same,same-hidden] [--tools NAME,NAME...]
             [--delays 20,100] [--work DIR] [--build DIR] [--limit SECONDS] [--write]

Sets:   S 5 accounts x 400 messages, M 20 x 1,000, K one mailbox of 50,000 of 2 KB, T (a trial) 2 x 60.
What:   first    onto an empty target; 4d2kms with --verify none
        verify   the same with --verify full, the default: every body is re-read
        noop     the same command again
        delta    and again, with 1 % new mail at the source
        plain    noop, with a source that does not offer CONDSTORE (4d2kms alone)
        inventory  "4d2kms extract" into an empty state file
        hidden   first, with a target that does not offer MULTIAPPEND
        tls      first, over TLS on both sides
        delay    first, with relays that add the round trips of --delays (ms) on both sides
        same     4d2kms and the pump alone, both with 1, 2 and 4 accounts at once; same-hidden: without MULTIAPPEND
Tools:  4d2kms, mbsync ("mbsync x4": four processes), doveadm, imapsync, mailutil, imapcopy, offlineimap - those that are found - and
        "pump 4x50": four pairs of connections, MULTIAPPENDs of 50 messages; "pump 4x1": single APPENDs, pipelined.

Each round runs every tool once, each on a fresh target; the order moves on by one from round to round. Each result is a
line in DIR/results.jsonl, and what is there is not run again: stop it whenever you like. Ratios are only taken between
results of one round that the same call of this script has brought: an hour later the machine is another. --fresh forgets them.
At the end, and with --rounds 0, everything that is there becomes DIR/results.json and DIR/results.md, and with
--write the table between the markers of docs/performance.md.

Needs a release build with its tests (-DBUILD_TESTING=ON; targets 4d2kms, pump, timed) and Dovecot. DIR should be on a
real disk: a sync is part of the cost. Loopback only, private servers. Python standard library only.
"""
import argparse, concurrent.futures, imaplib, json, os, platform, pty, re, shutil, signal, subprocess, sys, time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- compare.py writes from here -->", "<!-- to here -->"
sys.path.insert(0, str(FIXTURES))
import judge  # noqa: E402

SETS = {  # accounts, how many of them with a message of 5 to 20 MiB, messages each, more options of make_mail.py
    "T": (2, 0, 60, ["--folders", 4]),
    "S": (5, 2, 400, ["--folders", 12]),
    "M": (20, 20, 1000, ["--folders", 12]),
    "K": (1, 0, 50000, ["--folders", 1, "--size", 2048]),
}
PASSWORD = "secret"
# Dovecot's own list without MULTIAPPEND, and without CONDSTORE.
HIDDEN = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT NAMESPACE UNSELECT CHILDREN UIDPLUS LIST-EXTENDED CONDSTORE QRESYNC ESEARCH LIST-STATUS MOVE LITERAL+ SPECIAL-USE"
PLAIN = HIDDEN.replace(" CONDSTORE QRESYNC", " MULTIAPPEND")


def run(*argv, env=None):
    done = subprocess.run([str(a) for a in argv], env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"compare.py: {' '.join(map(str, argv))}\n{done.stdout}")
    return done.stdout


class Lab:
    """The source of one set, kept from run to run, and a target that is made anew for each tool."""

    def __init__(self, name, options):
        self.name, self.options = name, options
        self.dir = options.work / name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.dir.chmod(0o755)
        accounts, with_big, each, more = SETS[name]
        self.logins = [f"u{i}" for i in range(1, accounts + 1)]
        self.messages = accounts * each
        text = "".join(f"{u}\t{PASSWORD}\n" for u in self.logins)
        for side in ("source", "target"):
            (self.dir / f"{side}.users").write_text(text)
        self.pairs = self.dir / "pairs"
        self.pairs.write_text("".join(f"{u}\t{PASSWORD}\t{u}\t{PASSWORD}\n" for u in self.logins))
        self.roster = self.dir / "roster.csv"
        self.roster.write_text("address;password;source_login;target_login\n" + "".join(f"{u}@example.org;{PASSWORD};{u};{u}\n" for u in self.logins))
        self.roster.chmod(0o600)
        self.relays, self.via = [], {}
        self.tls = False
        self.source_offers("")                      # whatever a run that was stopped had left
        made = self.dir / "source.made"
        if not made.exists():
            for part, big in ((self.logins[:with_big], 1), (self.logins[with_big:], 0)):
                (self.dir / "part.users").write_text("".join(u + "\n" for u in part))
                if part:
                    run(sys.executable, FIXTURES / "make_mail.py", "maildir", self.dir / "source-mail", "--users", self.dir / "part.users", "--messages", each, "--big", big, "--replace", *more)
            octets = sum(f.stat().st_size for f in (self.dir / "source-mail").rglob("*,S=*"))
            made.write_text(f"{accounts} account{'s' if accounts > 1 else ''}, {self.messages:,} messages, {octets / 1e6:.0f} MB")
        self.about = made.read_text().strip()
        self.take_delta_back()
        self.fresh_target()
        # Once, unmeasured: afterwards the source has its indexes and caches.
        subprocess.run([str(options.build / "tests/bench/pump"), str(self.port("source")), str(self.port("target")), str(self.pairs), "2"], stdout=subprocess.DEVNULL)

    def close(self):
        self.delayed(0)
        run(FIXTURES / "sandbox.sh", "stop", self.dir)

    def port(self, side):
        return self.via.get(side) or int((self.dir / f"{side}.{'tls-' if self.tls else ''}port").read_text())

    def source_offers(self, capability):
        run(FIXTURES / "sandbox.sh", "stop", self.dir, "source")
        run(FIXTURES / "sandbox.sh", "start", self.dir, "source", env={"CAPABILITY": capability})

    def fresh_target(self, hidden=False):
        run(FIXTURES / "sandbox.sh", "stop", self.dir, "target")
        shutil.rmtree(self.dir / "target-mail", ignore_errors=True)
        shutil.rmtree(self.dir / "run", ignore_errors=True)
        (self.dir / "run").mkdir()
        run(FIXTURES / "sandbox.sh", "start", self.dir, "target", env={"CAPABILITY": HIDDEN if hidden else ""})
        os.sync()                                   # what the tool before left to be written is not this one's to pay

    def delayed(self, milliseconds):
        for relay in self.relays:
            relay.kill()
            relay.wait()
            relay.stdout.close()
        self.relays, self.via = [], {}
        for side in ("source", "target") if milliseconds else ():
            relay = subprocess.Popen([sys.executable, str(FIXTURES / "relay.py"), "0", str(self.port(side)), "--delay", str(milliseconds)], stdout=subprocess.PIPE, text=True)
            self.relays.append(relay)
            self.via[side] = int(relay.stdout.readline().split()[1])

    # ---- new mail at the source, and away again

    def source(self, login):
        c = imaplib.IMAP4("127.0.0.1", int((self.dir / "source.port").read_text()))
        c.login(login, PASSWORD)
        return c

    def bring_delta(self):
        each = max(1, self.messages // 100 // len(self.logins))
        began = {}
        for login in self.logins:
            c = self.source(login)
            began[login] = int(re.search(rb"UIDNEXT (\d+)", c.status("INBOX", "(UIDNEXT)")[1][0])[1])
            (self.dir / "delta.json").write_text(json.dumps(began))
            for i in range(each):
                c.append("INBOX", "(\\Seen)", '"17-Jul-2020 02:44:25 +0000"',
                         f"From: a@example.org\r\nSubject: new {i}\r\nMessage-ID: <{time.time_ns()}@example.org>\r\n\r\n".encode() + b"Some more text.\r\n" * 300)
            c.logout()
        return each * len(self.logins)

    def take_delta_back(self):
        path = self.dir / "delta.json"
        if not path.exists():
            return
        for login, first in json.loads(path.read_text()).items():
            c = self.source(login)
            c.select("INBOX")
            # "n:*" names the last message even where n is beyond it.
            uids = [u for u in (c.uid("SEARCH", f"UID {first}:*")[1][0] or b"").split() if int(u) >= first]
            if uids:
                c.uid("STORE", f"{first}:{int(uids[-1])}", "+FLAGS.SILENT", "(\\Deleted)")
                c.uid("EXPUNGE", f"{first}:{int(uids[-1])}")
            c.logout()
        path.unlink()

    def verdict(self):
        """What the judge finds wrong on the target, by kind."""
        wrong = {}
        for login in self.logins:
            v = judge.compare(judge.read_account(int((self.dir / "source.port").read_text()), login, PASSWORD),
                              judge.read_account(int((self.dir / "target.port").read_text()), login, PASSWORD), canonical=True)
            for kind in judge.FAULTS:
                if v.get(kind):
                    wrong[kind] = wrong.get(kind, 0) + v[kind]
        return wrong


# ------------------------------------------------------------------ the tools

class Tool:
    """commands(lab): a list of commands, each for some accounts; `at_once` of them run at the same time."""
    again = False       # can be run a second time, for what is new
    at_once = 1
    bound = False       # no migration: the upper bound
    answers = None      # typed where it asks for a password
    fine = {0}          # exit codes after which its time counts

    def __init__(self, name):
        self.name = name

    def there(self, options):
        return shutil.which(self.program) is not None

    def version(self, options):
        return first_line(self.program, "--version")


def first_line(*argv):
    try:
        out = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in out.splitlines() if line.strip()), "")


class Ours(Tool):
    again, fine = True, {0, 3}      # 3: something was refused, and is listed

    def __init__(self, name, *more, command="run"):
        super().__init__(name)
        self.more, self.command = more, command

    def there(self, options):
        return (options.build / "4d2kms").exists()

    def version(self, options):
        return first_line(options.build / "4d2kms", "--version") + ", " + first_line("git", "-C", ROOT, "describe", "--always", "--dirty")

    def commands(self, lab):
        tls = [word for side in ("source", "target") for word in (f"--{side}-tls", "tls", f"--{side}-ca", lab.dir / "ca.pem")] if lab.tls else ["--target-tls", "none"]
        return [[lab.options.build / "4d2kms", self.command, "--quiet", "--roster", lab.roster, "--source-host", "127.0.0.1", "--source-port", lab.port("source"),
                 "--target", "imap", "--target-host", "127.0.0.1", "--target-imap-port", lab.port("target"), "--state", lab.dir / "run/state", *tls, *self.more]]


class Mbsync(Tool):
    again, program = True, "mbsync"

    def __init__(self, name, at_once=1):
        super().__init__(name)
        self.at_once = at_once

    def commands(self, lab):
        text = "CopyArrivalDate yes\n"
        # It compares a certificate's names only, not its addresses.
        host, tls = ("localhost", f"SSLType IMAPS\nCertificateFile {lab.dir}/ca.pem") if lab.tls else ("127.0.0.1", "SSLType None")
        for u in lab.logins:
            for side in ("source", "target"):
                text += (f"\nIMAPAccount {side}-{u}\nHost {host}\nPort {lab.port(side)}\nUser {u}\nPass {PASSWORD}\n{tls}\nAuthMechs LOGIN\n"
                         f"\nIMAPStore {side}-{u}\nAccount {side}-{u}\n")
            (lab.dir / "run" / u).mkdir(exist_ok=True)
            text += f"\nChannel {u}\nFar :source-{u}:\nNear :target-{u}:\nPatterns *\nCreate Near\nExpunge None\nSync Pull\nSyncState {lab.dir}/run/{u}/\n"
        rc = lab.dir / "run/mbsyncrc"
        rc.write_text(text)
        if self.at_once == 1:
            return [["mbsync", "-q", "-c", rc, "-a"]]
        return [["mbsync", "-q", "-c", rc, u] for u in lab.logins]


class Doveadm(Tool):
    """Writes into the target's files, not through its IMAP: no server is between, as between two machines of others."""
    again, program = True, "doveadm"

    def version(self, options):
        return first_line("dovecot", "--version")

    def commands(self, lab):
        return [["doveadm", "-c", lab.dir / "target.conf", "-o", "imapc_host=127.0.0.1", "-o", f"imapc_port={lab.port('source')}", "-o", f"imapc_user={u}",
                 "-o", f"imapc_password={PASSWORD}", "-o", "imapc_features=rfc822.size fetch-headers", "backup", "-R", "-u", u, "imapc:"] for u in lab.logins]


class Imapsync(Tool):
    again, program = True, "imapsync"

    def commands(self, lab):
        out = []
        for u in lab.logins:
            command = ["imapsync", "--noreleasecheck", "--nolog", "--tmpdir", lab.dir / "run", "--pidfile", lab.dir / f"run/imapsync-{u}.pid"]
            for n, side in ((1, "source"), (2, "target")):
                command += [f"--host{n}", "127.0.0.1", f"--port{n}", lab.port(side), f"--user{n}", u, f"--password{n}", PASSWORD, f"--nossl{n}", f"--notls{n}"]
            out.append(command)
        return out


class Mailutil(Tool):
    program, answers = "mailutil", PASSWORD

    def version(self, options):
        version = first_line("dpkg-query", "-W", "-f", "${Version}", "uw-mailutils")
        return version if ":" in version and version[:1].isdigit() else ""

    def commands(self, lab):
        return [["mailutil", "transfer", "-kw", "-m", "append", *(f"{{127.0.0.1:{lab.port(side)}/imap/notls/user={u}}}" for side in ("source", "target"))] for u in lab.logins]


class Imapcopy(Tool):
    program = "imapcopy"

    def version(self, options):
        return ""                                   # it does not say

    def commands(self, lab):
        (lab.dir / "run/ImapCopy.cfg").write_text(f"SourceServer 127.0.0.1\nSourcePort {lab.port('source')}\nDestServer 127.0.0.1\nDestPort {lab.port('target')}\n"
                                                  + "".join(f'Copy "{u}" "{PASSWORD}" "{u}" "{PASSWORD}"\n' for u in lab.logins))
        return [["imapcopy"]]


class Offlineimap(Tool):
    again, program = True, "offlineimap"

    def commands(self, lab):
        text = f"[general]\naccounts = {', '.join(lab.logins)}\nmetadata = {lab.dir}/run/offlineimap\nui = quiet\nmaxsyncaccounts = 1\n"
        for u in lab.logins:
            text += f"[Account {u}]\nlocalrepository = target-{u}\nremoterepository = source-{u}\n"
            for side in ("source", "target"):
                text += (f"[Repository {side}-{u}]\ntype = IMAP\nremotehost = 127.0.0.1\nremoteport = {lab.port(side)}\nremoteuser = {u}\nremotepass = {PASSWORD}\n"
                         f"ssl = no\nstarttls = no\nmaxconnections = 3\nauth_mechanisms = LOGIN, PLAIN\n{'readonly = true' if side == 'source' else ''}\n")
        rc = lab.dir / "run/offlineimaprc"
        rc.write_text(text)
        return [["offlineimap", "-o", "-c", rc]]


class Pump(Tool):
    bound = True

    def __init__(self, connections, window):
        super().__init__(f"pump {connections}x{window}")
        self.connections, self.window = connections, window

    def there(self, options):
        return (options.build / "tests/bench/pump").exists()

    def version(self, options):
        return "as committed"

    def commands(self, lab):
        return [[lab.options.build / "tests/bench/pump", lab.port("source"), lab.port("target"), lab.pairs, self.connections, self.window]]


OURS, FULL = Ours("4d2kms --verify none", "--verify", "none"), Ours("4d2kms --verify full", "--verify", "full")
INVENTORY = Ours("4d2kms extract", command="extract")
AT_ONCE = {n: Ours(f"4d2kms --jobs {n} --verify none", "--verify", "none", "--jobs", n) for n in (1, 2, 4)}
MBSYNC, MBSYNC4 = Mbsync("mbsync"), Mbsync("mbsync x4", 4)
OTHERS = [MBSYNC, MBSYNC4, Doveadm("doveadm backup"), Imapsync("imapsync"), Mailutil("mailutil transfer"), Imapcopy("imapcopy"), Offlineimap("offlineimap")]
PUMPS = [Pump(1, 50), Pump(2, 50), Pump(4, 50), Pump(4, 1)]
BEST = PUMPS[2]
FIRST = [OURS, *OTHERS, *PUMPS]


def cases(options):
    """(case, tools, hidden, delay)"""
    what = options.what
    if {"first", "verify", "noop", "delta"} & what:
        tools = FIRST if "first" in what else [t for t in FIRST if t.again] if {"noop", "delta"} & what else []
        yield "first", [*tools, *([FULL] if "verify" in what else [])], False, 0
    if "inventory" in what:
        yield "inventory", [INVENTORY], False, 0
    if "plain" in what:
        yield "plain", [OURS], False, 0
    if "hidden" in what:
        yield "hidden", [OURS, MBSYNC, MBSYNC4, PUMPS[3], Pump(1, 1)], True, 0
    if "tls" in what:
        yield "tls", [OURS, MBSYNC], False, 0
    for delay in options.delays if "delay" in what else ():
        yield f"delay {delay} ms", [OURS, MBSYNC, MBSYNC4, BEST], False, delay
    for n in (1, 2, 4):
        if "same" in what:
            yield f"same {n}", [AT_ONCE[n], Pump(n, 50)], False, 0
        if "same-hidden" in what:
            yield f"same {n} hidden", [AT_ONCE[n], Pump(n, 1)], True, 0


# ------------------------------------------------------------------ measuring

def one(lab, tool, number, command, limit):
    """One command through `timed`: its figures."""
    result = lab.dir / f"run/timed-{number}"
    argv = [str(a) for a in [lab.options.build / "tests/bench/timed", result, *command]]
    log = open(lab.dir / f"run/log-{number}", "ab")
    end = time.monotonic() + limit
    if tool.answers is None:
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=lab.dir / "run", start_new_session=True)
    else:
        ours, theirs = pty.openpty()
        # The password is asked for at the controlling terminal.
        p = subprocess.Popen(["setsid", "-c", "-w", *argv], stdin=theirs, stdout=theirs, stderr=theirs, cwd=lab.dir / "run", start_new_session=True)
        os.close(theirs)
        said = b""
        os.set_blocking(ours, False)
    while p.poll() is None:
        if time.monotonic() > end:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
            break
        if tool.answers is not None:
            try:
                octets = os.read(ours, 65536)
                log.write(octets)
                said += octets
                if re.search(rb"assword:", said):
                    os.write(ours, tool.answers.encode() + b"\n")
                    said = b""
            except OSError:
                pass
        time.sleep(0.005)
    log.close()
    if tool.answers is not None:
        os.close(ours)
    try:
        wall, user, system, peak, code = result.read_text().split()
    except (OSError, ValueError):
        return {"over_limit": True}
    return {"cpu": float(user) + float(system), "peak_kib": int(peak), "exit": int(code)}


def measure(lab, tool):
    commands = tool.commands(lab)
    for number in range(len(commands)):
        (lab.dir / f"run/timed-{number}").unlink(missing_ok=True)
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(tool.at_once) as pool:
        done = list(pool.map(lambda x: one(lab, tool, x[0], x[1], max(1, lab.options.limit - (time.monotonic() - start))), enumerate(commands)))
    wall = time.monotonic() - start
    out = {"wall": round(wall, 3), "load": os.getloadavg()[0], "command": " ".join(str(a) for a in commands[0]).replace(str(lab.dir), "DIR").replace(str(lab.options.build), "BUILD")}
    if any(d.get("over_limit") for d in done):
        return {**out, "no_time": f"over {lab.options.limit:.0f} s"}
    exits = sorted({d["exit"] for d in done})
    if not tool.fine.issuperset(exits):
        return {**out, "no_time": f"failed with exit {', '.join(map(str, exits))}"}
    return {**out, "cpu": round(sum(d["cpu"] for d in done), 3), "peak_mib": round(max(d["peak_kib"] for d in done) / 1024, 1), "exits": exits}


class Results:
    def __init__(self, path):
        self.path, self.all = path, []
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    self.all.append(json.loads(line))
                except ValueError:
                    pass                            # cut off by a kill
        self.keys = {self.key(r) for r in self.all}

    @staticmethod
    def key(r):
        return r["set"], r["case"], r["tool"], r["round"]

    def has(self, *key):
        return key in self.keys

    def add(self, record):
        self.all.append(record)
        self.keys.add(self.key(record))
        with open(self.path, "a") as f:
            f.write(json.dumps(record) + "\n")
        spoken = record.get("no_time") or f"{record['wall']:.2f} s, {record['cpu']:.2f} s CPU, {record['peak_mib']} MiB, exit {record['exits']}"
        print(f"{record['set']} {record['case']}, round {record['round']}, {record['tool']}: {spoken}{'; ' + str(record['wrong']) if record.get('wrong') else ''}", flush=True)


def wanted(tool, options):
    return tool.there(options) and (not options.tools or any(tool.name.startswith(t) for t in options.tools))


def one_tool(lab, tool, case, hidden, delay, number, results):
    """`first` of one tool, and what follows on the same target."""
    what = lab.options.what
    follow = [w for w in ("noop", "delta") if w in what and tool.again and tool not in (FULL, MBSYNC4) and case == "first"]
    if all(results.has(lab.name, c, tool.name, number) for c in [case, *follow]):
        return

    def record(of, **more):
        r = {"set": lab.name, "case": of, "tool": tool.name, "round": number, "series": lab.options.series, "version": tool.version(lab.options), "messages": lab.messages, **measure(lab, tool), **more}
        if number == 1 and of == case and tool is not INVENTORY and not lab.options.no_judge and "no_time" not in r:
            r["wrong"] = lab.verdict()
        if not results.has(*Results.key(r)):
            results.add(r)
        return "no_time" not in r

    lab.fresh_target(hidden)
    lab.delayed(delay)
    lab.tls = case == "tls"
    try:
        if case == "plain":
            lab.source_offers(PLAIN)
            try:
                measure(lab, tool)
                record(case)
            finally:
                lab.source_offers("")
            return
        if not record(case):
            return
        if "noop" in follow and not record("noop"):
            return
        if "delta" in follow:
            try:
                fresh = lab.bring_delta()
                record("delta", messages=fresh)
            finally:
                lab.take_delta_back()
    finally:
        lab.delayed(0)
        lab.tls = False


# ------------------------------------------------------------------ the table

def summary(results, options):
    rows = []
    walls = {}
    for r in results.all:
        if "no_time" not in r:
            walls[*Results.key(r), r.get("series")] = r["wall"]
    groups = {}
    for r in results.all:
        groups.setdefault((r["set"], r["case"], r["tool"]), []).append(r)

    def ratio(group, other):
        """Of this tool's time to the other's in the same round: the median."""
        all_ = []
        for r in group:
            set_, case, tool, number = Results.key(r)
            mine, others = (walls.get((set_, case, t, number, r.get("series"))) for t in (tool, other))
            if mine and others:
                all_.append(mine / others)
        return round(median(all_), 2) if all_ else None

    for (set_, case, tool), group in groups.items():
        good = [r for r in group if "no_time" not in r]
        row = {"set": set_, "case": case, "tool": tool, "rounds": len(group), "without_time": [r["no_time"] for r in group if "no_time" in r]}
        if good:
            wall = median(r["wall"] for r in good)
            row |= {"wall": wall, "wall_min": min(r["wall"] for r in good), "wall_max": max(r["wall"] for r in good),
                    "messages_a_second": round(good[0]["messages"] / wall) if case not in ("noop", "plain") else None,
                    "cpu": median(r["cpu"] for r in good), "peak_mib": max(r["peak_mib"] for r in good),
                    "to_mbsync": ratio(good, MBSYNC.name), "to_pump": ratio(good, next((t for s, c, t in groups if (s, c) == (set_, case) and t.startswith("pump")), None) if case.startswith("same")
                                     else PUMPS[3].name if case == "hidden" else BEST.name),
                    "exits": sorted({e for r in good for e in r["exits"]}), "load": round(median(r["load"] for r in good), 1),
                    "wrong": next((r["wrong"] for r in good if "wrong" in r), None), "command": good[-1]["command"]}
        rows.append(row)
    order = {"first": 0, "noop": 1, "plain": 2, "delta": 3, "inventory": 4, "hidden": 5, "tls": 6}
    rows.sort(key=lambda r: (list(SETS).index(r["set"]), order.get(r["case"], 7), len(r["case"]), r["case"], r.get("wall", 1e9)))
    return rows


def machine():
    try:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        cpu = platform.processor()
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(int(memory[1]) / 1048576, 1), "kernel": platform.release()}


CASES = {"first": "Onto an empty target", "noop": "Again, nothing new", "delta": "Again, 1 % new mail", "plain": "Again, nothing new, at a source without CONDSTORE",
         "inventory": "The inventory alone", "hidden": "Onto an empty target that offers no MULTIAPPEND", "tls": "Onto an empty target, over TLS on both sides"}


def markdown(rows, about, head):
    out = []
    for set_ in dict.fromkeys(r["set"] for r in rows):
        out.append(f"\nSet {set_}: {about.get(set_, '')}\n")
        for case in dict.fromkeys(r["case"] for r in rows if r["set"] == set_):
            rounds = sorted({r["rounds"] for r in rows if (r["set"], r["case"]) == (set_, case)})
            many = "1 round" if rounds == [1] else f"{'-'.join(map(str, {rounds[0]: 0, rounds[-1]: 0}))} rounds"
            out.append(f"\n{CASES.get(case, 'Onto an empty target, ' + case.replace('delay', 'round trips of').replace('same', 'pairs of connections:').replace('hidden', 'without MULTIAPPEND'))} ({many}):\n")
            out.append("| tool | wall s (least-most) | messages/s | to mbsync | to the pump | CPU s | peak MiB | wrong, says the judge |")
            out.append("|---|---|---|---|---|---|---|---|")
            for r in (r for r in rows if r["set"] == set_ and r["case"] == case):
                if "wall" not in r:
                    out.append(f"| {r['tool']} | {r['without_time'][0]} | | | | | | |")
                    continue
                wrong = "" if r["wrong"] is None else ", ".join(f"{k} {v}" for k, v in r["wrong"].items()) or "nothing"
                show = lambda v, form="": "" if v is None else format(v, form)
                exits = [e for e in r["exits"] if e]
                out.append(f"| {r['tool']}{' (exit ' + ', '.join(map(str, exits)) + ')' if exits else ''} | {r['wall']:.2f} ({r['wall_min']:.2f}-{r['wall_max']:.2f}) | "
                           f"{show(r['messages_a_second'], ',')} | {show(r['to_mbsync'])} | {show(r['to_pump'])} | {r['cpu']:.2f} | {r['peak_mib']:.0f} | {wrong} |")
    return head + "\n" + "\n".join(out) + "\n"


def write(results, options):
    rows = summary(results, options)
    tools = {t.name: t for t in [*FIRST, FULL, INVENTORY, *AT_ONCE.values(), *(Pump(n, 1) for n in (1, 2))]}
    versions = {}                                   # as they were when they ran
    for r in results.all:
        if r["tool"] in tools:
            versions.setdefault(r["tool"], set()).add(r["version"])
    versions = {tool: " and ".join(sorted(v)) for tool, v in versions.items()}
    m = machine()
    about = {name: (options.work / name / "source.made").read_text().strip() for name in SETS if (options.work / name / "source.made").exists()}
    head = (f"Made by `tests/bench/compare.py`, {time.strftime('%Y-%m-%d', time.gmtime())}: {m['cores']} cores ({m['cpu']}), {m['memory_gib']} GiB, Linux {m['kernel']}, "
            f"Dovecot {first_line('dovecot', '--version')} on both sides, plain IMAP over loopback. Medians of as many interleaved rounds as each heading says; "
            f"ratios are medians of the ratios within a round; the pump is {BEST.name} (pairs of connections x messages in a MULTIAPPEND), or {PUMPS[3].name} where there is no MULTIAPPEND. Load average while it ran: {max((r.get('load', 0) for r in rows), default=0)} at most. "
            "Versions: " + "; ".join(sorted({v if v.startswith("4d2kms") else f"{t.removesuffix(' x4')} {v}" for t, v in versions.items() if v and not tools[t].bound})) + ".")
    (options.work / "results.json").write_text(json.dumps({"machine": m, "versions": versions, "sets": about, "rows": rows}, indent=1) + "\n")
    text = markdown(rows, about, head)
    (options.work / "results.md").write_text(text)
    if options.write:
        document = DOCUMENT.read_text()
        if BEGIN not in document or END not in document:
            sys.exit(f"compare.py: the markers are missing in {DOCUMENT}")
        before, rest = document.split(BEGIN, 1)
        DOCUMENT.write_text(before + BEGIN + "\n" + text + END + rest.split(END, 1)[1])
    print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: [w.strip() for w in text.split(",") if w.strip()]
    parser.add_argument("--sets", type=words, default=["S"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--what", type=lambda t: set(words(t)), default={"first", "verify", "noop", "plain", "delta", "inventory", "hidden", "delay"})
    parser.add_argument("--tools", type=words, default=[], help="beginnings of their names; default all")
    parser.add_argument("--delays", type=lambda t: [int(w) for w in words(t)], default=[20, 100])
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/4d2kms-compare"))
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--limit", type=float, default=900, help="seconds for one run, then it is killed")
    parser.add_argument("--fresh", action="store_true", help="forget the results that are there")
    parser.add_argument("--no-judge", action="store_true", help="do not compare both sides after the first round")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    options.build = options.build.resolve()
    options.series = round(time.time())             # of this call
    unknown = [s for s in options.sets if s not in SETS] + sorted(options.what - {"first", "verify", "noop", "plain", "delta", "inventory", "hidden", "tls", "delay", "same", "same-hidden"})
    if unknown:
        parser.error("unknown: " + ", ".join(unknown))
    missing = [p for p in ("4d2kms", "tests/bench/pump", "tests/bench/timed") if not (options.build / p).exists()]
    if missing and options.rounds:
        parser.error(f"not built in {options.build}: {', '.join(missing)}")
    options.work.mkdir(parents=True, exist_ok=True)
    options.work = options.work.resolve()
    path = options.work / "results.jsonl"
    if options.fresh:
        path.unlink(missing_ok=True)
    results = Results(path)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))      # so that servers are stopped
    lab = None
    try:
        for name in options.sets if options.rounds else ():
            lab = Lab(name, options)
            for number in range(1, options.rounds + 1):
                for case, tools, hidden, delay in cases(options):
                    tools = [t for t in tools if wanted(t, options)]
                    turn = number % len(tools) if tools else 0
                    for tool in tools[turn:] + tools[:turn]:
                        one_tool(lab, tool, case, hidden, delay, number, results)
            lab.close()
    finally:
        if lab is not None:
            lab.close()
        for name in options.sets:               # one that did not come up
            if (options.work / name).exists():
                run(FIXTURES / "sandbox.sh", "stop", options.work / name)
    write(results, options)


if __name__ == "__main__":
    main()
