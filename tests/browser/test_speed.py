"""The wizard is quick while mail moves, and with 20,000 accounts."""
import contextlib, http.client, json, os, re, socketserver, sqlite3, statistics, threading, time, types, unittest
from pathlib import Path
import test_wizard
from support import PROGRAM, Sandbox
from test_wizard import Browser
from wizard import Wizard
import support

ACCOUNTS = 20000
# A build with sanitizers answers several times later, and those figures say nothing about the program.
SLACK = 4 if "ASAN_OPTIONS" in os.environ else 1


class Client:
    """A browser without a screen: one connection, the session's cookie."""

    def __init__(self, wizard):
        self.port = wizard.port
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.connection.request("GET", wizard.url.split(str(self.port), 1)[1])
        r = self.connection.getresponse()
        r.read()
        self.cookie = {"Cookie": r.headers["Set-Cookie"].split(";")[0]}
        self.token = re.search(r'name=page-token content="(\w+)"', self.get("/introduction"))[1]

    def get(self, path):
        self.connection.request("GET", path, headers=self.cookie)
        r = self.connection.getresponse()
        body = r.read().decode()
        assert r.status == 200, (path, r.status, r.headers.get("Location"))
        return body

    def post(self, path, body):
        self.connection.request("POST", path, json.dumps(body), {**self.cookie, "Content-Type": "application/json", "X-Page-Token": self.token,
                                                                 "Origin": f"http://127.0.0.1:{self.port}"})
        r = self.connection.getresponse()
        assert r.status == 200, r.read()
        return json.loads(r.read())

    def milliseconds(self, path):
        began = time.perf_counter()
        self.get(path)
        return (time.perf_counter() - began) * 1000


class WhileMailMoves(Browser, Sandbox):
    users = [(f"u{i}", "secret", f"u{i}") for i in range(1, 5)]
    messages = 1500

    def test_pages_answer_within_50_ms(self):
        w = self.wizard("--max-rate", "4M")
        c = Client(w)
        c.post("/api/configuration", {"roster_upload": {"name": "r.csv", "content": self.roster.read_text()}})
        self.assertEqual(c.post("/api/source", {"source-host": "127.0.0.1", "source-port": str(self.port("source")), "source-tls": "none"}), {"go": "/target"})
        self.assertEqual(c.post("/api/target", {"target": "imap", "target-host": "127.0.0.1", "target-imap-port": str(self.port("target")),
                                                "target-tls": "none"}), {"go": "/summary"})
        self.assertEqual(c.post("/api/plan", {}), {"go": "/progress"})
        self.until(c, "Nothing is running")
        self.assertIn("Make the plan anew", c.post("/api/start", {"plan": 99})["html"], "another one than the page showed")
        self.assertEqual(c.post("/api/start", {"plan": 1}), {"go": "/progress"})
        self.until(c, "Copying")
        times = {p: [] for p in ("/introduction", "/configuration", "/source", "/target", "/summary", "/progress", "/accounts?q=u")}
        for _ in range(15):
            for path in times:
                times[path].append(c.milliseconds(path))
            time.sleep(0.1)
        self.assertIn("Copying", c.get("/progress"), "it was measured while mail moved")
        print({p: f"median {statistics.median(t):.1f} ms, worst {max(t):.1f} ms" for p, t in times.items()})
        for path, t in times.items():
            # This machine does other things as well: one answer in ten may be late.
            self.assertLess(sorted(t)[int(len(t) * 0.9) - 1], 50 * SLACK, path)

    def until(self, c, text, seconds=120):
        end = time.monotonic() + seconds
        while text not in c.get("/progress"):
            self.assertLess(time.monotonic(), end, f"never: {text}")
            time.sleep(0.1)


class Greets(socketserver.BaseRequestHandler):
    """An IMAP server that greets, and then says nothing."""

    def handle(self):
        self.request.sendall(b"* OK IMAP4rev1 ready\r\n")
        with contextlib.suppress(ConnectionResetError):
            while self.request.recv(4096):
                pass


