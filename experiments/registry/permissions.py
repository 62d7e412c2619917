"""Which of the user's code may be executed: what each way of naming a configuration allows, and the user's consent.

A configuration that the user names is the user's own, as a script is: `train`, `compare` and `sweep` execute the code
that it names, and remember it (`system.trusted_code`). Commands that look, and whatever is stored with a run, execute
what is remembered, or ask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import CodeNotAllowedError
from ..system.observed import looked_for
from ..system.trusted_code import is_trusted

#: `own`: a local configuration executes its code; `known`: only code that was trained with here; `all`: any.
Consent = Literal["own", "known", "all"]

_WAY_OUT = "read it, then add --allow-code"
_OF_ONES_OWN = "if it is yours, or you have read it, add --allow-code"
_OF_A_RUN = ("status.json", "env.json", "origins.json")  # a configuration beside one of these came with a run

_consent: ContextVar[Consent] = ContextVar("consent", default="own")


@contextmanager
def consenting(consent: Consent) -> Iterator[None]:
    """Say, for a `with` block, what the user has agreed to; outside of any it is `own`."""
    token = _consent.set(consent)
    try:
        yield
    finally:
        _consent.reset(token)


def consent() -> Consent:
    """Return what the user has agreed to."""
    return _consent.get()


@dataclass
class KnownCode:
    """Code that was trained with on this machine, all of it together: what may be executed without asking."""

    seen: set[str] = field(default_factory=set)

    def check(self, path: Path, digest: str) -> None:
        """Refuse a file that is about to be executed, unless it and those before it were trained with here.

        Raises:
            CodeNotAllowedError: they were not.
        """
        self.seen.add(digest)
        if not is_trusted(self.seen):
            raise CodeNotAllowedError(
                f"this would execute {path}, which was never trained with on this machine as it is: {_OF_ONES_OWN}"
            )

    check_import = check


@dataclass
class RunCode:
    """The code that a stored run was made with, which is all that may be executed for it.

    Args:
        files: SHA-256 by absolute path.
        whole: whether every file is listed, those that others import too; earlier versions listed what is named.
        is_trusted: returns True for SHA-256s of code that was trained with on this machine, together; None asks nobody.
        to_read: results are only read, so that such code may be executed though it is not what the run was made with.
        seen: the SHA-256s of what was allowed.
    """

    files: Mapping[str, str]
    whole: bool = False
    is_trusted: Callable[[Collection[str]], bool] | None = None
    to_read: bool = False
    seen: set[str] = field(default_factory=set)

    def check(self, path: Path, digest: str) -> None:
        """Refuse a file that is about to be executed, unless it is what the run was made with, and known here.

        Raises:
            CodeNotAllowedError: it is another one.
        """
        known = self.is_trusted is None or self.is_trusted({*self.seen, digest})
        is_runs = self.files.get(str(path)) == digest or (self.whole and self._has_moved(path, digest))
        if not is_runs and not (self.to_read and known):
            has_changed = str(path) in self.files
            change = "has changed since the run was made" if has_changed else "is not code that the run was made with"
            raise CodeNotAllowedError(f"{path} {change}: {_WAY_OUT}")
        if not known:
            raise CodeNotAllowedError(
                f"{path} came with the run, and was never trained with on this machine: {_WAY_OUT}"
            )
        self.seen.add(digest)

    def _has_moved(self, path: Path, digest: str) -> bool:
        """Return True for a file that the run was made with, at a place of which the record does not speak."""
        return str(path) not in self.files and digest in self.files.values()

    def check_import(self, path: Path, digest: str) -> None:
        """Do the same for a file that another one imports."""
        if self.whole or str(path) in self.files:
            self.check(path, digest)
        elif self.is_trusted is not None:  # a run of an earlier version, which did not list it
            self.seen.add(digest)
            if not self.is_trusted(self.seen):
                raise CodeNotAllowedError(f"{path} was never trained with on this machine: {_WAY_OUT}")


Permission = KnownCode | RunCode


def permission_in(folder: Path, known: KnownCode) -> Permission | None:
    """Return what code may be executed that a file in `folder` names, by the user's consent; None for any.

    Args:
        folder: of the configuration that names the code.
        known: what has been seen of this configuration, to be asked where only known code may be executed.
    """
    match consent():
        case "all":
            return None
        case "known":
            return known
        case "own":
            for name in _OF_A_RUN:
                looked_for(folder / name)
            return known if any((folder / name).is_file() for name in _OF_A_RUN) else None
