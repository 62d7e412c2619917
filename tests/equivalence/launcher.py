"""Runs `optrun` commands, each in a forked child of a process that has imported torch once.

The first line on stdout says in JSON what the bits of results depend on, besides the code. Then a command is a line of
JSON on stdin, and its exit code a line on stdout. With the argument `torch` it imports no more than that beforehand,
which is faster for a few commands. Only packages that optrun depends on are
imported beforehand; optrun itself is imported anew by each command, through `python -m optrun.cli`, its public entry.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import platform
import runpy
import signal
import sys
import time
import traceback
from typing import Any

# For speed alone: what is missing here is imported by the commands that need it.
_TORCH = ("torch", "torch._dynamo", "torch.utils.data")
_PRELOADED = (
    *_TORCH,
    "safetensors.torch",
    "sklearn.datasets",
    "scipy.stats",
    "matplotlib.backends.backend_svg",
    "matplotlib.backends.backend_agg",
    "pydantic",
    "annotated_types",
    "jinja2",
    "filelock",
    "yaml",
    "click",
    "rich.console",
    "rich.text",
    "rich.table",
    "PIL.Image",
    "logging.handlers",
    "concurrent.futures.process",
)


_exit_code: int | None = None


@atexit.register  # before anything else is, and so carried out last
def _leave() -> None:
    """End a child without taking apart what its parent imported, which takes longer than most commands."""
    if _exit_code is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code)


def main() -> dict[str, Any] | None:
    """Serve until stdin ends; in a forked child, return the command that it is to run."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in _TORCH if sys.argv[1:] == ["torch"] else _PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    answers.write(f"{json.dumps(_facts())}\n")
    answers.flush()
    gc.collect()
    gc.freeze()  # else each child would copy what it only looks through for garbage
    while line := sys.stdin.readline():
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return request
        answers.write(f"{_wait(pid, request['limit_secs'])}\n")
        answers.flush()
    return None


def _facts() -> list[Any]:
    import torch

    return [torch.__version__, torch.backends.cpu.get_cpu_capability(), platform.machine(), torch.get_num_threads()]


def _wait(pid: int, limit_secs: float) -> int:
    """Return a child's exit code, minus the signal's number where one ended it; 124 past the limit."""
    deadline = time.monotonic() + limit_secs
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return 124
        time.sleep(0.005)


def become(request: dict[str, Any]) -> None:
    """Make this forked child what a shell would have started: its folder, variables, streams and signals."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        file = os.open(path, flags, 0o644)
        os.dup2(file, number)
        os.close(file)
    sys.path[0] = request["folder"]  # as for a command that was started there
    sys.argv = [request["script"] or "optrun", *request["args"]]
    for name in [name for name in sys.modules if name.partition(".")[0] == "optrun"]:
        raise RuntimeError(f"{name} was imported before the command")


def carry_out(request: dict[str, Any]) -> int:
    """Run a command to its end, and return its exit code."""
    try:
        if request["script"]:
            runpy.run_path(request["script"], run_name="__main__")
        else:
            runpy.run_module("optrun.cli", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (what Python does with an error that nobody caught)
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    work = main()
    if work is not None:
        become(work)
        _exit_code = carry_out(work)
