"""The one harness for processes: new interpreters that are signalled and killed, and children that are forked.

A fork costs 10 ms where a new interpreter that imports torch costs seconds. `ForkServer` forks from a process that has
imported everything and done nothing else, or from one that has not imported optrun yet; `forked` from the test's own,
with all that the test has patched.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import pickle
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
        code: its exit code, or minus the signal that killed it; 1 after an exception.
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
        variables: of the environment, over those of this process.
        timeout: seconds until it gets SIGKILL.
        kill_group: whether to kill what it started as well, when it has ended.
        max_memory: bytes of address space; None: no limit.
        streams: descriptors of stdin, stdout and stderr; None: nothing to read, and the words go into the outcome.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 120.0
    kill_group: bool = True
    max_memory: int | None = None
    streams: Sequence[int] | None = None


def fork(case: Case, began: Callable[[int], None] = lambda pid: None) -> Outcome:
    """Do a case in a child of this process; `began` is called with its number when it is there."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as result, tempfile.TemporaryFile() as output, open(os.devnull) as nothing:
        pid = os.fork()
        if pid == 0:
            _child(case, result, case.streams or (nothing.fileno(), output.fileno(), output.fileno()))
        began(pid)
        code, timed_out = _wait(pid, case.timeout)
        if case.kill_group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        answer, said = _content(result), _content(output).decode(errors="replace")
    found, error = pickle.loads(answer) if answer else (None, None)
    return Outcome(code, found, error, said, timed_out)


def _child(case: Case, result: IO[bytes], streams: Sequence[int]) -> None:
    code = 1
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for stream in {*streams} - {0, 1, 2}:
            os.close(stream)
        _open_streams(case.variables)
        os.environ.update(case.variables)
        if case.folder is not None:
            os.chdir(case.folder)
        if case.max_memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (case.max_memory, case.max_memory))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _answer(result, case.function(*case.args, **case.arguments), None)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:  # noqa: BLE001 (whatever it was, the test gets it, as text if nothing else)
        traceback.print_exc()
        error.add_note("".join(traceback.format_exception(error)))
        with contextlib.suppress(Exception):
            _answer(result, None, error)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)


def _open_streams(variables: Mapping[str, str]) -> None:
    """Open stdout and stderr as an interpreter that starts with these variables does."""
    unbuffered = "PYTHONUNBUFFERED" in variables
    encoding, _, errors = variables.get("PYTHONIOENCODING", "utf-8").partition(":")
    out = open(1, "wb", buffering=0 if unbuffered else -1, closefd=False)  # noqa: SIM115 (closed with the process)
    sys.stdout = io.TextIOWrapper(out, encoding, errors or "strict", write_through=unbuffered)
    sys.stderr = open(2, "w", 1, encoding, "backslashreplace", closefd=False)  # noqa: SIM115


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


# ---- the server ------------------------------------------------------------------------------------------------------


class Child:
    """A child of the fork server, with the methods of `subprocess.Popen` that tests use.

    Attributes:
        pid: its number.
        stdout, stderr: the pipes to read from, where there are.
    """

    def __init__(self, status: io.FileIO, pipes: Mapping[str, IO[bytes]]):
        self._status, self._outcome = status, None
        self.stdout, self.stderr = pipes.get("stdout"), pipes.get("stderr")
        self.pid: int = pickle.load(status)

    @property
    def returncode(self) -> int | None:
        return None if self._outcome is None else self._outcome.code

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.outcome(0)
        return self.returncode

    def wait(self, timeout: float = WAIT_SECS) -> int:
        return self.outcome(timeout).code

    def outcome(self, timeout: float = WAIT_SECS) -> Outcome:
        """Wait for the end."""
        if self._outcome is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            with io.BufferedReader(self._status) as whole:  # pickle takes the 64 KiB that a pipe gives at once
                self._outcome = pickle.load(whole)
        return self._outcome

    def communicate(self, timeout: float = WAIT_SECS) -> tuple[bytes, bytes]:
        """Read both pipes to their ends, and wait."""
        pipes = [self.stdout, self.stderr]
        with ThreadPoolExecutor(2) as threads:
            reads = [threads.submit(pipe.read) if pipe and not pipe.closed else None for pipe in pipes]
            try:
                found = [read.result(timeout) if read else b"" for read in reads]
            except TimeoutError:
                self.kill()  # so that the threads come to an end
                raise
        self.close()
        self.outcome(timeout)
        return found[0], found[1]

    def send_signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def kill(self) -> None:
        """End it, and close what is open."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            self.wait()

    def close(self) -> None:
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()


def code_anew(code: str, arguments: list[str]) -> None:
    """Do what `python -c CODE ARGUMENTS` does in an interpreter that has not imported optrun."""
    sys.argv[1:] = arguments
    sys.path[0] = ""  # this folder, and no longer that of the tests
    sys.path[1:1] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})


_PROGRAM = """\
#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as call:
    call.connect("{calls}")
    socket.send_fds(call, [json.dumps([os.getcwd(), *sys.argv[1:]]).encode()], [0, 1, 2])
    sys.exit(call.recv(1)[0])
