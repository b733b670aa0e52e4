"""Who can ask the wizard anything: S27-S33, with raw sockets."""
import json, os, re, shutil, socket, subprocess, sys, tempfile, threading, time, unittest
from pathlib import Path
import support
from support import PROGRAM, ROOT
from wizard import Wizard

# The router itself says what there is.
ROUTES = re.findall(r'\{"(GET|POST)", "(/[^"]*)", &Wizard::', (ROOT / "pipeline/wizard/wizard.cpp").read_text())
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY", "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin"}


class Answer:
    def __init__(self, octets):
        head, _, self.body = octets.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0].startswith("HTTP/1.1 ") else 0
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value


class Security(unittest.TestCase):
    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="4d2kms-e2e-"))
        self.home = self.dir / "home"
        self.home.mkdir()
        self.wizard = Wizard(PROGRAM, self.dir / "state", "--files", self.home)
        self.port = self.wizard.port
        self.cookie = self.page_token = None

    def tearDown(self):
        if self.wizard.process.poll() is None:
            self.wizard.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    # ---- a client that sends exactly what it is told ----

    def raw(self, octets, family=socket.AF_INET, timeout=30):
        """What comes back until the server closes or `timeout` is over."""
        with socket.socket(family) as s:
            s.settimeout(timeout)
            s.connect(("127.0.0.1" if family == socket.AF_INET else "::1", self.port))
            s.sendall(octets)
            out = b""
            while True:
                try:
                    piece = s.recv(65536)
                except ConnectionResetError:
                    break
                if not piece:
                    break
                out += piece
                head, _, body = out.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                if length and len(body) >= int(length[1]):
                    break
            return Answer(out)

    def ask(self, method, path, headers=None, body=None, without=(), family=socket.AF_INET):
        """A good request of the session, with `headers` instead and `without` some."""
        all = {"Host": f"127.0.0.1:{self.port}"}
        if self.cookie:
            all["Cookie"] = self.cookie
        if method == "POST":
            all |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json", "X-Page-Token": self.page_token or ""}
            body = json.dumps({} if body is None else body).encode() if not isinstance(body, bytes) else body
            all["Content-Length"] = str(len(body))
        all |= headers or {}
        for name in without:
            all.pop(name, None)
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in all.items()) + "\r\n"
        return self.raw(head.encode("latin-1") + (body or b""), family)

    def launch(self, url=None):
        path = (url or self.wizard.url).split(str(self.port), 1)[1]
        return self.ask("GET", path)

    def log_in(self):
        a = self.launch()
        self.assertEqual((a.status, a.headers["location"]), (303, "/"))
        self.cookie = a.headers["set-cookie"].split(";")[0]
        page = self.ask("GET", "/introduction")
        self.page_token = re.search(rb"name=page-token content=\"([0-9a-f]{64})\"", page.body)[1].decode()
        return a

    def good(self):
        a = self.ask("GET", "/introduction")
        self.assertEqual(a.status, 200)

    def test_the_command_line_works_beside_it(self):
        def call(*words):
            r = subprocess.run([PROGRAM, *words, "--state", str(self.dir / "state")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
            return r.returncode, r.stdout, r.stderr
        self.assertEqual(json.loads(call("status", "--json")[1])["stage"], "idle")
        self.assertIn("idle", call("status")[1])
        self.assertIn("nothing is running", call("tune", "--jobs", "2")[2])
        code, _, said = call("run", "--roster", "/nowhere", "--target", "imap")
        self.assertEqual(code, 11, said)
        self.assertEqual(call("stop")[0], 0)
        self.assertEqual(self.wizard.ended(), 0)
        self.assertFalse((self.dir / "state" / "control").exists())

    # ---- S27 ----

    def test_only_its_own_names_are_answered(self):
        self.log_in()
        p = self.port
        for host in (f"127.0.0.1:{p}", f"localhost:{p}", f"[::1]:{p}"):
            self.assertEqual(self.ask("GET", "/introduction", {"Host": host}).status, 200, host)
        for host in ("evil.example", f"evil.example:{p}", f"127.0.0.1.evil.example:{p}", f"localhost.:{p}", f"127.0.0.1.:{p}", "127.0.0.1",
                     f"127.0.0.1:{p + 1}", f"127.1:{p}", f"2130706433:{p}", "", f"127.0.0.1:{p}@evil.example", f"0.0.0.0:{p}"):
            for method, path in (("GET", "/introduction"), ("POST", "/api/abort"), ("GET", "/launch?token=x"), ("GET", "/nowhere")):
                self.assertEqual(self.ask(method, path, {"Host": host}).status, 403, (host, path))
        self.assertEqual(self.ask("GET", "/", without=["Host"]).status, 403)
        self.assertEqual(self.raw(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nHost: evil\r\nCookie: {self.cookie}\r\n\r\n".encode()).status, 403)
        self.assertEqual(self.raw(f"GET http://127.0.0.1:{p}/introduction HTTP/1.1\r\nHost: 127.0.0.1:{p}\r\nCookie: {self.cookie}\r\n\r\n".encode()).status, 400)
        self.assertEqual(self.raw(f"GET /introduction HTTP/1.0\r\nHost: 127.0.0.1:{p}\r\nCookie: {self.cookie}\r\n\r\n".encode()).status, 505)

    def test_it_listens_on_loopback_only(self):
        want = "%04X" % self.port
        found = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                address, port = line.split()[1].split(":")
                if port == want and line.split()[3] == "0A":
                    found.append(address)
        self.assertIn("0100007F", found)
        self.assertEqual(set(found) - {"0100007F", "00000000000000000000000001000000"}, set())
        self.log_in()
        if len(found) == 2:
            self.assertEqual(self.ask("GET", "/introduction", {"Host": f"[::1]:{self.port}"}, family=socket.AF_INET6).status, 200)

    # ---- S28 ----

    def test_every_route_is_closed_to_whoever_has_no_session(self):
        self.assertGreater(len(ROUTES), 20)
        for method, path in ROUTES:
            path = path.replace("*", "wizard.js")
            self.assertEqual(self.ask(method, path).status, 403, path)
            self.assertEqual(self.ask(method, path, {"Cookie": f"4d2kms-{self.port}={'0' * 64}"}).status, 403, path)

    def test_what_changes_something_must_come_from_our_own_page(self):
        self.log_in()
        for method, path in ROUTES:
            if method == "GET":
                # None of them is also had by POST, and nothing that changes something by GET.
                self.assertIn(self.ask("POST", path.replace("*", "wizard.js")).status, (405, 404), path)
                continue
            self.assertEqual(self.ask("GET", path).status, 405, path)
            for wrong in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{self.port + 1}"},
                          {"Origin": f"http://localhost:{self.port}"}, {"X-Page-Token": "0" * 64}, {"X-Page-Token": ""},
                          {"X-Page-Token": self.cookie.split("=")[1]}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
                self.assertEqual(self.ask("POST", path, wrong).status, 403, (path, wrong))
            for missing in ("Origin", "X-Page-Token", "Cookie"):
                self.assertEqual(self.ask("POST", path, without=[missing]).status, 403, (path, missing))
            # What a form or a no-cors fetch of another page can send.
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-8", ""):
                self.assertEqual(self.ask("POST", path, {"Content-Type": kind}).status, 415, (path, kind))
            self.assertEqual(self.ask("POST", path, body=b"[]").status, 400, path)
            self.assertEqual(self.ask("POST", path, body=b"{").status, 400, path)
        for site in ("cross-site", "same-site"):
            self.assertEqual(self.ask("GET", "/introduction", {"Sec-Fetch-Site": site}).status, 403)
        for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"):
            a = self.ask(method, "/introduction")
            self.assertEqual(a.status, 405, method)
            self.assertFalse([h for h in a.headers if h.startswith("access-control")])
        self.good()

    # ---- S29, S31 ----

    def test_the_link_is_good_once(self):
        a = self.log_in()
        cookie = a.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(part, cookie)
        self.assertNotIn(self.wizard.url.split("=")[1], cookie)
        again = self.launch()
        self.assertEqual(again.status, 403)
        self.assertNotIn("set-cookie", again.headers)
        link = self.wizard.another_link()
        newest = self.wizard.another_link()
        self.assertEqual(self.launch(link).status, 403, "only the last one is good")
        self.assertEqual(self.launch(newest).status, 303)
        log = (self.dir / "state" / "4d2kms.log").read_text()
        for secret in (self.wizard.url.split("=")[1], newest.split("=")[1], self.cookie.split("=")[1], self.page_token):
            self.assertNotIn(secret, log)

    def test_the_link_is_good_for_a_minute(self):
        time.sleep(61)
        self.assertEqual(self.launch().status, 403)
        self.wizard.url = self.wizard.another_link()
        self.log_in()

    def test_guessing_ends_the_link(self):
        self.log_in()
        link = self.wizard.another_link()
        for n in range(10):
            self.assertEqual(self.ask("GET", f"/launch?token={n:064x}").status, 403)
        self.assertEqual(self.launch(link).status, 403, "nobody may go on guessing")
        self.good()
        self.assertEqual(self.launch(self.wizard.another_link()).status, 303, "the owner gets another one")
        self.assertEqual(self.ask("GET", "/launch").status, 403)

    @unittest.skipUnless(os.getuid() == 0 and os.path.exists("/usr/bin/python3"), "needs root, to become somebody else")
    def test_another_user_of_this_machine_gets_nothing(self):
        self.log_in()
        link = self.wizard.another_link()
        self.dir.chmod(0o755)
        does = """
import os, sys, urllib.error, urllib.request
for path in ("/", "/progress", "/summary", "/events", "/launch", "/launch?token=" + 64 * "0"):
    try:
        print("got", path, urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + path).status)
    except urllib.error.HTTPError as e:
        print(e.code)
for what in (sys.argv[2], "/proc/" + sys.argv[3] + "/environ", "/proc/" + sys.argv[3] + "/mem"):
    try:
        os.listdir(what) if os.path.isdir(what) else open(what).read(1)
        print("read", what)
    except PermissionError:
        print("closed")
print(open("/proc/" + sys.argv[3] + "/cmdline").read())
"""
        said = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", does, str(self.port), str(self.dir / "state"),
                               str(self.wizard.process.pid)], stdout=subprocess.PIPE, text=True, cwd="/", check=True).stdout
        self.assertEqual(said.split()[:9], ["403"] * 6 + ["closed"] * 3, said)
        self.assertNotIn(link.split("=")[1], said)

    def test_tokens_are_long_and_differ(self):
        self.log_in()
        seen = {self.wizard.url.split("=")[1], self.cookie.split("=")[1], self.page_token}
        self.assertEqual(len(seen), 3)
        self.assertTrue(all(re.fullmatch("[0-9a-f]{64}", t) for t in seen))
        self.assertIn("CRYPTO_memcmp", (ROOT / "pipeline/wizard/gate.cpp").read_text())

    def test_a_browser_inherits_nothing(self):
        """What is started with the link outlives the wizard: its port and socket must not."""
        home, bin = self.dir / "nobody", self.dir / "bin"
        for d in (home, bin):
            d.mkdir()
        (bin / "xdg-open").write_text('#!/bin/sh\n{ ls -l /proc/$$/fd; grep SigIgn /proc/$$/status; } >"$HOME/new" && mv "$HOME/new" "$HOME/fds"\n')
        (bin / "xdg-open").chmod(0o755)
        who = {}
        if os.geteuid() == 0:  # a browser is not started as root
            who = {"user": 65534, "group": 65534, "extra_groups": []}
            self.dir.chmod(0o755)
            os.chown(home, 65534, 65534)
        p = subprocess.Popen([PROGRAM, "wizard", "--state", home / "state"], env=os.environ | {"HOME": str(home), "PATH": f"{bin}:{os.environ['PATH']}"},
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)
        try:
            until = time.monotonic() + 20
            while not (home / "fds").exists() and time.monotonic() < until:
                time.sleep(0.05)
            has = (home / "fds").read_text()
        finally:
            p.terminate()
            p.wait(20)
        self.assertIn("/dev/null", has)
        self.assertNotIn("socket:", has)
        self.assertNotIn("4d2kms.log", has)
        ignored = int(re.search(r"SigIgn:\s*([0-9a-f]+)", has)[1], 16)
        self.assertEqual([s for s in (10, 13, 17) if ignored >> (s - 1) & 1], [])

    # ---- S30 ----

    def test_every_answer_keeps_other_sites_out(self):
        def check(a, what):
            for name, value in HEADERS.items():
                self.assertEqual(a.headers.get(name), value, (what, name))
            self.assertFalse([h for h in a.headers if h.startswith("access-control")], what)

        check(self.ask("GET", "/introduction"), "no session")
        check(self.log_in(), "launch")
        reports = self.dir / "state" / "reports"
        reports.mkdir()
        (reports / "run-1.html").write_text("<script>alert(1)</script>")
        for method, path in ROUTES:
            if path not in ("/events", "/api/quit"):
                check(self.ask(method, path.replace("/reports/*", "/reports/run-1.html").replace("/assets/*", "/assets/wizard.js")), path)
        for what in (b"rubbish\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n", b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n",
                     b"GET / HTTP/1.1\r\nX: " + b"x" * 20000):
            check(self.raw(what), what[:40])
        check(self.ask("GET", "/nowhere"), "404")
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n\r\n".encode())
            check(Answer(s.recv(65536)), "events")
        for page in [p for m, p in ROUTES if m == "GET" and "*" not in p and p != "/events"]:
            body = self.ask("GET", page).body.decode()
            self.assertFalse(re.search(r"<script(?! src=\"/assets/)|<style|\sstyle=|\son[a-z]+=|javascript:", body), page)
            self.assertFalse([u for u in re.findall(r"(?:src|href)=\"([^\"]*)", body) if not u.startswith(("/", "#"))], page)

    def test_what_comes_from_outside_is_text(self):
        self.log_in()
        nasty = '<script>alert(1)</script>"\'&\x1b[31m'
        roster = f'address;password;full_name\n"jane@{"north.example"}";x;"{nasty.replace(chr(34), chr(34) * 2)}"\n'
        a = self.ask("POST", "/api/configuration", body={"roster_upload": {"name": nasty, "content": roster}})
        self.assertEqual(a.status, 200, a.body)
        page = self.ask("GET", "/configuration").body
        self.assertNotIn(b"<script>alert", page)
        self.assertNotIn(b"\x1b", page)
        self.assertIn(b"&lt;script&gt;alert(1)", page)

    # ---- S32 ----

    def test_what_is_not_plain_http_is_refused(self):
        self.log_in()
        host = f"Host: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n"
        post = f"POST /api/abort HTTP/1.1\r\n{host}Origin: http://127.0.0.1:{self.port}\r\nContent-Type: application/json\r\nX-Page-Token: {self.page_token}\r\n"
        good = (post + "Content-Length: 2\r\n\r\n{}").encode()
        self.assertEqual(self.raw(good).status, 200)
        for octets, status in (
                ((post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").encode(), 400),
                ((post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").encode(), 400),
                ((post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ").encode(), 400),
                ((post + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}").encode(), 400),
                ((post + "Content-Length: +2\r\n\r\n{}").encode(), 400),
                ((post + "Content-Length: -2\r\n\r\n{}").encode(), 400),
                ((post + "Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}").encode(), 417),
                (good.replace(b"\r\n", b"\n"), 400),
                (good.replace(b"Origin", b"X: y\nOrigin"), 400),
                (good.replace(b"Origin", b"Bad Name: y\r\nOrigin"), 400),
                (good.replace(b"Origin:", b"Origin :"), 400),
                (f"GET /introduction HTTP/1.1\r\n{host}Content-Length: 2\r\n\r\n{{}}".encode(), 400),
                (f"GET /introduction HTTP/1.1\r\n{host}X: {'x' * 17000}\r\n\r\n".encode(), 431),
                ((post + "Content-Length: 1048577\r\n\r\n").encode() + b" " * 1000, 413),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400)):
            self.assertEqual(self.raw(octets).status, status, octets[-80:])
        largest = (post + "Content-Length: 1048576\r\n\r\n").encode() + b"{}" + b" " * (1048576 - 2)
        self.assertEqual(self.raw(largest).status, 200)
        # Two requests at once are two answers, in order.
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            s.sendall(f"GET /assets/icon.svg HTTP/1.1\r\n{host}\r\nGET /nowhere HTTP/1.1\r\n{host}\r\n".encode())
            time.sleep(0.5)
            out = s.recv(1 << 20)
        self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+)", out), [b"200", b"404"])
        self.good()

    def test_slow_and_many_clients_hold_nobody_up(self):
        self.log_in()
        began = time.monotonic()
        idle = []
        for n in range(60):
            s = socket.create_connection(("127.0.0.1", self.port), 10)
            s.sendall(b"GET / HTTP/1.1\r\nHost: ")
            idle.append(s)
        open_ones = len(list(Path(f"/proc/{self.wizard.process.pid}/fd").iterdir()))
        self.assertLess(open_ones, 32 + 30)
        self.good()
        self.assertLess(time.monotonic() - began, 5)
        # Octets now and then do not make the ten seconds longer.
        slow = socket.create_connection(("127.0.0.1", self.port), 30)
        began = time.monotonic()
        ended = None
        slow.settimeout(1)
        out = b""
        slow.sendall(b"GET / HTTP/1.1\r\n")
        while ended is None and time.monotonic() - began < 25:
            try:
                slow.sendall(b"X")
                piece = slow.recv(4096)
                out += piece
                if not piece:
                    ended = time.monotonic() - began
            except socket.timeout:
                pass
            except OSError:
                ended = time.monotonic() - began
        self.assertIsNotNone(ended)
        self.assertLess(ended, 13)
        self.assertGreater(ended, 8)
        self.assertEqual(out, b"")
        for s in idle:
            s.close()
        slow.close()
        self.good()

    # ---- S33 ----

    def test_the_chooser_stays_below_its_folder_and_shows_names_only(self):
        self.log_in()
        (self.home / "a").mkdir()
        (self.home / "a" / "secret.csv").write_text("TOP-SECRET-CONTENT\n")
        outside = self.dir / "outside"
        outside.mkdir()
        (outside / "hidden-name").write_text("x")
        (self.home / "link").symlink_to(outside)
        listed = self.ask("GET", "/folder?path=")
        self.assertIn(b"a/", listed.body)
        inside = self.ask("GET", f"/folder?path={self.home}/a").body
        self.assertIn(b"secret.csv", inside)
        self.assertNotIn(b"TOP-SECRET", inside)
        same = None
        for path in (f"{self.home}/link", f"{self.home}/..", f"{self.home}/../outside", str(outside), "/etc", "/proc/self/fd", f"{self.home}-not",
                     "/root", f"{self.home}/%00", "/nowhere-at-all"):
            a = self.ask("GET", f"/folder?path={path}")
            self.assertNotIn(b"hidden-name", a.body, path)
            self.assertIn(b"notice bad", a.body, path)
            same = same or a.body
            self.assertEqual(a.body, same, "it does not tell what there is outside")
        # Nor by what a form takes.
        for name in ("source-path", "roster", "domains"):
            for path in ("/etc/passwd", f"{self.home}/link/hidden-name", "/proc/self/environ"):
                a = json.loads(self.ask("POST", "/api/configuration", body={name: path}).body)
                self.assertIn("There is no such file", a["html"])
        a = self.ask("POST", "/api/configuration", body={"roster": f"{self.home}/a/secret.csv"})
        self.assertNotIn(b"TOP-SECRET", a.body + self.ask("GET", "/configuration").body)

    def test_only_reports_are_given_away(self):
        self.log_in()
        reports = self.dir / "state" / "reports"
        reports.mkdir()
        (reports / "run-1.txt").write_text("the report")
        (reports / "link").symlink_to("/etc/passwd")
        a = self.ask("GET", "/reports/run-1.txt")
        self.assertEqual((a.status, a.body), (200, b"the report"))
        self.assertEqual(a.headers["content-disposition"], "attachment")
        for name in ("link", "../wizard.json", "..%2fwizard.json", "%2e%2e/state.db", "", ".", "..", "run-1.txt%00", "/etc/passwd", "run-1.txt/"):
            self.assertEqual(self.ask("GET", f"/reports/{name}").status, 404, name)

    def test_it_is_no_port_scanner(self):
        self.log_in()
        (self.home / "roster.csv").write_text("address;password\njane@north.example;x\n")
        self.ask("POST", "/api/configuration", body={"roster": f"{self.home}/roster.csv"})
        answers = [self.ask("POST", "/api/source", body={"source-host": "127.0.0.1", "source-port": "1", "source-tls": "none"}).body for _ in range(25)]
        self.assertIn(b"Could not connect", answers[0])
        self.assertEqual(sum(b"Could not connect" in a for a in answers), 20)
        self.assertIn(b"Wait a minute", answers[-1])

    def test_a_form_that_is_wrong_changes_nothing(self):
        self.log_in()
        roster = "address;password\njane@north.example;x\n"
        upload = {"roster_upload": {"name": "first.csv", "content": roster}}
        self.assertIn(b"/source", self.ask("POST", "/api/configuration", body=upload).body)
        upload["roster_upload"]["name"] = "second.csv"
        self.assertIn(b"notice bad", self.ask("POST", "/api/configuration", body=upload | {"mapping": "{"}).body)
        page = self.ask("GET", "/configuration").body
        self.assertIn(b"first.csv", page)
        self.assertNotIn(b"second.csv", page)

    def test_the_password_goes_to_the_server_it_was_given_for_only(self):
        self.log_in()
        to = {"target": "kerio", "target-host": "127.0.0.1", "target-api-port": "1", "target-user": "admin"}
        self.assertIn(b"Could not connect", self.ask("POST", "/api/target", body=to | {"password": "x"}).body)
        self.assertIn(b"Could not connect", self.ask("POST", "/api/target", body=to).body, "there it is known")
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            other.settimeout(1)
            there = to | {"target-api-port": str(other.getsockname()[1])}
            self.assertIn(b"password are needed", self.ask("POST", "/api/target", body=there).body)
            with self.assertRaises(socket.timeout):
                other.accept()

    def test_a_master_password_that_is_not_known_any_more_is_not_counted_on(self):
        file = self.dir / "master"
        file.write_text("master\n")
        file.chmod(0o600)
        kept = self.dir / "state" / "wizard.json"
        for options, known in ((("--target-master-pass-file", file), True), ((), False)):
            self.wizard.stop()
            self.wizard = Wizard(PROGRAM, self.dir / "state", "--files", self.home, *options)
            self.port, self.cookie = self.wizard.port, None
            self.log_in()
            self.assertIn(b"/summary", self.ask("POST", "/api/policies").body)
            self.assertEqual("target-master-pass-file" in kept.read_text(), known)

    def test_no_secret_comes_back_or_is_kept(self):
        self.log_in()
        canary = "canary-Pass-4711"
        roster = f"address;password\njane@north.example;{canary}\n"
        self.ask("POST", "/api/configuration", body={"roster_upload": {"name": "r.csv", "content": roster}})
        answer = self.ask("POST", "/api/target", body={"target": "kerio", "target-host": "127.0.0.1", "target-api-port": "1", "target-user": "admin", "password": canary})
        self.assertNotIn(canary.encode(), answer.body)
        for page in [p for m, p in ROUTES if m == "GET" and "*" not in p and p != "/events"]:
            self.assertNotIn(canary.encode(), self.ask("GET", page).body, page)
        for path in (self.dir / "state").rglob("*"):
            if path.is_file():
                self.assertNotIn(canary.encode(), path.read_bytes(), path)
                self.assertEqual(path.stat().st_mode & 0o077, 0, path)
        pid = self.wizard.process.pid
        for name in ("cmdline", "environ"):
            self.assertNotIn(canary.encode(), Path(f"/proc/{pid}/{name}").read_bytes())
        self.assertNotIn(canary, "".join(self.wizard.said))
        # And asked for again by the next process.
        self.wizard.kill()
        self.wizard = Wizard(PROGRAM, self.dir / "state", "--files", self.home)
        self.port = self.wizard.port
        self.cookie = None
        self.log_in()
        self.assertIn(b"kept in memory only", self.ask("GET", "/configuration").body)


if __name__ == "__main__":
    support.main()
