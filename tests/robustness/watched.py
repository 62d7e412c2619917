"""What the fork server's children do under watch: what they write, start and import, how long, how much memory."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Of each case: one that takes longer hangs; torch alone maps some GiB.
LIMITS: dict[str, Any] = {"timeout": 60.0, "max_memory": 8 << 30}


# ---- what children do ------------------------------------------------------------------------------------------------


def configs(files: list[str], overrides: list[list[str]]) -> list[dict[str, Any]]:
    """Load configurations; of each tell what came of it, the CPU time and the growth of the memory."""
    return [_measured(file, given) for file, given in zip(files, overrides, strict=True)]


def folders(places: list[Path], file: str, overrides: list[list[str]]) -> list[dict[str, Any]]:
    """Load the configuration of that name in each of some folders; memory is measured from where it was least."""
    found, least = [], _forget_peak()
    for place, given in zip(places, overrides, strict=True):
        os.chdir(place)
        before = _forget_peak()
        least = min(least, before)
        case = _measured(file, given)
        found.append({**case, "bytes": case["bytes"] + before - least})
    return found


def _measured(file: str, overrides: list[str]) -> dict[str, Any]:
    from optrun.experiments import load_config
    from optrun.experiments.config import ConfigError

    before = _forget_peak()
    start = time.process_time()
    found: dict[str, Any] = {}
    try:
        load_config(file, overrides)
    except ConfigError as error:
        found = {"message": str(error)[:2000], "places": [_place(problem) for problem in error.problems[:200]]}
    except BaseException as error:  # noqa: BLE001 (what a user would see as a traceback is what is looked for)
        found = {"bug": "".join(traceback.format_exception(error))[-3000:]}
    return {**found, "secs": time.process_time() - start, "bytes": max(0, _peak() - before)}


def _place(problem: Any) -> list[Any]:
    return [problem.origin.kind, problem.file, problem.line, problem.column, problem.headline[:200]]


def cli(args: Sequence[str], may_write: list[Path]) -> dict[str, Any]:
    """Run a command line; tell its exit code, its words, and what it did outside of the folders `may_write`."""
    from optrun.cli.app import run

    with _words() as words, Watch(may_write) as watch:
        code = run(args)
    return {"code": code, "out": words[1](), "err": words[2](), "deeds": watch.deeds}


def checkpoint_files(files: list[Path], may_write: list[Path]) -> list[dict[str, Any]]:
    """Load checkpoints; of each tell what came of it."""
    from optrun.experiments.errors import CheckpointError
    from optrun.experiments.run_directory import checkpoints

    return _each_watched(checkpoints.load, CheckpointError, files, may_write)


def archive_files(files: list[Path], may_write: list[Path]) -> list[dict[str, Any]]:
    """Look for `wanted.bin` of 100 bytes in archives; of each tell what came of it."""
    from optrun.experiments.components.data.archives import read_members
    from optrun.experiments.errors import DataError

    return _each_watched(lambda file: read_members(file, {"wanted.bin": 100}), DataError, files, may_write)


def _each_watched(
    read: Any, refusal: type[Exception], files: list[Path], may_write: list[Path]
) -> list[dict[str, Any]]:
    found = []
    with Watch(may_write) as watch:
        for file in files:
            watch.pause()
            before, start = _forget_peak(), time.process_time()
            watch.go_on()
            what: dict[str, Any] = {}
            try:
                read(file)
            except refusal as error:
                what = {"message": str(error)[:600]}
            except BaseException as error:  # noqa: BLE001 (as above)
                what = {"bug": "".join(traceback.format_exception(error))[-3000:]}
            watch.pause()
            spent = {"secs": time.process_time() - start, "bytes": max(0, _peak() - before)}
            found.append({**what, **spent, "deeds": list(watch.deeds)})
            watch.deeds.clear()
    return found


@contextlib.contextmanager
def _words():
    """Catch what goes to stdout and stderr, of this process and of those that it starts."""
    from optrun.cli.terminal import streams

    files = {number: tempfile.TemporaryFile() for number in (1, 2)}  # noqa: SIM115 (closed with the process)
    for number, file in files.items():
        os.dup2(file.fileno(), number)
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8", write_through=True)  # noqa: SIM115
    streams.prepare()

    def text(number: int) -> str:
        (sys.stdout if number == 1 else sys.stderr).flush()
        return os.pread(files[number].fileno(), 200_000, 0).decode("utf-8", "replace")

    yield {number: lambda number=number: text(number) for number in files}


# ---- the audit hook --------------------------------------------------------------------------------------------------

_STARTS = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "os.putenv",
    "pty.spawn", "subprocess.Popen", "socket.connect", "socket.bind", "ctypes.dlopen", "pickle.find_class",
    "webbrowser.open", "code.__new__", "os.kill",
}  # fmt: skip
_CHANGES = {
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
    "os.utime", "os.setxattr", "os.mkfifo", "os.mknod",
}  # fmt: skip
_TWO_PATHS = {"os.link", "os.rename"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes what must not happen: a write outside of some folders, a process, a connection, a file that is executed.

    Args:
        may_write: the folders in which anything may be written.
    """

    def __init__(self, may_write: list[Path]):
        self.deeds: list[str] = []
        self._folders = [os.path.realpath(folder) for folder in may_write] + ["/dev"]
        installed = [sys.prefix, sys.base_prefix, os.path.dirname(os.__file__)]
        self._code = [os.path.realpath(path) for path in installed]
        self._code.append(str(Path(sys.modules["optrun.experiments"].__file__ or "").resolve().parent.parent))
        self._active = False

    def __enter__(self) -> Watch:
        sys.addaudithook(self._hook)
        self._active = True
        return self

    def __exit__(self, *exception: object) -> None:
        self.pause()  # an audit hook cannot be removed

    def pause(self) -> None:
        self._active = False

    def go_on(self) -> None:
        self._active = True

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._active:
            return
        self._active = False  # what this hook itself does is not noted
        try:
            self._note(event, args)
        finally:
            self._active = True

    def _note(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "os.kill" and args[1] == 0:
            return  # it only asks whether a process is there
        if event in _STARTS:
            self.deeds.append(f"{event} {str(args)[:200]}")
        elif event == "exec":
            file = getattr(args[0], "co_filename", "")
            if os.path.isabs(file) and not self._is_below(os.path.realpath(file), self._code):
                self.deeds.append(f"executed {file}")
        elif event == "open":
            path, mode, flags = args
            writes = bool((flags or 0) & _WRITING) or any(letter in (mode or "") for letter in "wax+")
            if writes and not isinstance(path, int):
                self._note_path(event, path, follow=True)
        elif event in _CHANGES:
            for path in args[: 2 if event in _TWO_PATHS else 1]:
                if not isinstance(path, int):
                    self._note_path(event, path, follow=False)

    def _note_path(self, event: str, path: Any, follow: bool) -> None:
        path = os.path.abspath(os.fsdecode(path))
        real = os.path.realpath(path)
        if not follow:
            real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        if not self._is_below(real, self._folders):
            self.deeds.append(f"{event} {real}")

    @staticmethod
    def _is_below(path: str, folders: list[str]) -> bool:
        return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


# ---- memory ----------------------------------------------------------------------------------------------------------


def _forget_peak() -> int:
    """Begin to measure the peak anew, where Linux lets us; return the present size in bytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(key: str) -> int:
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(text.partition(f"{key}:")[2].split()[0]) * 1024
