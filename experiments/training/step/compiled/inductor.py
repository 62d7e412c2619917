"""The call of torch's inductor: its settings hold for one call, and what it keeps lies in a folder of the user's."""

from __future__ import annotations

import importlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....errors import StorageError
from ....system.places import folder_of
from ....system.storage import make_dir
from .cannot import CannotCompile, explained
from .tracing import traced

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_DISTUTILS = "SETUPTOOLS_USE_DISTUTILS"
_SETTINGS = {
    "cpp_wrapper": True,  # one library for a whole step: no Python between its kernels
    "compile_threads": 1,  # it is one file; more would begin processes
    "fx_graph_cache": True,
    "cpp_cache_precompile_headers": False,  # they lie in a folder in /tmp that somebody else may have made
    "cpp.vec_isa_ok": True,  # the CPU says what it can; to try each of its instruction sets takes 15 s
}
_lock = threading.RLock()  # an environment variable is the whole process's


def compiled_dir() -> Path:
    """Return the folder of compiled code: OPTRUN_COMPILED_DIR, else `optrun/compiled` in the user's cache."""
    if (own := folder_of("OPTRUN_COMPILED_DIR")) is not None:
        return own
    cache = os.environ.get("XDG_CACHE_HOME", "")  # its specification has relative paths ignored
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "optrun" / "compiled"


def folder_problem() -> str | None:
    """Return why the folder of compiled code cannot be used, in words: code in it is executed, so it must be private.

    It is made where there is none.
    """
    folder = compiled_dir()
    try:
        if make_dir(folder, exist_ok=True):
            folder.chmod(0o700)
        found = folder.stat()
    except (OSError, StorageError) as error:
        return f"the folder of compiled code cannot be used ({error}): set OPTRUN_COMPILED_DIR"
    if os.name == "posix" and found.st_uid != os.getuid():
        return f"{folder}, where compiled code is kept, belongs to somebody else: set OPTRUN_COMPILED_DIR"
    if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
        return f"{folder}, where compiled code is kept, is open to others: chmod 700 {folder}"
    return None


def compile_graph(function: Callable[..., list[Tensor]], examples: Sequence[Tensor]) -> Callable[..., Any]:
    """Trace a function of tensors, and compile it; it may change tensors in place.

    Args:
        function: (*tensors) -> tensors.
        examples: tensors of the shapes and kinds that it will be called with.

    Raises:
        CannotCompile: the compiler fails.
    """
    with torch.no_grad(), _private_folder(), explained("inductor"):
        _import_setuptools()
        from torch._dynamo.utils import preserve_rng_state
        from torch._inductor import config
        from torch._inductor.compile_fx import compile_fx

        with preserve_rng_state(), config.patch(_SETTINGS):
            return compile_fx(traced(function, examples), [example.detach() for example in examples])  # type: ignore[return-value]


def _import_setuptools() -> None:
    """Import what inductor finds torch's headers with; it fails in processes where it cannot replace distutils."""
    if sys.version_info >= (3, 12) or "setuptools" in sys.modules:
        return
    before = os.environ.get(_DISTUTILS)
    os.environ[_DISTUTILS] = "stdlib"  # Python's own may stay
    try:
        importlib.import_module("setuptools")
    finally:
        if before is None:
            os.environ.pop(_DISTUTILS, None)
        else:
            os.environ[_DISTUTILS] = before


@contextmanager
def _private_folder() -> Iterator[None]:
    """Let inductor keep its files in the folder of compiled code.

    Raises:
        CannotCompile: the folder cannot be used.
    """
    if (problem := folder_problem()) is not None:
        raise CannotCompile(problem)
    with _lock:
        before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = str(compiled_dir())
        try:
            yield
        finally:
            if before is None:
                os.environ.pop(_VARIABLE, None)
            else:
                os.environ[_VARIABLE] = before
