"""A wizard process: what its security tests and its browser tests share."""
import re, subprocess, threading
from urllib.parse import urlsplit


class Wizard:
    """`4d2kms wizard` on a state. `url` is its launch link, good once."""

    def __init__(self, program, state, *options):
        self.program, self.state = str(program), state
        self.process = subprocess.Popen([self.program, "wizard", "--no-browser", "--state", str(state), *map(str, options)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.said = []
        self.url = self._link(self.process.stderr)
        self.port = urlsplit(self.url).port if self.url else None
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.reader.start()
        if not self.url:
            self.process.wait()
            raise RuntimeError("the wizard did not start: " + "".join(self.said))

    def _link(self, lines):
        for line in lines:
            self.said.append(line)
            if m := re.search(r"open (http://127\.0\.0\.1:\d+/launch\?token=[0-9a-f]{64})$", line.strip()):
                return m[1]

    def another_link(self):
        """As a second `4d2kms wizard` on the same state gives it."""
        r = subprocess.run([self.program, "wizard", "--no-browser", "--state", str(self.state)], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=30)
        assert r.returncode == 0, r.stderr
        return self._link(r.stderr.splitlines())

    def kill(self):
        self.process.kill()
        self.ended()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.ended()

    def ended(self, seconds=30):
        code = self.process.wait(seconds)
        self.reader.join(10)
        self.process.stderr.close()
        return code
