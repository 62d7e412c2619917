"""What the import of every module needs, and the user's code can take away: folders, finders, loaded modules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .user_files import is_installed, is_standard_library

KEEP_IMPORTS = "leave there what imports need"
_GUARDED = ("optrun", "torch")


@dataclass(frozen=True)
class Imports:
    """What there was at one moment.

    Attributes:
        folders: on `sys.path`; of these, the ones of Python's own modules and of installed ones are needed.
        finders: on `sys.meta_path`.
        modules: those of optrun and torch by name: both are lost where a second copy of a part comes beside the first.
    """

    folders: tuple[str, ...]
    finders: tuple[Any, ...]
    modules: Mapping[str, ModuleType]

    @classmethod
    def now(cls) -> Imports:
        """Return what there is."""
        loaded = {name: module for name, module in sys.modules.copy().items() if name.partition(".")[0] in _GUARDED}
        return cls(tuple(sys.path), tuple(sys.meta_path), loaded)

    def taken(self) -> str:
        """Return what is not there any more, in words; nothing if all is."""
        folders = self._folders_taken()
        finders = [type(finder).__name__ for finder in self.finders if finder not in sys.meta_path]
        modules = [name for name, module in self.modules.items() if sys.modules.get(name) is not module]
        found = {"sys.path": folders, "sys.meta_path": finders, "sys.modules": modules}
        return ", ".join(f"{names[0]}{_more(names)} from {place}" for place, names in found.items() if names)

    def put_back(self) -> None:
        """Add what was taken, so that what has happened can be said at all."""
        sys.path += self._folders_taken()
        sys.meta_path += [finder for finder in self.finders if finder not in sys.meta_path]
        sys.modules.update(self.modules)

    def _folders_taken(self) -> list[str]:
        missing = [folder for folder in self.folders if folder not in sys.path]
        return [folder for folder in missing if is_standard_library(Path(folder)) or is_installed(Path(folder))]


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
