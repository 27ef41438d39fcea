#!/usr/bin/env python3
"""Holds instruction counts against those of baseline.toml, or writes them there. Called by instructions.sh.

The counts are what gungraun prints with `--output-format=json`, on standard input.

usage: baseline.py check|write
"""

import json
import pathlib
import subprocess
import sys
import tomllib

BASELINE = pathlib.Path(__file__).with_name("baseline.toml")
UPDATE = "benches/instructions.sh --update"

# One build gives the same counts every time, and without AVX2 glibc copies memory in up to 1 % more. What moves them
# further is our code, a dependency's or the compiler, and somebody should say why it is worth it.
TOLERANCE_PERCENT = 3

HEADER = f"""\
# Instructions that callgrind counts in one call, by benchmark (benches/benches/instructions.rs): counts, not times.
# Written by `{UPDATE}`, and by it alone; README.md tells how to read them.
#
# They hold for the tools below and an x86-64 CPU with AVX2. Under valgrind 3.19 no CPU has instructions for SHA-256,
# so that hashing is counted as sha2 does it without them.
"""


class Unusable(Exception):
    """The counts or the baseline are not what they should be, and nothing was compared."""


def main(arguments):
    try:
        if arguments == ["check"]:
            return check(read_baseline(), read_counts(sys.stdin))
        if arguments == ["write"]:
            return write(read_counts(sys.stdin))
    except Unusable as reason:
        print(f"instruction counts: {reason}", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 64


def check(baseline, counts):
    recorded = baseline["instructions"]
    failures, gains = [], []
    for name in sorted(recorded.keys() | counts.keys()):
        before, now = recorded.get(name), counts.get(name)
        if now is None:
            failures.append(f"{name}: recorded in {BASELINE.name}, but not counted")
            continue
        if before is None:
            failures.append(f"{name}: counted, {now:,}, but not recorded in {BASELINE.name}")
            continue
        change = f"{now:,} instructions, {100 * (now - before) / before:+.2f} % of {before:,}"
        print(f"{name}: {change}")
        if 100 * now > (100 + TOLERANCE_PERCENT) * before:
            failures.append(f"{name}: {change}; up to {TOLERANCE_PERCENT:+} % is let pass")
        elif 100 * now < (100 - TOLERANCE_PERCENT) * before:
            gains.append(name)
    for tool, version in tools().items():
        if (other := baseline["tools"].get(tool)) != version:
            print(f"{tool} is {version} here, and was {other} when the counts were recorded")
    if gains:
        print(f"fewer than recorded: {', '.join(gains)}; to hold what was gained: {UPDATE}")
    sys.stdout.flush()
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    if failures:
        print(f"If it is meant to be so, say why in the commit, and record it: {UPDATE}", file=sys.stderr)
    return 1 if failures else 0


def write(counts):
    lines = [HEADER, "[tools]"]
    lines += [f"{tool} = {json.dumps(version)}" for tool, version in tools().items()]
    lines += ["", "[instructions]"]
    lines += [f"{json.dumps(name)} = {count}" for name, count in sorted(counts.items())]
    BASELINE.write_text("\n".join(lines) + "\n")
    print(BASELINE.read_text(), end="")
    return 0


def read_baseline():
    try:
        baseline = tomllib.loads(BASELINE.read_text())
    except (OSError, ValueError) as error:
        raise Unusable(f"{BASELINE.name}: {error}; to write it: {UPDATE}") from error
    recorded = baseline.get("instructions")
    if not recorded or not all(type(count) is int and count > 0 for count in recorded.values()):
        raise Unusable(f"{BASELINE.name} has no [instructions], or one that is no count; to write it: {UPDATE}")
    return {"tools": baseline.get("tools", {}), "instructions": recorded}


def read_counts(lines):
    """Counts by name: that of the function, and of its case where it has one."""
    counts = {}
    for line in lines:
        summary = json.loads(line)
        name = "/".join(filter(None, [summary["function_name"], summary.get("id")]))
        if name in counts:
            raise Unusable(f"two benchmarks are called {name}")
        (profile,) = summary["profiles"]
        counts[name] = profile["data"]["total"]["metrics"]["Ir"]["values"]["new"]
        # As when the functions have lost their names; it must not pass for a gain.
        if not counts[name]:
            raise Unusable(f"callgrind saw no instruction of {name}")
    if not counts:
        raise Unusable("there are none")
    return counts


def tools():
    rustc = dict(line.split(": ", 1) for line in output("rustc", "-vV").splitlines() if ": " in line)
    return {
        "rustc": rustc["release"],
        "target": rustc["host"],
        "valgrind": output("valgrind", "--version").strip().removeprefix("valgrind-"),
    }


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
