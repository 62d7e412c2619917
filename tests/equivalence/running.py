"""Runs cases, two at a time, each in a folder of its own."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import scrubbing
from cases import FREEZE, Case, Command
from fingerprint import fingerprint

#: Case -> {"definition": its hash, "parts": {part: text}, "wrong": [what ended in another way than the case says]}
Recording = dict[str, dict[str, Any]]

_LIMIT_SECS = 300.0
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_FEW_CASES = 3  # for which it does not pay to import everything once


def run_cases(
    pythons: Mapping[str, Path],
    cases: Sequence[Case],
    work: Path,
    jobs: int,
    see_machine: Callable[[list[Any]], object] = lambda machine: None,
) -> dict[str, Recording]:
    """Run every case with every Python, and return what came out.

    Args:
        pythons: by name of the side, the interpreter of an environment that has optrun.
        cases: to be run.
        work: a folder for them.
        jobs: how many at a time.
        see_machine: called with what the bits of results depend on, besides the code, before the first command.
    """
    todo: queue.SimpleQueue[tuple[str, Case]] = queue.SimpleQueue()
    for case in cases:
        for side in pythons:
            todo.put((side, case))
    found: dict[str, Recording] = {side: {} for side in pythons}
    errors: list[BaseException] = []

    def work_off() -> None:
        launchers: dict[str, _Launcher] = {}
        try:
            while not errors:
                side, case = todo.get_nowait()
                if side not in launchers:
                    launchers[side] = _Launcher(pythons[side], work, is_brief=len(cases) <= _FEW_CASES)
                    see_machine(launchers[side].machine)
                found[side][case.name] = _run(launchers[side], case, work / side / case.name)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 (raised below, in the main thread)
            errors.append(error)
        finally:
            for launcher in launchers.values():
                launcher.close()

    threads = [threading.Thread(target=work_off) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return found


class _Launcher:
    """A process that starts commands quickly; see launcher.py.

    Args:
        python: the interpreter.
        work: a folder for what commands may share.
        is_brief: only a few commands are to come.

    Attributes:
        machine: what the bits of results depend on, besides the code.
    """

    def __init__(self, python: Path, work: Path, is_brief: bool):
        self._env = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        self._env |= {
            "PYTHONUTF8": "1",
            "COLUMNS": "80",
            "CUDA_VISIBLE_DEVICES": "",
            "OPTRUN_OFFLINE": "1",
            "MPLBACKEND": "agg",
            "MPLCONFIGDIR": str(work / "matplotlib"),
        }
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name("launcher.py"), *(["torch"] if is_brief else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._env,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.machine: list[Any] = json.loads(self._process.stdout.readline())

    def run(self, command: Command, folder: Path, streams: Path) -> int:
        """Run a command in a folder, with its streams in files, and return its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        home = streams.with_name("home")
        request = {
            "args": command.args,
            "script": command.script,
            "folder": str(folder),
            "stdout": str(streams.with_suffix(".out")),
            "stderr": str(streams.with_suffix(".err")),
            "env": {**self._env, "HOME": str(home), "OPTRUN_DATA_DIR": str(home / "data"), **command.env},
            "limit_secs": _LIMIT_SECS,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the launcher died at {shown(command)}")
        return int(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def shown(command: Command) -> str:
    """Return a command as one would type it."""
    return f"python {command.script}" if command.script else f"optrun {' '.join(command.args)}"


def _run(launcher: _Launcher, case: Case, place: Path) -> dict[str, Any]:
    if place.exists():
        shutil.rmtree(place)
    folder = place / "folder"
    (place / "home").mkdir(parents=True)
    folder.mkdir()
    for name, text in case.files.items():
        (folder / name).write_text(text)
    wrong, parts = [], {}
    for number, command in enumerate(case.commands, 1):
        if command == FREEZE:
            scrubbing.freeze(folder / "runs")
            continue
        streams = place / f"{number:02d}"
        code = launcher.run(command, folder, streams)
        out, err = (streams.with_suffix(suffix).read_text() for suffix in (".out", ".err"))
        if code != command.code:
            wrong.append(f"{case.name}: exit code {code}, not {command.code}: {shown(command)}\n{err[-1000:]}")
        talk = command.talk or code != 0
        words = [f"exit code {code}", _output(command, out, folder, talk=talk)]
        if talk:
            words.append(scrubbing.text(err, folder, talk=True))
        parts[f"[{number}] {shown(command)}"] = "\n".join(words)
    definition = hashlib.sha256(json.dumps(asdict(case), sort_keys=True).encode()).hexdigest()
    return {"definition": definition, "parts": {**parts, **fingerprint(folder)}, "wrong": wrong}


def _output(command: Command, out: str, folder: Path, *, talk: bool) -> str:
    """Return stdout without times; JSON by its keys, one document or one a line."""
    if "--json" in command.args:
        try:
            documents = [json.loads(out)]
        except ValueError:
            documents = [json.loads(line) for line in out.splitlines()]
        out = "".join(
            f"{json.dumps(scrubbing.document(document), indent=1, ensure_ascii=False)}\n" for document in documents
        )
    return scrubbing.text(out, folder, talk=talk)
