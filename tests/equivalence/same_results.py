"""Show that two versions of the code give the same results, bit for bit, on this machine.

    python tests/equivalence/same_results.py --old 7819742              # an older revision against this environment
    python tests/equivalence/same_results.py --old A --new B            # two revisions
    python tests/equivalence/same_results.py --old 7819742 --record F   # keep the results of one revision in a file,
    python tests/equivalence/same_results.py --check F                  # and hold this environment against it
    python tests/equivalence/same_results.py --check F --only 'optimizer-*' --show

Each case (`--list`) is some commands in an empty folder. Compared are their output and exit codes, and every file that
they leave: weights, optimizer state, all else in checkpoints, metric rows, `comparison.json`, reports, pages, pictures.
Times, paths and the keys of cached runs are left out; the names of comparisons are not. Only the command line, files of
a user's own and the run directory's documented files are used, so that any two versions can be compared.

Bits depend on the processor, on torch and on the number of threads: a recording says which, and is only good there.
Exit code 1: something differs, or a command did not end as its case says.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import hashlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import CASES, Case
from environment import make_environment
from running import Recording, run_cases

_SHOWN_LINES = 30


def main() -> int:
    options = _options()
    cases = [case for case in CASES if any(fnmatch.fnmatchcase(case.name, pattern) for pattern in options.only)]
    if options.list:
        print("\n".join(case.name for case in cases))
        return 0
    if not cases:
        sys.exit(f"no case matches {', '.join(options.only)}; --list shows all")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="optrun-equivalence-") as work:
        code = _compare(options, cases, Path(options.keep or work).resolve())
    print(f"{time.monotonic() - start:.0f} s")
    return code


def _compare(options: argparse.Namespace, cases: Sequence[Case], work: Path) -> int:
    pythons = {}
    for side, revision in (("old", options.old), ("new", options.new)):
        if revision is not None:
            pythons[side] = make_environment(revision, work / f"{side}-code")
    if options.record:
        machines: list[list[Any]] = []
        old_python = {"old": pythons.get("old", Path(sys.executable))}
        recording = run_cases(old_python, cases, work, options.jobs, machines.append)
        _write(options.record, machines[0], recording["old"])
        return _report_codes(recording)
    pythons.setdefault("new", Path(sys.executable))
    if options.check:
        recorded = json.loads(options.check.read_text())

        def check_machine(here: list[Any]) -> None:
            if here != (there := recorded["machine"]):
                sys.exit(f"{options.check} was recorded on another machine, whose bits differ: {there}, not {here}")

        new = run_cases({"new": pythons["new"]}, cases, work, options.jobs, check_machine)
        recordings = {"old": recorded["cases"], **new}
    else:
        recordings = run_cases(pythons, cases, work, options.jobs)
    return _report(recordings, cases, show=options.show) | _report_codes(recordings)


def _report(recordings: dict[str, Recording], cases: Sequence[Case], *, show: bool) -> int:
    num_different = 0
    for case in cases:
        old, new = recordings["old"].get(case.name), recordings["new"][case.name]
        if old is None or old["definition"] != new["definition"]:
            print(f"DIFFERENT  {case.name}: the recording is of another definition of the case; record it again")
            num_different += 1
            continue
        names = [*old["parts"], *(name for name in new["parts"] if name not in old["parts"])]
        different = [name for name in names if old["parts"].get(name) != new["parts"].get(name)]
        if not different:
            digest = hashlib.sha256("".join(_digest(new["parts"][name]) for name in names).encode()).hexdigest()
            print(f"equal      {case.name}: {len(names)} parts, sha256 {digest[:16]}")
            continue
        num_different += 1
        print(f"DIFFERENT  {case.name}: {', '.join(different)}")
        for name in different if show else ():
            _show(name, old["parts"].get(name, ""), new["parts"].get(name, ""))
    print(f"{len(cases) - num_different} of {len(cases)} cases are equal")
    return int(num_different > 0)


def _report_codes(recordings: dict[str, Recording]) -> int:
    wrong = [problem for recording in recordings.values() for found in recording.values() for problem in found["wrong"]]
    print("".join(f"UNEXPECTED {line}\n" for line in dict.fromkeys(wrong)), end="")
    return int(bool(wrong))


def _show(name: str, old: str, new: str) -> None:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"old: {name}", f"new: {name}", n=1, lineterm="")
    shown = list(itertools.islice(lines, _SHOWN_LINES + 1))
    for line in shown[:_SHOWN_LINES]:
        print(f"    {line[:200]}")
    if len(shown) > _SHOWN_LINES:
        print("    ...")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, machine: list[Any], recording: Recording) -> None:
    path.write_text(json.dumps({"machine": machine, "cases": recording}, indent=1))
    print(f"wrote {path}: {len(recording)} cases")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", metavar="REVISION", help="the older code")
    parser.add_argument("--new", metavar="REVISION", help="the newer code; by default this environment's")
    parser.add_argument("--record", metavar="FILE", type=Path, help="only run the old code, and keep its results")
    parser.add_argument("--check", metavar="FILE", type=Path, help="compare with a recording instead of --old")
    parser.add_argument("--only", metavar="PATTERN", action="append", help="names of cases, with * and ?; repeatable")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("--show", action="store_true", help="show the first lines of each difference")
    parser.add_argument("--keep", metavar="FOLDER", help="work there, and leave everything")
    parser.add_argument("--list", action="store_true", help="list the cases")
    options = parser.parse_args()
    if not options.list and not options.record and bool(options.old) == bool(options.check):
        parser.error("give --old REVISION, or --check FILE")
    if options.record and (options.check or options.new):
        parser.error("--record runs one side only: give no --check and no --new")
    options.only = options.only or ["*"]
    return options


if __name__ == "__main__":
    sys.exit(main())
