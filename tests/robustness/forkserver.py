"""A process that has imported and warmed up everything, and forks one child for each case: 10 ms instead of seconds.

`python -m tests.robustness.forkserver` reads one JSON line a case from stdin and answers with one on stdout.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit code, or minus the signal that killed it; what it returned; what it said."""

    code: int
    result: Any
    output: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class ForkServer:
    """The client's side."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__.rpartition(".")[0] + ".forkserver"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        )

    def run(
        self,
        function: Callable[..., Any],
        *,
        folder: Path,
        timeout: float = 120.0,
        kill_after: float | None = None,
        kill_group: bool = True,
        **arguments: Any,
    ) -> Outcome:
        """Call `function(**arguments)`, which must be importable, in a forked child, in `folder`.

        Args:
            function: of a module of this package; its result must be JSON.
            folder: where it runs.
            timeout: seconds until the test fails.
            kill_after: seconds until it gets SIGKILL, which is no failure.
            kill_group: whether to kill what it started as well, when it has ended.
            arguments: JSON, or paths.
        """
        order = {
            "module": function.__module__,
            "function": function.__name__,
            "arguments": arguments,
            "folder": folder,
            "kill_group": kill_group,
            "timeout": timeout if kill_after is None else kill_after,
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the fork server died"
        answer = json.loads(line)
        assert not answer.pop("timed_out") or kill_after is not None, f"no end after {timeout} s: {answer['output']}"
        return Outcome(**answer)

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whoever prints by mistake breaks no line
    _warm_up()
    for line in sys.stdin:
        print(json.dumps(_one_case(json.loads(line))), file=answers, flush=True)


def _warm_up() -> None:
    """Pay once for everything that is imported late."""
    import torch

    torch.set_num_threads(1)
    lives = importlib.import_module(f"{__package__}.lives")
    with tempfile.TemporaryDirectory() as folder:
        lives.warm_up(Path(folder))


def _one_case(order: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as result, tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            _child(order, result.fileno(), output.fileno())
        code, timed_out = _wait(pid, order["timeout"])
        if order["kill_group"]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        found, said = (_content(file) for file in (result, output))
    return {"code": code, "result": json.loads(found) if found else None, "output": said, "timed_out": timed_out}


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _wait(pid: int, timeout: float) -> tuple[int, bool]:
    deadline, timed_out = time.monotonic() + timeout, False
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), timed_out
        if time.monotonic() > deadline and not timed_out:
            timed_out = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _child(order: dict[str, Any], result: int, output: int) -> None:
    code = 99
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(order["folder"])
        function = getattr(importlib.import_module(order["module"]), order["function"])
        answer = json.dumps(function(**order["arguments"])).encode()
        assert os.write(result, answer) == len(answer)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 (whatever it was, the test gets it as text)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