class ManyAccounts(Browser, unittest.TestCase):
    def setUp(self):
        self.dir = support.Path(support.tempfile.mkdtemp(prefix="4d2kms-e2e-"))
        self.addCleanup(lambda: support.shutil.rmtree(self.dir, ignore_errors=True))
        self.state = self.dir / "state"
        self.files.mkdir()
        self.roster = self.files / "roster.csv"
        self.addresses = [f"user{n:05d}@d{n % 40:02d}.example" for n in range(ACCOUNTS)]
        self.roster.write_text("address;password\n" + "".join(f"{a};secret\n" for a in self.addresses))
        self.roster.chmod(0o600)
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greets)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def test_twenty_thousand(self):
        port = str(self.server.server_address[1])
        w = self.wizard()
        c = Client(w)
        self.assertEqual(c.post("/api/configuration", {"roster": str(self.roster)}), {"go": "/source"})
        self.assertEqual(c.post("/api/source", {"source-host": "127.0.0.1", "source-port": port, "source-tls": "none"}), {"go": "/target"})
        self.assertEqual(c.post("/api/target", {"target": "imap", "target-host": "127.0.0.1", "target-imap-port": port, "target-tls": "none"}), {"go": "/summary"})
        c.post("/api/plan", {})
        end = time.monotonic() + 60
        while ">running<" not in c.get("/accounts"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        seen = self.person(w.another_link(), ["at", "/progress"], ["text", ".pager", "20,000"], ["paint", "progress", "/progress"],
                           ["filter", "filter", "user0123", "of 10"], ["look", "6-progress-many"], shots=True)["values"]
        fragment = statistics.median(c.milliseconds("/accounts?q=user0123") for _ in range(15))
        print({**seen, "/accounts": fragment, "/progress": c.milliseconds("/progress")})
        self.assertLess(seen["progress"], 1000 * SLACK)
        self.assertLess(seen["filter"], 200 * SLACK)
        self.assertLess(fragment, 50 * SLACK)
        share = self.cost_of_watching(w)
        print(f"watching costs {share:.2%} of a core")
        self.assertLess(share, 0.02 * SLACK)
        w.kill()
        self.plan_of_all()
        w = self.wizard()
        c = Client(w)
        seen = self.person(w.another_link(), ["open", "/summary"], ["text", ".pager", "20,000"], ["paint", "summary", "/summary"],
                           ["filter", "filter", "user0123", "of 10"], ["look", "5-summary-many"], shots=True)["values"]
        print({**seen, "/summary": c.milliseconds("/summary")})
        self.assertLess(seen["summary"], 1000 * SLACK)
        self.assertLess(seen["filter"], 200 * SLACK)

    def cost_of_watching(self, w, seconds=5):
        """Of a core, while one page is open: the servers say nothing, so that all the rest stands still."""
        def spent():
            fields = Path(f"/proc/{w.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        def over():
            before, began = spent(), time.monotonic()
            time.sleep(seconds)
            return (spent() - before) / (time.monotonic() - began)

        alone = over()
        c = Client(types.SimpleNamespace(port=w.port, url=w.another_link()))
        c.connection.request("GET", "/events", headers=c.cookie)
        stream = c.connection.getresponse()
        drain = threading.Thread(target=lambda: [None for _ in iter(lambda: stream.read1(65536), b"")], daemon=True)
        drain.start()
        return over() - alone

    def plan_of_all(self):
        """As "plan" writes it, of accounts with three mailboxes each."""
        box = lambda name: {"from": name, "to": name, "exists": False, "create": True, "subscribe": True, "messages_to_move": 100,
                            "octets_to_move": 1000000, "source": {"uidvalidity": 1, "uidnext": 101, "messages": 100}}
        accounts = [{"account": a, "post_office": a.split("@")[1], "decision": "move", "target_login": a,
                     "mailboxes": [box(n) for n in ("INBOX", "Sent", "Archive")]} for a in self.addresses]
        plan = {"totals": {"accounts_to_move": ACCOUNTS, "accounts_to_skip": 0, "messages_to_move": 300 * ACCOUNTS, "octets_to_move": 3000000 * ACCOUNTS},
                "policies": "", "accounts": accounts, "remarks": []}
        with contextlib.closing(sqlite3.connect(self.state / "state.db")) as db:
            db.execute("INSERT INTO plan(created, fingerprint, content) VALUES(0, 'x', ?)", [json.dumps(plan)])
            db.commit()


if __name__ == "__main__":
    test_wizard.main()
