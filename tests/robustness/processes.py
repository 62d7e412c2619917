"""The one harness for processes: new interpreters that are signalled and killed, and children that are forked.

A fork costs 10 ms where a new interpreter that imports torch costs seconds. `ForkServer` forks from a process that has
imported everything and done nothing else; `forked` from the test's own, with all that the test has patched.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
WAIT_SECS = 300
OPTRUN = (sys.executable, "-m", "optrun.cli")
_FROM_OUTSIDE = ("CI", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "TERM")


# ---- new interpreters ------------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """Return the environment without what would change the output."""
    kept = {name: value for name, value in os.environ.items() if name not in _FROM_OUTSIDE and name[:7] != "OPTRUN_"}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def start(command: Sequence[str], cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start a command with pipes for its words."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, **{"env": environment(), **pipes, **options})


def finish(process: subprocess.Popen[bytes], timeout: float = WAIT_SECS) -> tuple[int, str, str]:
    """Wait for the end; return exit code, stdout and stderr."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, (out or b"").decode("utf-8", "replace"), (err or b"").decode("utf-8", "replace")


def run(command: Sequence[str], cwd: Path, **options: Any) -> tuple[int, str, str]:
    """Run a command to its end; return exit code, stdout and stderr."""
    return finish(start(command, cwd, **options))


def kill(process: subprocess.Popen[bytes]) -> None:
    """End what a failed test left behind."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.communicate()


# ---- forked children -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        code: its exit code, or minus the signal that killed it; 99 after an exception.
        result: what it returned.
        error: what it raised.
        output: what it said on stdout and stderr.
        timed_out: whether it was killed because its time was over.
    """

    code: int
    result: Any = None
    error: BaseException | None = None
    output: str = ""
    timed_out: bool = False

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


@dataclass(frozen=True)
class Case:
    """What a child is to do: `function(*args, **arguments)`, all of which can be pickled.

    Attributes:
        folder: where it runs; None: where this process does.
        timeout: seconds until it gets SIGKILL.
        kill_group: whether to kill what it started as well, when it has ended.
        max_memory: bytes of address space; None: no limit.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    arguments: dict[str, Any] | None = None
    folder: Path | None = None
    timeout: float = 120.0
    kill_group: bool = True
    max_memory: int | None = None


def fork(case: Case) -> Outcome:
    """Do a case in a child of this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as result, tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            _child(case, result, output)
        code, timed_out = _wait(pid, case.timeout)
        if case.kill_group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        answer, said = _content(result), _content(output).decode(errors="replace")
    found, error = pickle.loads(answer) if answer else (None, None)
    return Outcome(code, found, error, said, timed_out)


def _child(case: Case, result: IO[bytes], output: IO[bytes]) -> None:
    code = 99
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (closed with the process)
        sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # noqa: SIM115
        if case.folder is not None:
            os.chdir(case.folder)
        if case.max_memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (case.max_memory, case.max_memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _answer(result, case.function(*case.args, **(case.arguments or {})), None)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:  # noqa: BLE001 (whatever it was, the test gets it, as text if nothing else)
        traceback.print_exc()
        error.add_note("".join(traceback.format_exception(error)))
        with contextlib.suppress(Exception):
            _answer(result, None, error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _answer(file: IO[bytes], result: Any, error: BaseException | None) -> None:
    content = pickle.dumps((result, error))
    pickle.loads(content)  # some errors can be sent and not received
    file.write(content)
    file.flush()


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


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


class ForkServer:
    """A process that forks one child after another, when all is imported and nothing patched."""

    def __init__(self) -> None:
        self._process = start(
            [sys.executable, "-m", f"{__package__}.forkserver"],
            cwd=ROOT,
            env={**environment(), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stderr=None,
        )

    def begin(self, function: Callable[..., Any], *, folder: Path, **options: Any) -> Callable[[], Outcome]:
        """Start a case; return a function that waits for its end. Until then the server does nothing else.

        Args:
            function: of a module that can be imported; its arguments and its result can be pickled.
            folder: where it runs.
            options: those of `Case`, `kill_after` for seconds until it gets SIGKILL, which is no failure; all others
                are the function's arguments.
        """
        kill_after = options.pop("kill_after", None)
        own = {name: options.pop(name) for name in ("timeout", "kill_group", "max_memory") if name in options}
        case = Case(function, (), options, folder, **own)
        if kill_after is not None:
            case = replace(case, timeout=kill_after)
        assert self._process.stdin
        pickle.dump(case, self._process.stdin)
        self._process.stdin.flush()

        def end() -> Outcome:
            assert self._process.stdout
            outcome = pickle.load(self._process.stdout)
            late = outcome.timed_out and kill_after is None
            assert not late, f"{function.__name__}: no end after {case.timeout} s: {outcome.output}"
            return outcome

        return end

    def run(self, function: Callable[..., Any], *, folder: Path, **options: Any) -> Outcome:
        """Do a case to its end; see `begin`."""
        return self.begin(function, folder=folder, **options)()

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


def forked(function: Callable[..., Any], *args: Any) -> Any:
    """Return what `function(*args)` returns in a child of the test's own process, or raise what it raises."""
    _train_once()
    outcome = fork(Case(function, args))
    sys.stderr.write(outcome.output)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.code == 0, f"the child ended with {outcome.code} and no answer"
    return outcome.result


@functools.cache
def _train_once() -> None:
    """Let this process import what torch imports at a first step, so that no child has to."""
    from . import lives

    lives.warm_up()
