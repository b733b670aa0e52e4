"""The reports, from real migrations: every figure is the state file's, by SQL of this test's own; digests are worked out
again over IMAP by code that shares nothing with the program; what is planted afterwards is found; Chromium prints all of it."""
import csv, hashlib, html.parser, imaplib, io, json, os, re, shutil, sqlite3, subprocess, unittest
import support
from support import FIXTURES, PROGRAM, ROOT, Sandbox

CHROMIUM = shutil.which("chromium")
BOOKS = ("inventory", "bound", "verified", "gone", "excluded", "quarantined", "pending")


def chromium(*argv):
    with_home = {**os.environ, "HOME": "/tmp"}
    r = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000", *map(str, argv)],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=with_home, timeout=180)
    if r.returncode:
        raise AssertionError(r.stderr.decode(errors="replace")[-2000:])
    return r.stdout.decode()


class Page(html.parser.HTMLParser):
    """Tables by their captions, as rows of texts; every tag and attribute that is there."""
    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.attributes, self.cell, self.caption, self.text, self.skip = {}, set(), set(), None, None, "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes.update(a for a, _ in attrs)
        self.skip = tag in ("style", "script")
        if tag == "caption":
            self.caption = ""
        elif tag == "tr":
            if self.caption is not None:
                self.tables.setdefault(self.caption, []).append([])
            self.cell = None
        elif tag in ("td", "th") and self.caption is not None and self.tables.get(self.caption):
            self.tables[self.caption][-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag == "table":
            self.caption, self.cell = None, None

    def handle_data(self, data):
        if self.skip:
            return
        self.text += data
        if self.cell:
            self.tables[self.caption][-1][-1] += data
        elif self.caption is not None and self.caption not in self.tables:
            self.caption += data


def number(text):
    return int(text.replace(",", ""))


def check(schema, value, root, where="$"):
    """As much of JSON Schema as docs/report-schema.json uses; the first thing that is wrong, or None."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    known = {"$schema", "title", "description", "$defs", "type", "properties", "required", "additionalProperties", "items", "minimum", "minItems", "maxItems", "pattern", "const", "enum", "anyOf"}
    assert set(schema) <= known, set(schema) - known
    if "anyOf" in schema:
        return None if any(check(s, value, root, where) is None for s in schema["anyOf"]) else f"{where}: none of those allowed: {value!r}"
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        return f"{where}: {value!r}"
    is_a = {"object": lambda: isinstance(value, dict), "array": lambda: isinstance(value, list), "string": lambda: isinstance(value, str),
            "integer": lambda: isinstance(value, int) and not isinstance(value, bool), "boolean": lambda: isinstance(value, bool), "null": lambda: value is None}
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(is_a[t]() for t in types):
        return f"{where}: {value!r} is no {types}"
    if isinstance(value, int) and value < schema.get("minimum", value):
        return f"{where}: {value}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return f"{where}: {value!r}"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 60):
            return f"{where}: {len(value)} items"
        return next(filter(None, (check(schema["items"], x, root, f"{where}[{i}]") for i, x in enumerate(value))), None)
    if isinstance(value, dict) and "properties" in schema:
        for key in schema["required"]:
            if key not in value:
                return f"{where}: {key} is missing"
        for key, x in value.items():
            if key not in schema["properties"]:
                return f"{where}: {key} is not in the schema"
            wrong = check(schema["properties"][key], x, root, f"{where}.{key}")
            if wrong:
                return wrong
    return None


def sql(state, query, *values):
    db = sqlite3.connect(f"file:{state}/state.db?immutable=1", uri=True)
    try:
        return db.execute(query, values).fetchall()
    finally:
        db.close()


def e1(octets):
    return hashlib.sha256(octets.replace(b"\r", b"").replace(b"\0", b"\x80").rstrip(b"\n")).hexdigest()


class Reported(Sandbox):
    def reports(self, name):
        return (self.state / "reports" / name).read_bytes().decode()

    def conforms(self, text):
        report = json.loads(text)
        schema = json.loads((ROOT / "docs" / "report-schema.json").read_text())
        self.assertIsNone(check(schema, report, schema))
        zeros = re.sub(r'"fingerprint":"[0-9a-f]+"', '"fingerprint":"' + "0" * 64 + '"', text)
        self.assertEqual(hashlib.sha256(zeros.encode()).hexdigest(), report["fingerprint"])
        return report

    def digests(self, side, user, mailboxes):
        """(messages, SHA-256) of an account: {mailbox there: name on the target}, all that is in them."""
        lines = []
        c = imaplib.IMAP4("127.0.0.1", self.port(side))
        c.login(user, "secret")
        for there, target in mailboxes.items():
            self.assertEqual(c.select('"' + there.replace("\\", "\\\\").replace('"', '\\"') + '"', readonly=True)[0], "OK")
            _, found = c.uid("SEARCH", "ALL")
            for uid in found[0].split():
                _, data = c.uid("FETCH", uid, "(BODY.PEEK[])")
                lines.append(target.encode() + b"\0" + e1(data[0][1]).encode() + b"\n")
        c.logout()
        return len(lines), hashlib.sha256(b"".join(sorted(lines))).hexdigest()


class Figures(Reported):
    users = [(f"u{i}", "secret", f"u{i}") for i in range(1, 4)]
    messages = 60
    skipped = 150  # accounts without a password: rows for several pages of paper

    def fill(self):
        super().fill()
        boxes = self.dir / "source-mail" / "u1" / "Maildir"
        for name in (".<img src=x onerror=alert(1)>", '.=HYPERLINK("x")', ".Plain"):
            for sub in ("new", "cur", "tmp"):
                (boxes / name / sub).mkdir(parents=True, exist_ok=True)
        (boxes / ".Plain" / "new" / "1600000000.M1.empty").write_bytes(b"")
        (boxes / '.=HYPERLINK("x")' / "new" / "1600000001.M1.one").write_bytes(b"Subject: =cmd\n\n<script>alert(2)</script>\n")
        (boxes / "new" / "1600000002.M1.two").write_bytes(b"Subject: two\n\ntwo\n")
        subprocess.run(["chown", "-R", "vmail:vmail", str(boxes)], check=True)
        with open(self.roster, "a") as f:
            f.writelines(f"nobody{i:03}@{'example.org' if i % 2 else 'other.example'};;n{i};n{i}\n" for i in range(self.skipped))

    def test_every_figure_is_the_ledgers_and_every_format_says_the_same(self):
        report = self.conforms(self.tool("run", "--json", exit=3))
        run = report["run"]["number"]
        self.assertEqual(self.conforms(self.reports(f"run-{run}.json")), report)
        page = Page(self.reports(f"run-{run}.html"))
        counted = dict(sql(self.state, "SELECT state, count(*) FROM message GROUP BY state"))
        at = lambda *states: sum(counted.get(s, 0) for s in states)  # noqa: E731
        books = {"inventory": at(*range(8)), "bound": at(3, 4), "verified": at(4), "gone": at(5), "excluded": at(6), "quarantined": at(7), "pending": at(0, 1, 2)}
        self.assertGreater(books["quarantined"], 0)
        self.assertEqual({k: report["books"][k] for k in BOOKS}, books)
        where = {r[0]: number(r[1]) for r in page.tables["All messages of the inventory, and where each of them is"][1:]}
        self.assertEqual(where, {"on the target, re-read and equal": books["verified"], "on the target, not re-read": books["bound"] - books["verified"],
                                 "not moved yet": books["pending"], "refused by the target": books["quarantined"], "left out by a policy": books["excluded"],
                                 "deleted at the source meanwhile": books["gone"], "inventory": books["inventory"]})
        self.assertIn("the books are closed", page.text)
        by_office = {}
        per = "SELECT {}, sum(m.id IS NOT NULL), sum(m.state IN (3,4)), sum(m.state=4), sum(m.state=5), sum(m.state=6), sum(m.state=7), sum(m.state<3), a.address FROM account a JOIN post_office p ON p.id=a.post_office LEFT JOIN mailbox b ON b.account=a.id LEFT JOIN message m ON m.mailbox=b.id GROUP BY {}"
        zero = lambda row: [n or 0 for n in row]  # noqa: E731
        for row in sql(self.state, per.format("p.name", "p.id")):
            by_office[row[0]] = zero(row[1:8])
        self.assertEqual({r[0]: [number(c) for c in r[1:8]] for r in page.tables["Books of each Post Office"][1:]}, by_office)
        accounts = {row[0]: zero(row[1:8]) for row in sql(self.state, per.format("a.address", "a.id"))}
        self.assertEqual(len(accounts), 3 + self.skipped)
        shown = {r[0]: [number(c) for c in r[1:8]] for caption, rows in page.tables.items() if re.match(r"Post Office \S+$", caption) for r in rows[1:]}
        self.assertEqual(shown, accounts)
        # Reasons: the refused one with what to do; the skipped accounts as one line.
        reasons = page.tables["Messages that are not on the target, by reason"][1:]
        self.assertEqual(sum(number(r[0]) for r in reasons), books["inventory"] - books["bound"])
        self.assertIn("retry", reasons[0][3])
        skipped = page.tables["Accounts that were skipped or stopped"][1:]
        self.assertEqual([number(r[1]) for r in skipped], [self.skipped])
        # Nothing that mail or servers said became markup.
        self.assertNotIn("img", page.tags)
        self.assertFalse([a for a in page.attributes if a.startswith("on")])
        self.assertIn("<img src=x onerror=alert(1)>", page.text)
        # Spreadsheets.
        def table(what):
            text = self.reports(f"run-{run}-{what}.csv")
            self.assertTrue(text.startswith("\ufeff"))
            self.assertNotIn("\n", text.replace("\r\n", ""))
            return list(csv.DictReader(io.StringIO(text[1:], newline="")))
        self.assertEqual({r["account"]: [int(r[k]) for k in BOOKS] for r in table("accounts")}, accounts)
        boxes = table("mailboxes")
        self.assertEqual(sum(int(r["inventory"]) for r in boxes), books["inventory"])
        self.assertEqual(len(boxes), sql(self.state, "SELECT count(*) FROM mailbox")[0][0])
        self.assertIn("'=HYPERLINK(\"x\")", [r["mailbox"] for r in boxes])
        for row in boxes + table("accounts") + table("messages") + table("differences"):
            self.assertFalse([c for c in row.values() if c[:1] in ("=", "+", "-", "@", "\t", "\r")], row)
        noted = sql(self.state, "SELECT count(*) FROM note WHERE kind NOT IN ('found','superseded')")[0][0]
        self.assertEqual(len(table("messages")), noted + books["pending"])
        # Notes.
        note = self.reports("notes/u1@example.org.txt")
        mine = accounts["u1@example.org"]
        self.assertIn(f"1 of {mine[0]:,} messages could not be moved:", note)
        self.assertIn('in "Plain":', note)
        self.assertNotIn("u2@", note)
        self.assertIn("Your mail is still on the old server", self.reports("notes/nobody000@other.example.txt"))
        self.assertEqual(len(list((self.state / "reports" / "notes").iterdir())), 2 * len(accounts))
        Page(self.reports("notes/u1@example.org.html"))
        for f in (self.state / "reports").rglob("*"):
            self.assertEqual(f.stat().st_mode & 0o077, 0, f)
        # The same again from the state, into another folder and on standard output.
        out = self.dir / "out"
        self.tool_plain("report", "--state", self.state, "--format", "all", "--output", out)
        for f in out.rglob("*.*"):
            self.assertEqual(f.read_bytes(), (self.state / "reports" / f.relative_to(out)).read_bytes(), f)
        self.assertEqual(len(list(out.rglob("*.*"))), 7 + 2 * len(accounts))
        self.assertEqual(self.tool_plain("report", "--state", self.state, "--format", "html"), self.reports(f"run-{run}.html"))
        self.assertEqual(self.tool_plain("report", "--state", self.state, "--json"), self.reports(f"run-{run}.json"))
        if CHROMIUM:
            self.on_paper(run, accounts)
            self.in_a_browser(run)

    def tool_plain(self, *argv):
        r = subprocess.run([PROGRAM, *map(str, argv)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout.decode()

    def on_paper(self, run, accounts):
        # With every list closed, as long ones are: on paper nobody can open them.
        closed, pdf = self.dir / "closed.html", self.dir / "report.pdf"
        closed.write_text(self.reports(f"run-{run}.html").replace("<details open>", "<details>"))
        chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", f"file://{closed}")
        self.assertIn('"Plain", UID 1 ', subprocess.run(["pdftotext", pdf, "-"], stdout=subprocess.PIPE, check=True).stdout.decode())
        boxes = subprocess.run(["pdftotext", "-bbox", pdf, "-"], stdout=subprocess.PIPE, check=True).stdout.decode()
        pages = boxes.split("<page ")[1:]
        self.assertGreater(len(pages), 3)
        rows = set()
        for p in pages:
            width, height = (float(x) for x in re.match(r'width="([\d.]+)" height="([\d.]+)"', p).groups())
            words = [(float(a), float(b), float(c), float(d), w) for a, b, c, d, w in re.findall(r'<word xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)">(.*?)</word>', p)]
            for left, top, right, bottom, word in words:
                self.assertTrue(0 <= left and right <= width and 0 <= top and bottom <= height, f"{word} is cut by the edge of the page")
            # A row's first line has all its figures, on the page where its account stands.
            for left, top, right, bottom, word in words:
                if word in accounts:
                    beside = [w for l, t, _, _, w in sorted(words) if abs(t - top) < 2 and l > right and re.fullmatch(r"[\d,]+", w)]
                    if [number(w) for w in beside[:7]] == accounts[word]:
                        rows.add(word)
        self.assertEqual(rows, set(accounts))

    def in_a_browser(self, run):
        page = self.state / "reports" / f"run-{run}.html"
        # Under its own policy the filter's script runs, and nothing else does.
        self.assertNotRegex(chromium("--dump-dom", f"file://{page}"), r'id="filter" hidden')
        probe = self.dir / "probe.html"
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
        # Chromium's virtual time passes without a frame being drawn when the machine is busy: no waiting for one.
        act = "window.requestAnimationFrame=function(f){setTimeout(f,0)};var f=document.getElementById('filter');f.querySelector('%s').value='%s';f.querySelector('%s').dispatchEvent(new Event('%s'));(function wait(n){var said=f.querySelector('output').textContent;if(!said&&n>0)return setTimeout(wait,100,n-1);document.title=said+'|'+[].filter.call(document.querySelectorAll('.chunk tbody tr'),function(r){return r.offsetParent!==null}).length})(45)"
        for where, value, event, said in (("input", "NOBODY01", "input", "10 of 153 accounts|10"), ("select", "open", "change", "151 of 153 accounts|151"), ("input", "no such", "input", "0 of 153 accounts|0")):
            probe.write_text(text.replace("</body>", "<script>" + act % (where, value, where, event) + "</script></body>"))
            self.assertIn(f"<title>{said}</title>", chromium("--dump-dom", f"file://{probe}"))
        probe.write_text(page.read_text().replace("</body>", "<script>document.title='it ran'</script></body>"))
        self.assertNotIn("it ran</title>", chromium("--dump-dom", f"file://{probe}"))


class Evidence(Reported):
    users = [(f"u{i}", "secret", f"u{i}") for i in range(1, 4)]
    messages = 40

    def verified(self):
        self.report("run")
        report = self.conforms(self.tool("verify", "--json"))
        return report, self.state / "reports" / f"run-{report['run']['number']}.json"

    def against(self, file, exit):
        """With the source switched off."""
        report = self.conforms(self.tool("verify", "--against", file, "--json", exit=exit))
        self.assertNotIn("reached", self.said)
        return report, {(d["account"], d["mailbox"]) for d in report["differences"] if d["kind"] == "evidence"}

    def test_digests_can_be_worked_out_by_others_and_hold_with_the_source_off(self):
        report, file = self.verified()
        evidence = report["evidence"]
        self.assertEqual(evidence["source"], evidence["on_target"])
        self.assertEqual(evidence["source"]["messages"], report["books"]["bound"])
        lines = []
        for a in evidence["accounts"]:
            user = a["account"].split("@")[0]
            names = {wire: target for wire, target in sql(self.state, "SELECT b.wire, b.target_wire FROM mailbox b JOIN account a ON a.id=b.account WHERE a.address=? AND b.target_wire IS NOT NULL", a["account"])}
            self.assertEqual(self.digests("source", user, names), (a["source"]["messages"], a["source"]["sha256"]))
            self.assertEqual(self.digests("target", user, {t: t for t in names.values()}), (a["on_target"]["messages"], a["on_target"]["sha256"]))
            lines.append(f"{a['account']}\0{a['source']['sha256']}\n".encode())
        self.assertEqual(hashlib.sha256(b"".join(sorted(lines))).hexdigest(), evidence["source"]["sha256"])
        support.run(FIXTURES / "sandbox.sh", "stop", self.dir, "source")
        again, differs = self.against(file, 0)
        self.assertEqual(differs, set())
        self.assertIn("compared there with the report of run 2", again["verdict"]["sentence"])
        self.assertEqual(again["evidence"]["on_target"], evidence["on_target"])
        self.assertIsNone(again["evidence"]["source"])
        # New mail of others is none of its business.
        c = imaplib.IMAP4("127.0.0.1", self.port("target"))
        c.login("u1", "secret")
        c.append("INBOX", None, None, b"Subject: new mail\r\n\r\nof today\r\n")
        c.logout()
        self.against(file, 0)
        # A report that was changed, and one that holds none, are refused.
        text = file.read_text()
        bad = self.dir / "changed.json"
        bad.write_text(text.replace('"messages":', '"messages": ', 1))
        self.tool("verify", "--against", bad, exit=2)
        self.assertIn("was changed since it was written", self.said)
        self.tool("verify", "--against", self.state / "reports" / "run-1.json", exit=2)
        self.assertIn("holds no evidence", self.said)
        self.tool("verify", "--against", self.dir / "none.json", exit=2)

    def planted(self, plant, kind):
        report, file = self.verified()
        box = plant(self.dir / "target-mail" / "u2" / "Maildir")
        again, differs = self.against(file, 4)
        self.assertEqual(differs, {("u2@example.org", box)})
        self.assertIn(kind, {d["kind"] for d in again["differences"]})
        other = {a["account"]: a["on_target"] for a in report["evidence"]["accounts"]}
        for a in again["evidence"]["accounts"]:
            (self.assertNotEqual if a["account"] == "u2@example.org" else self.assertEqual)(a["on_target"], other[a["account"]])

    def a_message(self, maildir):
        return max((f for f in [*(maildir / "cur").iterdir(), *(maildir / "new").iterdir()]), key=lambda f: (len(f.read_bytes()) < 20000, f.stat().st_size))

    def test_a_planted_loss_is_found(self):
        def plant(maildir):
            self.a_message(maildir).unlink()
            return "INBOX"
        self.planted(plant, "absent")

    def test_a_planted_duplicate_is_found(self):
        def plant(maildir):
            octets = self.a_message(maildir).read_bytes()
            c = imaplib.IMAP4("127.0.0.1", self.port("target"))
            c.login("u2", "secret")
            self.assertEqual(c.append("INBOX", None, None, re.sub(rb"\r?\n", b"\r\n", octets))[0], "OK")
            c.logout()
            return "INBOX"
        self.planted(plant, "duplicate")

    def test_a_swapped_body_is_found(self):
        def plant(maildir):
            f = self.a_message(maildir)
            octets = f.read_bytes()
            at = octets.index(b"\n\n" if b"\n\n" in octets else b"\r\n\r\n") + 4
            f.write_bytes(octets[:at] + bytes(b ^ 1 if 97 <= b <= 121 else b for b in octets[at:]))
            return "INBOX"
        self.planted(plant, "another body")


support.main()
