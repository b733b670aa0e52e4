"""The Kerio double for end-to-end tests: start it, talk to its API, control it; and a Dovecot to stand behind it.

    with Double("--domain", "north.example") as d:
        api = d.api()
        api.login()
        api.call("Domains.get", {"query": {}})
        d.control("fault api Users.create 1 lost")
"""
import http.client, json, os, queue, ssl, subprocess, sys, threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SANDBOX = ROOT / "fixtures" / "sandbox.sh"
TIMEOUT = 60  # of everything that waits


def binary(program=None):
    """The double's program: KERIO_DOUBLE, or beside the program under test."""
    if os.environ.get("KERIO_DOUBLE"):
        return os.environ["KERIO_DOUBLE"]
    program = program or (sys.argv[1] if len(sys.argv) > 1 else "")
    return str(Path(program).resolve().parent / "kerio-double")


class ApiError(Exception):
    def __init__(self, error):
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code, self.message, self.error = error.get("code"), error.get("message"), error


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Api:
    """One session of the Administration API, over one connection as long as the server keeps it."""

    PATH = "/admin/api/jsonrpc/"

    def __init__(self, port):
        self.port, self.token, self.cookie, self.id = port, None, None, 0
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def http(self, verb="POST", path=PATH, body=None, headers=None, chunked=False):
        if not self.connection:
            context = ssl._create_unverified_context()
            self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=TIMEOUT, context=context)
        try:
            self.connection.request(verb, path, body, headers or {}, encode_chunked=chunked)
            return Answer(self.connection.getresponse())
        except Exception:
            self.close()
            raise

    def headers(self):
        out = {"Content-Type": "application/json-rpc; charset=UTF-8", "Accept": "application/json-rpc"}
        if self.cookie:
            out["Cookie"] = self.cookie
        if self.token:
            out["X-Token"] = self.token
        return out

    def raw(self, method, params=None):
        """The Answer, whatever it is."""
        self.id += 1
        sent = {"jsonrpc": "2.0", "id": self.id, "method": method}
        if params is not None:
            sent["params"] = params
        if self.token:
            sent["token"] = self.token
        return self.http(body=json.dumps(sent), headers=self.headers())

    def call(self, method, params=None):
        answer = self.raw(method, params)
        if answer.status != 200:
            raise ApiError({"code": f"HTTP {answer.status}", "message": answer.body.decode(errors="replace")})
        got = answer.json()
        assert got["id"] == self.id, got
        if "error" in got:
            raise ApiError(got["error"])
        return got["result"]

    def login(self, user="admin", password="admin-secret", application=None):
        self.token = self.cookie = None
        application = application or {"name": "test", "vendor": "test", "version": "1"}
        answer = self.raw("Session.login", {"userName": user, "password": password, "application": application})
        got = answer.json()
        if "error" in got:
            raise ApiError(got["error"])
        self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        self.token = got["result"]["token"]
        return self


class Double:
    def __init__(self, *options, program=None):
        self.process = subprocess.Popen([binary(program), *map(str, options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.apis = []
        threading.Thread(target=self._read, daemon=True).start()
        self.ready = self._answer()
        self.api_port, self.imap_port, self.imaps_port = (self.ready[k] for k in ("api_port", "imap_port", "imaps_port"))
        self.fingerprint = self.ready["fingerprint"]

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def _answer(self):
        try:
            line = self.lines.get(timeout=TIMEOUT)
        except queue.Empty:
            line = ""
        if not line:
            self.stop()
            raise RuntimeError("the double has ended or does not answer")
        return json.loads(line)

    def control(self, line, check=True):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self._answer()
        if check and "error" in answer:
            raise RuntimeError(f"{line}: {answer['error']}")
        return answer

    def calls(self):
        return self.control("calls")["calls"]

    def commands(self):
        return self.control("commands")["commands"]

    def dump(self):
        return self.control("dump")

    def api(self):
        api = Api(self.api_port)
        self.apis.append(api)
        return api

    def stop(self):
        """Ends it; its exit code."""
        for api in self.apis:
            api.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        if self.process.stdout:
            self.process.stdout.close()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class KerioTarget:
    """A Dovecot "target" in `dir`, which must be empty of one, and the double before it."""

    MASTER, PASSWORD = "kerio", "master-secret"

    def __init__(self, dir, *options, program=None, env=None):
        self.dir = Path(dir)
        self.env = {**os.environ, **(env or {})}
        (self.dir / "target.users").touch()
        (self.dir / "target.masters").write_text(f"{self.MASTER}\t{self.PASSWORD}\n")
        self._sandbox("start")
        try:
            self.double = Double(
                "--dovecot-port", (self.dir / "target.port").read_text().strip(), "--dovecot-master", self.MASTER,
                "--dovecot-password", self.PASSWORD, "--passwd", self.dir / "target.passwd", "--mail-root", self.dir / "target-mail",
                *options, program=program)
        except Exception:
            self._sandbox("stop")
            raise

    def _sandbox(self, action):
        subprocess.run([str(SANDBOX), action, str(self.dir), "target"], check=True, stdout=subprocess.DEVNULL, env=self.env)

    def stop(self):
        code = self.double.stop()
        self._sandbox("stop")
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
