#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""tests/bench/figures.py: the statistics of scripts/figures, and what it makes of lines. The last line counts."""

import importlib.machinery
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
PROGRAM = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../scripts/figures")
loader = importlib.machinery.SourceFileLoader("figures", PROGRAM)
figures = importlib.util.module_from_spec(importlib.util.spec_from_loader("figures", loader))
loader.exec_module(figures)

passed = failed = 0


def check(what, got, want):
    global passed, failed
    if got == want:
        print("PASS", what)
        passed += 1
    else:
        print(f"FAIL {what}: {got!r} instead of {want!r}")
        failed += 1


def fails(what, error, f, *args):
    try:
        f(*args)
    except error:
        check(what, True, True)
    else:
        check(what, "no " + error.__name__, error.__name__)


def run(*rows, better=figures.HIGHER):
    """Figures of (name, subject, values)."""
    out = figures.Figures()
    for name, subject, values in rows:
        for number, value in enumerate(values):
            out.add(name, subject, number, value, "IO/s" if better == figures.HIGHER else "us", better)
    return out


def program(lines, *args):
    done = subprocess.run([sys.executable, PROGRAM, *args], input=lines, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout


check("median, odd, out of order", figures.median([9, 1, 5]), 5)
check("median, even", figures.median([4, 1, 2, 9]), 3)
check("median of one", figures.median([7]), 7)
fails("no median of nothing", ValueError, figures.median, [])
check("summary", figures.summary([1, 2, 4, 8, 100]), {"median": 4, "min": 1, "max": 100, "mad": 3, "n": 5})
check("the spread of equals", figures.summary([3, 3, 3])["mad"], 0)

check("ratio of rates, round by round", figures.ratios({1: 10, 2: 30}, {1: 20, 2: 20}, figures.HIGHER), [0.5, 1.5])
check("ratio of durations says how good", figures.ratios({1: 10}, {1: 20}, figures.LOWER), [2])
check("rounds that one of them lacks", figures.ratios({1: 10, 3: 9}, {1: 20, 2: 20}, figures.HIGHER), [0.5])
check("nothing is divided by 0", figures.ratios({1: 10}, {1: 0}, figures.HIGHER), [])
check("nor a duration of 0", figures.ratios({1: 0}, {1: 5}, figures.LOWER), [])

# A machine that gets slower and slower: the ratio is that of each round, not that of the medians.
slower = run(("a", "raw", [100, 50, 10]), ("a", "toyfs", [50, 25, 5]))
check("a machine that slows down", slower.of("a", "toyfs", "raw"), [0.5, 0.5, 0.5])
check("raw is not compared with itself", slower.of("a", "raw", "raw"), [])
check("nor with what is not there", slower.of("a", "toyfs", "xfs"), [])

check("chance, five rounds each", figures.by_chance(5, 5), 2 / 252)
check("chance, one round each", figures.by_chance(1, 1), 1)
five = [1.0, 1.1, 1.2, 1.3, 1.4]
check("apart", figures.differs(five, [v + 1 for v in five]), True)
check("apart, the other way", figures.differs([v + 1 for v in five], five), True)
check("overlapping", figures.differs(five, [v + 0.4 for v in five]), False)
check("apart, and too little to tell", figures.differs([100.0, 100.1, 100.2], [101.0, 101.1, 101.2]), False)
check("one round each says nothing", figures.differs([1], [2]), False)
check("two each neither", figures.differs([1, 1], [2, 2]), False)
check("three each do", figures.differs([1, 1, 1], [2, 2, 2]), True)
check("nothing does not differ", figures.differs([], five), False)

old = run(("a", "raw", [100, 110, 120]), ("a", "toyfs", [50, 55, 60]), ("b", "toyfs", [10, 11, 12]))
half = run(("a", "raw", [50, 55, 60]), ("a", "toyfs", [25, 27.5, 30]), ("b", "toyfs", [10, 11, 12]))
check("half as fast a machine makes no difference", figures.compare(old, half)[-1].split(";")[0],
      "0 of 2 figures differ by more than their rounds scatter")
worse = run(("a", "raw", [100, 110, 120]), ("a", "toyfs", [40, 43, 46]), ("b", "toyfs", [20, 21, 22]))
said = figures.compare(old, worse)
check("what got worse", [line.split()[-1] for line in said if line.startswith("a ")], ["WORSE"])
check("what got better", [line.split()[-1] for line in said if line.startswith("b ")], ["better"])
check("both are counted", said[-1], "2 of 2 figures differ by more than their rounds scatter; chance alone makes 0.2")
said = figures.compare(run(("a", "toyfs", [1, 2, 3]), better=figures.LOWER), run(("a", "toyfs", [7, 8, 9]), better=figures.LOWER))
check("longer is worse", said[-2].split()[-1], "WORSE")
beside = run(("a", "xfs", [100, 110, 120]), ("a", "toyfs", [50, 55, 60]))
faster = run(("a", "xfs", [200, 220, 240]), ("a", "toyfs", [100, 110, 120]))
check("without the device xfs is what is compared with", figures.compare(beside, faster)[-1].split()[:3], ["0", "of", "1"])

restless = figures.compare(run(("a", "raw", [100, 50, 10]), ("a", "toyfs", [60, 30, 6]), ("a", "xfs", [60, 30, 6])), slower)
check("a device that is not steady is no yardstick", restless[-1], "1 were not compared: the device was not steady")
check("a steady device", list(figures.unsteady(old)), [])
check("one that is not", list(figures.unsteady(slower)), ["a"])

lines = "".join(f"figure\ta/b\t{s}\t{r}\t{v}\tIO/s\thigher\n" for r in (1, 2, 3) for s, v in (("raw", 100 + 10 * r), ("toyfs", 50 + 5 * r)))
lines += "measured\ta/b\nskipped\ta/b\tgfs2\tno mkfs\nfailed\tc\ttoyfs\tbroken\nsomething else\nend\n"
read = figures.Figures()
read.read(io.StringIO(lines))
check("lines: figures", read.all["a/b", "toyfs"].rounds, {1: 55, 2: 60, 3: 65})
check("lines: what was measured, skipped, failed", (read.measured, read.skipped, read.failed),
      (["a/b"], [["a/b", "gfs2", "no mkfs"]], [["c", "toyfs", "broken"]]))
fails("one figure in two units", ValueError, read.add, "a/b", "toyfs", 4, 1, "us", figures.LOWER)
again = figures.Figures.from_json(json.loads(json.dumps(read.to_json({"commit": "x"}))))
check("there and back through JSON", again.all["a/b", "toyfs"].rounds, read.all["a/b", "toyfs"].rounds)
fails("JSON of something else", ValueError, figures.Figures.from_json, {"format": 2})

with tempfile.TemporaryDirectory() as at:
    status, out = program(lines, "--out", at, "--name", "there", "--meta", "commit=abc")
    check("the program", (status, out.splitlines()[-2:]), (1, ["report: there/report.json", "1 passed, 1 failed, 1 skipped"]))
    check("its table", [line.split() for line in out.splitlines() if line.startswith("a/b")][0], ["a/b", "raw", "120", "110..130", "IO/s"])
    check("its ratios", "0.50 (0.50..0.50)" in out, True)
    check("its skips, with reasons", "SKIP a/b gfs2 (no mkfs)" in out, True)
    check("its failures", "FAIL c toyfs (broken)" in out, True)
    with open(at + "/report.json", encoding="utf-8") as f:
        report = json.load(f)
    check("its JSON", (report["commit"], report["figures"][1]["of_raw"]["median"]), ("abc", 0.5))
    status, out = program(lines, "--compare", at + "/report.json")
    check("compared with itself", "0 of 1 figures differ" in out, True)
good = lines.replace("failed", "nothing")
check("all is well", (program(good)[0], program(good)[1].splitlines()[-1]), (0, "1 passed, 0 failed, 1 skipped"))
check("cut short", (program(good[:-4])[0], program(good[:-4])[1].splitlines()[-1]), (1, "1 passed, 1 failed, 1 skipped"))
check("nothing measured", (program("end\n")[0], program("end\n")[1].splitlines()[-1]), (1, "0 passed, 1 failed, 0 skipped"))
check("what fails for two of them fails once", program(lines.replace("end", "failed\tc\txfs\tbroken\nend"))[1].splitlines()[-1],
      "1 passed, 1 failed, 1 skipped")

picture = figures.Picture("p", "title", "x", "y")
picture.line("l", [(2, 1.5, 1, 2), (1, 1, 0.5, 2)])
check("a picture has its points in order", "$d0 << EOD\n1 1 0.5 2\n2 1.5 1 2\nEOD\n" in picture.script(), True)

# Without gnuplot: what is drawn, by one that draws what it was asked for.
drawn = "".join(
    f"figure\t{name}\t{s}\t1\t{v}\tIO/s\thigher\n" for name in ("write/4k", "growth/tasks/1", "growth/tasks/2") for s, v in (("raw", 4), ("toyfs", 3))
)
with tempfile.TemporaryDirectory() as at:
    standin = at + "/gnuplot"
    with open(standin, "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\necho '<?xml version=\"1.0\"?>'\nexec cat\n")
    os.chmod(standin, 0o755)
    status, out = program(drawn + "measured\twrite/4k\nend\n", "--out", at, "--name", "there", "--gnuplot", standin)
    check("with pictures", (status, sorted(f for f in os.listdir(at) if f.endswith(".svg"))), (0, ["tasks.svg", "writes.svg"]))
    with open(at + "/tasks.svg", encoding="utf-8") as f:
        svg = f.read().splitlines()
    check("a picture says its license behind the line that says that it is XML", (svg[0][:5], svg[1]), ("<?xml", "<!-- SPDX-License-Identifier: GPL-2.0 -->"))
    check("and what gnuplot made of its points", "1 3 3 3" in svg and "2 3 3 3" in svg, True)

print(f"{passed} passed, {failed} failed, 0 skipped")
sys.exit(1 if failed else 0)
