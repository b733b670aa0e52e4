#!/usr/bin/env python3
"""The ledger of a large server: is it fast, small and bounded enough? By hand, on a release build with its tests.

  ACCOUNTS=20000 MESSAGES=10000000 tests/ledger_scale.py [BUILD]        default: 500 accounts, 200,000 messages

NOTED=n: so many messages have a remark. With Chromium the page is measured, too: when it first shows something, and how
long its filter takes.

tests/bench/ledger_scale fills a state through the functions that a migration calls, makes the real plan twice (against a
model server in memory) and the report; then the program itself is asked for status and report. The plan's goal is for
20,000 accounts and counts as it is at fewer; the goals for octets and rates are for any size. Exit 1 if one is
missed. SCALE_DIR: where the state is made (default /var/tmp; syncs are part of the cost); KEEP=1 leaves it there.
"""
import http.server, json, os, re, shutil, subprocess, sys, tempfile, threading, time, urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release").resolve()
ACCOUNTS, MESSAGES = int(os.environ.get("ACCOUNTS", 500)), int(os.environ.get("MESSAGES", 200_000))
NOTED = int(os.environ.get("NOTED", 0))
CHROMIUM = shutil.which("chromium")
PROBE = """<script>addEventListener('load',function(){setTimeout(function(){
var paint=performance.getEntriesByType('paint')[0],input=document.getElementById('filter').querySelector('input'),took=[];
var texts=['user0','user00123','nobody at all',''];
function next(){if(!texts.length){new Image().src='/'+encodeURIComponent(JSON.stringify({paint:paint.startTime,filter:took}));return;}
input.value=texts.shift();var from=performance.now();input.dispatchEvent(new Event('input'));
requestAnimationFrame(function(){document.body.offsetHeight;requestAnimationFrame(function(){took.push(performance.now()-from);next();});});}
next();},500);});</script>"""


def in_a_browser(page, folder):
    """Milliseconds until the page first shows something, and those that its filter takes, the slowest of four."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(), count=1).replace("</body>", PROBE + "</body>").encode()
    found = []

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/%7B"):
                found.append(json.loads(urllib.parse.unquote(self.path[1:])))
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if self.path == "/":
                self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = subprocess.Popen([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}/browser",
                                "--window-size=1280,900", f"http://127.0.0.1:{server.server_port}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if found:
            break
        time.sleep(0.1)
    browser.terminate()
    browser.wait()
    server.shutdown()
    return found[0]["paint"], max(found[0]["filter"])


def timed(folder, *argv):
    """(seconds, CPU seconds, peak MiB, exit code, octets of output) of a command."""
    with open(folder / "output", "wb") as out:
        subprocess.run([BUILD / "tests/bench/timed", folder / "timed", *argv], stdout=out, stderr=subprocess.STDOUT)
    wall, user, system, peak, code = (folder / "timed").read_text().split()
    return float(wall), float(user) + float(system), int(peak) / 1024, int(code), (folder / "output").stat().st_size


def main():
    folder = Path(tempfile.mkdtemp(prefix="4d2kms-scale-", dir=os.environ.get("SCALE_DIR", "/var/tmp")))
    missed = []

    def goal(what, value, limit, least=False):
        met = value >= limit if least else value <= limit
        print(f"  {'met   ' if met else 'MISSED'} {what}: {value:,.1f} (goal: {'at least' if least else 'at most'} {limit:,})")
        if not met:
            missed.append(what)

    try:
        phases = {}
        p = subprocess.Popen([BUILD / "tests/bench/ledger_scale", folder / "scale", str(ACCOUNTS), str(MESSAGES), str(NOTED)], stdout=subprocess.PIPE, text=True)
        for line in p.stdout:
            o = json.loads(line)
            phases[o.pop("phase")] = o
            name = list(phases)[-1]
            if "seconds" in o:
                more = {k: v for k, v in o.items() if k not in ("seconds", "items", "a_second", "memory_before_mib", "memory_peak_mib")}
                print(f"{name:30} {o['seconds']:9.2f} s  {o['a_second']:12,.0f} a second  {o['memory_peak_mib']:7.0f} MiB  {json.dumps(more) if more else ''}", flush=True)
        if p.wait():
            sys.exit("ledger_scale.py: the ledger could not be filled")
        print("octets a message: " + ", ".join(f"{t} {n:.1f}" for t, n in phases["octets a message"]["tables"].items() if n >= 0.05))
        state = folder / "scale/state"
        for command in ("status", "report"):
            wall, cpu, peak, code, size = timed(folder, BUILD / "4d2kms", command, "--state", state)
            phases[command + " (program)"] = {"seconds": wall, "peak_mib": peak}
            print(f"4d2kms {command:23} {wall:9.2f} s  {cpu:7.2f} s CPU  {peak:7.0f} MiB  {size:,} octets")
            if code:
                missed.append(f"4d2kms {command}: exit {code}")
        goal("inventory rows a second, a large mailbox", phases["inventory, one mailbox"]["a_second"], 200_000, least=True)
        for name in ("plan, nothing moved", "plan, all moved"):
            goal(name + ", seconds", phases[name]["seconds"], 10)
        goal("report in every format, seconds", sum(o["seconds"] for name, o in phases.items() if re.match(r"report($| as )", name)), 10)
        if CHROMIUM:
            paint, filtered = in_a_browser(next((state / "reports").glob("run-*.html")), folder)
            goal("page shows something after, ms", paint, 1000)
            goal("filter of the page, ms", filtered, 200)
        goal("octets a message, plan and report left out", phases["octets a message"]["message"], 140)
        most = max(o["memory_peak_mib"] for o in phases.values() if "memory_peak_mib" in o)
        goal("memory, MiB", most, 64 + ACCOUNTS / 20)   # by accounts, never by messages
        if os.environ.get("JSON"):
            Path(os.environ["JSON"]).write_text(json.dumps({"accounts": ACCOUNTS, "messages": MESSAGES, "phases": phases, "missed": missed}, indent=1) + "\n")
    finally:
        if os.environ.get("KEEP") != "1":
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