"""


class ForkServer:
    """A process that forks children when all is imported and nothing patched, as many at a time as are wanted."""

    def __init__(self) -> None:
        (self._warm, warm), (self._fresh, fresh) = socket.socketpair(), socket.socketpair()
        with warm, fresh:
            numbers = warm.fileno(), fresh.fileno()
            self._process = start(
                [sys.executable, "-m", f"{__package__}.forkserver", *map(str, numbers)],
                ROOT,
                env=environment(PYTHONHASHSEED="0", PYTHONUTF8="1", CUDA_VISIBLE_DEVICES=""),  # no GPU outlives a fork
                stdout=None,
                stderr=None,
                pass_fds=numbers,
            )

    def begin(self, case: Case, pipes: Mapping[str, IO[bytes]] | None = None, *, fresh: bool = False) -> Child:
        """Start a case.

        Args:
            case: its function is one of a module that can be imported.
            pipes: the ends from which to read what comes through its streams.
            fresh: in a process that has not imported optrun yet, and whose function does not either.
        """
        reader, writer = os.pipe()
        with tempfile.TemporaryFile() as order:
            order.write(pickle.dumps(case))
            order.seek(0)
            orders = self._fresh if fresh else self._warm
            socket.send_fds(orders, [b"."], [order.fileno(), writer, *(case.streams or ())])
        os.close(writer)
        return Child(os.fdopen(reader, "rb", buffering=0), pipes or {})

    def run(self, function: Callable[..., Any], *, folder: Path, **options: Any) -> Outcome:
        """Do a case to its end.

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
        outcome = self.begin(case).outcome(case.timeout + WAIT_SECS)
        late = outcome.timed_out and kill_after is None
        assert not late, f"{function.__name__}: no end after {case.timeout} s: {outcome.output}"
        return outcome

    def optrun(self, *args: str, **options: Any) -> Child:
        """Start what `optrun ARGS` does from the first line of `main()`, imports done; see `popen`."""
        from . import lives

        return self.popen(lives.main_life, list(args), **options)

    def python(self, code: str, *args: str, **options: Any) -> Child:
        """Start what `python -c CODE ARGS` does, optrun and torch imported; see `popen`."""
        from . import lives

        return self.popen(lives.code_life, textwrap.dedent(code), list(args), **options)

    def new_python(self, code: str, *args: str, **options: Any) -> Child:
        """Start what `python -c CODE ARGS` does, with nothing of optrun imported; see `popen`."""
        return self.popen(code_anew, textwrap.dedent(code), list(args), fresh=True, **options)

    def popen(
        self,
        function: Callable[..., Any],
        *args: Any,
        variables: Mapping[str, str] | None = None,
        fresh: bool = False,
        **streams: int,
    ) -> Child:
        """Start a function in this folder, with streams as `subprocess.Popen` gives them.

        Args:
            function: of a module that can be imported.
            args: its arguments.
            variables: of the environment.
            fresh: see `begin`.
            streams: descriptors for `stdout` and `stderr` in place of pipes.
        """
        pipes, numbers = {}, dict(streams)
        with contextlib.ExitStack() as stack:
            for name in ("stdout", "stderr"):
                if name not in streams:
                    reader, numbers[name] = os.pipe()
                    stack.callback(os.close, numbers[name])
                    pipes[name] = os.fdopen(reader, "rb")
            nothing = stack.enter_context(open(os.devnull))
            ends = (nothing.fileno(), numbers["stdout"], numbers["stderr"])
            case = Case(function, args, {}, Path.cwd(), variables or {}, timeout=WAIT_SECS, streams=ends)
            return self.begin(case, pipes, fresh=fresh)

    @contextlib.contextmanager
    def program(self, path: Path, variables: Mapping[str, str] | None = None) -> Iterator[None]:
        """Have at `path` a program that is `optrun`, its imports done, for scripts that call it, once at a time.

        It hands its arguments, folder and streams on to here, and ends with the exit code that comes back.

        Args:
            path: of the program.
            variables: of its environment, over those of the server.
        """
        with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as calls:
            calls.bind(f"{place}/calls")
            calls.listen()
            path.write_text(_PROGRAM.format(python=sys.executable, calls=f"{place}/calls"))
            path.chmod(0o755)
            answering = threading.Thread(target=self._answer_calls, args=(calls, variables or {}))
            answering.start()
            try:
                yield
            finally:
                calls.shutdown(socket.SHUT_RDWR)
                answering.join()

    def _answer_calls(self, calls: socket.socket, variables: Mapping[str, str]) -> None:
        from . import lives

        while True:
            try:
                call = calls.accept()[0]
            except OSError:  # it is shut down
                return
            with call:
                order, streams = socket.recv_fds(call, 1 << 16, 3)[:2]
                folder, *args = json.loads(order)
                case = Case(lives.main_life, (args,), folder=Path(folder), variables=variables, streams=streams)
                child = self.begin(case)
                for stream in streams:
                    os.close(stream)
                call.send(bytes([child.wait()]))

    def close(self) -> None:
        for orders in (self._warm, self._fresh):
            orders.shutdown(socket.SHUT_RDWR)  # that is the end, though a process that was forked here holds it too
            orders.close()
        self._process.wait(timeout=30)
