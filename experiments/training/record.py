"""The record of what a run depends on from the user's side: code, installed packages, data files, by content.

`env.json` has it: `code` and `data` by name within the project (see `config.paths`), `packages` by version, `examples`
and `init` by SHA-256, `objects` what a notebook or a script has registered or handed over, by digest, `sources` its
text, `project` and `run` where both lay when it was written. A run that is moved together with its project finds its
files at the same places relative to itself.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..components.data import AnyData
from ..config import ComponentConfig, Config
from ..config.paths import files_read, input_files, moved, name_in, path_in, project_of
from ..errors import UsageError, in_python
from ..registry import Component
from ..registry.handed import is_of_a_program
from ..registry.object_digest import UnhashableError, object_digest
from ..registry.permissions import RunCode
from ..registry.reachable import reach
from ..run_directory.run_dir import RunDir
from ..system.content import file_sha256, folder_sha256
from ..system.places import absolute, current_folder
from ..system.trusted_code import is_trusted


@dataclass(frozen=True)
class RecordChange:
    """Something that a run depends on and that is not as it was.

    Args:
        kind: code (files or packages), data, or init.
        text: which, and how.
    """

    kind: Literal["code", "data", "init"]
    text: str


def refuse_changes(name: str, flag: str, found: Sequence[RecordChange]) -> None:
    """Refuse to measure, or to use, a run that was made with what is no longer there.

    Args:
        name: of the run.
        flag: that allows it.
        found: what has changed.

    Raises:
        UsageError: something has.
    """
    if found:
        listed = "\n".join(f"  {change.text}" for change in found)
        message = f"{name} was made with other {found[0].kind}:\n{listed}\nAdd {flag} to go on all the same"
        raise UsageError(message + in_python(flag))


class RunRecord:
    """What a run directory says that the run was made with.

    Args:
        run_dir: of the run.
    """

    def __init__(self, run_dir: RunDir):
        self._env = run_dir.read_json("env.json") or {}
        self._folder = str(run_dir.path.resolve())
        self.is_whole = "project" in self._env  # earlier versions listed the files that are named, by absolute path
        self._root = self._env.get("project", "/")
        self._known = {path_in(self._root, name): digest for name, digest in self._both()}
        self.code = {self.place(path_in(self._root, name)): digest for name, digest in self._part("code").items()}
        self.data = {self.place(path_in(self._root, name)): digest for name, digest in self._part("data").items()}

    @property
    def objects(self) -> Mapping[str, str]:
        return self._part("objects")

    @property
    def packages(self) -> Mapping[str, str]:
        return self._part("packages")

    @property
    def examples(self) -> str | None:
        return self._env.get("examples")

    @property
    def init(self) -> str | None:
        return self._env.get("init")

    @property
    def batches(self) -> tuple[int, int | None] | None:
        """Return how many examples a batch had, and an epoch steps; None where earlier versions did not say."""
        kept = self._env.get("batches")
        return None if kept is None else (kept["size"], kept["steps_per_epoch"])

    @property
    def project(self) -> Path | None:
        """Return where the project is now; None where the record does not say."""
        return Path(self.place(self._root)) if self.is_whole else None

    def allowed_code(self, *, to_read: bool = False) -> RunCode:
        """Return the code that may be executed for this run without asking.

        Args:
            to_read: results are only read, so that other code will do if it was trained with on this machine.
        """
        return RunCode(self.code, self.is_whole, is_trusted, to_read)

    def place(self, path: str) -> str:
        """Return where a file is now: at the same place relative to the run, or where it was, or in this project."""
        then = self._env.get("run")
        if then is not None and then != self._folder:
            moved_along = os.path.normpath(os.path.join(self._folder, os.path.relpath(path, then)))
            if os.path.exists(moved_along):
                return moved_along
        if os.path.exists(path) or not self.is_whole:
            return path
        name = name_in(self._root, path)
        for folder in dict.fromkeys((current_folder(), project_of(current_folder()))):
            here = path_in(folder, name)
            if path in self._known and os.path.isfile(here) and file_sha256(here) == self._known[path]:
                return here
        return path

    def placed(self, plain: Mapping[str, Any], config: Config) -> dict[str, Any]:
        """Return the stored configuration with its paths as they are now, to be compared with `config`."""
        stored = moved(plain, self.place)
        for section, part in (("data", config.data), ("init", config.init)):
            kept = stored.get(section)
            if not isinstance(kept, dict) or part is None:
                continue
            for name in input_files(part.component):  # earlier versions kept them relative to the shell
                now, then = part.args.get(name), kept.get(name)
                if isinstance(then, str) and isinstance(now, str) and now in _meanings(then, config):
                    kept[name] = now
        return stored

    def changes(self, config: Config) -> list[RecordChange]:
        """List what `config` would be run with that is not what the run was made with."""
        return [*self.code_changes(config), *self._data_changes(config)]

    def code_changes(self, config: Config) -> list[RecordChange]:
        """Do so for files of code, and for the packages that components come from."""
        files = [*self._changed_files(config), *self._new_files(config)]
        return [*files, *self._package_changes(config), *self._object_changes(config)]

    def init_changes(self, config: Config) -> list[RecordChange]:
        """Do the same for what initial weights are read from, which a resumed run does not look at."""
        if self.init is None or self.init == init_sha256(config):
            return []
        return [RecordChange("init", "what `init` reads has changed")]

    def example_changes(self, config: Config, dataset: AnyData) -> list[RecordChange]:
        """Do the same for the examples that the user's own code makes, wherever it has them from.

        Args:
            config: of the run.
            dataset: that it makes now, standardised by what was fitted to the run's rows, as the record has it.
        """
        if self.examples is None or examples_sha256(config, dataset) in (None, self.examples):
            return []
        return [RecordChange("data", f"the examples that {config.data.name} makes are others")]

    def differs_from(self, config: Config, data: Mapping[str, str | None]) -> list[str]:
        """Return the files that the run was made with otherwise than `config` and `data` have them."""
        pairs = ((self.code, config.reached.files), (self.data, data))
        return [path for had, wanted in pairs for path, digest in wanted.items() if had.get(path, digest) != digest]

    def outdated_code(self, config: Config) -> list[RecordChange]:
        """List files and packages of the run that have changed; what it did not have is the business of run keys."""
        return [*self._changed_files(config), *self._package_changes(config), *self._object_changes(config)]

    def _changed_files(self, config: Config) -> Iterator[RecordChange]:
        now = config.reached.files
        for path, digest in self.code.items():
            current = now.get(path) or (file_sha256(path) if os.path.isfile(path) else None)
            if current == digest or (path not in now and digest in now.values()):
                continue
            yield RecordChange("code", f"{path} {'has changed' if current else 'is gone'}")

    def _new_files(self, config: Config) -> Iterator[RecordChange]:
        now = config.reached.files
        if self.is_whole:
            for path in sorted(config.reached.written - self.code.keys()):
                if now[path] not in self.code.values():
                    yield RecordChange("code", f"{path} was not there before")

    def _package_changes(self, config: Config) -> Iterator[RecordChange]:
        for name in sorted(config.reached.providers & self.packages.keys()):
            before, now = self.packages[name], config.reached.packages[name]
            if before != now:
                yield RecordChange("code", f"{name} {before} -> {now}")

    def _object_changes(self, config: Config) -> Iterator[RecordChange]:
        now = object_digests(config)
        for name in sorted(now.keys() - self.objects.keys()):
            if _is_handed(name) and self.is_whole:
                yield RecordChange("code", f"{name} is not code that the run was made with")
        for name in sorted(self.objects.keys() & now.keys()):
            before, digest = self.objects[name], now[name]
            if not _is_digest(before) or not _is_digest(digest):
                why = next(each for each in (digest, before) if not _is_digest(each))
                yield RecordChange("code", f"{name} cannot be compared with what it was: {why}")
            elif before != digest:
                yield RecordChange("code", f"{name} {_how(name)} with other code, or with other values in it")

    def _data_changes(self, config: Config) -> Iterator[RecordChange]:
        if not self.data:
            return
        for path, digest in data_files(config).items():
            if path in self.data and self.data[path] != digest:
                yield RecordChange("data", f"{path} {'has changed' if digest else 'is gone'}")

    def _part(self, name: str) -> Mapping[str, str]:
        return self._env.get(name, {})

    def _both(self) -> Iterator[tuple[str, str]]:
        yield from self._part("code").items()
        yield from self._part("data").items()


def make_record(config: Config, run_dir: RunDir, *, at_end: bool = False) -> dict[str, Any]:
    """Return what `env.json` keeps of what a run depends on.

    Args:
        config: of the run.
        run_dir: of the run; what an earlier process of it imported late is kept.
        at_end: take in what was imported since the configuration was loaded, as it was executed.
    """
    before = RunRecord(run_dir)
    reached = reach(config.roots(), strict=False) if at_end else config.reached
    code = {path: digest for path, digest in before.code.items() if _is_still(path, digest)} if before.is_whole else {}
    project = config.project
    return {
        "project": str(project),
        "run": str(run_dir.path.resolve()),
        "code": {name_in(project, path): digest for path, digest in sorted({**code, **reached.files}.items())},
        "packages": reached.packages,
        **({"objects": objects, "sources": sources_of(config)} if (objects := object_digests(config)) else {}),
    }


def data_record(config: Config, dataset: AnyData) -> dict[str, Any]:
    """Return what `env.json` keeps of what the data comes from."""
    files = data_files(config).items()
    return {
        "data": {name_in(config.project, path): digest for path, digest in files if digest is not None},
        "examples": examples_sha256(config, dataset),
    }


def local_components(config: Config) -> list[Component]:
    """Return the components that a notebook or a script has registered or handed over, and that have no file."""
    parts = (part.component for part in config.components())
    return [part for part in parts if part.is_of_a_program]


def object_digests(config: Config) -> dict[str, str]:
    """Return a digest of each of `local_components` by its name; the reason where it has none."""
    found = {}
    for part in local_components(config):
        try:
            found[_called(part)] = object_digest(part.build)
        except UnhashableError as error:
            found[_called(part)] = str(error)
    return found


def sources_of(config: Config) -> dict[str, str]:
    """Return the source text of each of `local_components` by its name, as far as Python has it (of stdin it has none).

    It is for people to read; nothing executes it.
    """
    found = {}
    for part in local_components(config):
        with contextlib.suppress(OSError, TypeError):
            found[_called(part)] = inspect.getsource(part.inmost)
    return found


def _called(part: Component) -> str:
    return f"{part.kind} '{part.name}'"


def _is_handed(name: str) -> bool:
    return is_of_a_program(name.partition("'")[2])


def _how(name: str) -> str:
    return "is defined now" if _is_handed(name) else "is registered"


def data_files(config: Config) -> dict[str, str | None]:
    """Return a SHA-256 of each file and folder that the configuration names as data; None for what is not there."""
    parts = (part for part in config.components() if part is not config.init)
    return {path: _digest(part, path) for part in parts for path in files_read(part)}


def examples_sha256(config: Config, dataset: AnyData) -> str | None:
    """Return a hash of the examples where the user's own code makes them; None where it does not, or on disk.

    Args:
        config: of the run.
        dataset: as the run learns from it: encoded and standardised, where that is asked for.
    """
    is_own = any(part.component.roots() for part in config.data.nested())
    return dataset.sha256() if is_own and not dataset.mapped else None


def init_sha256(config: Config) -> str | None:
    """Return a hash of what initial weights are read from, where they are."""
    if config.init is None or "fingerprint" not in config.init.component.facts:
        return None
    return config.init.component.facts["fingerprint"](config.init.args)


def _digest(part: ComponentConfig, path: str) -> str | None:
    if os.path.isdir(path):
        files = part.component.facts.get("files")  # those in the folder that are read
        return folder_sha256(path, None if files is None else files(Path(path)))
    digest = part.component.facts.get("digest", file_sha256)
    return digest(path) if os.path.isfile(path) else None


def _is_still(path: str, digest: str) -> bool:
    return os.path.isfile(path) and file_sha256(path) == digest


def _is_digest(text: str) -> bool:
    return len(text) == 64 and " " not in text


def _meanings(path: str, config: Config) -> set[str]:
    """Return the places that a relative path may have meant to an earlier version."""
    folders = [current_folder(), *([absolute(config.target.path).parent] if config.target.path else [])]
    return {os.path.normpath(folder / path) for folder in folders}
