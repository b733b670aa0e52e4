"""The wizard's words: every key has a text in every language, with the same places to fill in; every key that the pages use is there,
and none is there for nothing. `wizard_texts.py ROOT`"""
import re, sys
from pathlib import Path

folder = Path(sys.argv[1]) / "pipeline" / "wizard"
lines = [l for l in (folder / "assets" / "texts.tsv").read_text(encoding="utf-8").splitlines() if l and not l.startswith("#")]
wrong, table = [], {}
for line in lines:
    key, *texts = line.split("\t")
    if key in table:
        wrong.append(f"{key} is there twice")
    table[key] = texts
    if len(texts) != 3 or not all(t.strip() for t in texts):
        wrong.append(f"{key} lacks a language")
    elif len({tuple(sorted(re.findall(r"\{\d\}", t))) for t in texts}) > 1:
        wrong.append(f"{key}: the languages fill in different things")
source = "".join((folder / name).read_text(encoding="utf-8") for name in ("pages.cpp", "wizard.cpp", "server.cpp"))
quoted = set(re.findall(r'">?([a-z_]+(?:\.[a-z_0-9]+)*)"', source))
# Keys that are put together: w("stage." + stage), fmt::format("books.{}", ...), and hints of fields.
prefixes = tuple(re.findall(r'"([a-z]+\.)(?:"|\{\})', source))
used = {k for k in table if k in quoted or k.startswith(prefixes) or (k.endswith(".hint") and k[:-5] in quoted)}
wrong += [f"{k} is used nowhere" for k in table if k not in used]
calls = set(re.findall(r'\b(?:w|text_of|refused|button|submit)\((?:w, |r, |language, |r\.language, |request->language, )?"([a-z_.0-9]+)"', source))
calls |= set(re.findall(r'\{"[a-z]+", "((?:policy|verify|tls)\.[a-z_.]+)"\}', source))
wrong += [f"{k} is used and not there" for k in sorted(calls) if k not in table and not k.endswith(".")]
# What the program's own words are put behind.
stages = [n for f in folder.parent.glob("*.cpp") for n in re.findall(r'progress_\.begin\("(\w+)"', f.read_text(encoding="utf-8"))]
for prefix, names in {"stage.": ("starting", *stages),
                      "state.": ("waiting", "running", "done", "failed", "skipped"),
                      "decision.": ("create", "adopt", "skip", "fail", "move"),
                      "verdict.": ("0", "1", "3", "4", "12", "130")}.items():
    wrong += [f"{prefix}{n} is not there" for n in names if prefix + n not in table]
print("\n".join(wrong))
sys.exit(bool(wrong))
