"""The call of torch's inductor, ahead of time: a graph becomes a library, which other processes can load."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....system import waiting
from .cannot import CannotCompile, explained
from .store import private_folder
from .tracing import traced

_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_DISTUTILS = "SETUPTOOLS_USE_DISTUTILS"
_SETTINGS = {
    "compile_threads": 1,  # it is one file; more would begin processes
    "cpp.vec_isa_ok": True,  # the CPU says what it can; to try each of its instruction sets takes 15 s
    "aot_inductor.precompile_headers": False,  # they lie in a folder in /tmp that somebody else may have made
}
_DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_lock = threading.RLock()  # an environment variable is the whole process's

Graph = Callable[[list[Tensor]], list[Tensor]]


def compiled(function: Callable[..., list[Tensor]], examples: Sequence[Tensor]) -> Path:
    """Trace a function of tensors, and compile it to a library; it may change tensors in place.

    Args:
        function: (*tensors) -> tensors.
        examples: tensors of the shapes and kinds that it will be called with.

    Raises:
        CannotCompile: the compiler fails.
    """
    waiting.tell("compiling steps: some ten seconds, a minute or two for a deep network")
    with torch.no_grad(), _inductors_folder() as folder, explained("inductor"), _disk(folder):
        _import_setuptools()
        from torch._dynamo.utils import preserve_rng_state
        from torch._inductor import aot_compile, config

        with preserve_rng_state(), config.patch(_SETTINGS):
            made: Any = aot_compile(traced(function, examples), tuple(example.detach() for example in examples))
    return Path(made)


def loaded(library: Path, device: torch.device) -> Graph:
    """Load a compiled graph.

    Args:
        library: of `compiled`.
        device: of its tensors.

    Raises:
        CannotCompile: it cannot be loaded.
    """
    with explained("inductor"):
        runners: Any = vars(torch._C)["_aoti"]
        if device.type == "cpu":
            return runners.AOTIModelContainerRunnerCpu(str(library), 1).run
        return runners.AOTIModelContainerRunnerCuda(str(library), 1, str(device)).run


def _import_setuptools() -> None:
    """Import what inductor finds torch's headers with; it fails in processes where it cannot replace distutils."""
    if sys.version_info >= (3, 12) or "setuptools" in sys.modules:
        return
    with _variable(_DISTUTILS, "stdlib"):  # Python's own may stay
        importlib.import_module("setuptools")


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Tell what the disk of a folder refuses.

    Raises:
        CannotCompile: it refuses.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_REFUSES:  # such as a compiler that is missing
            raise
        reason = (
            f"{folder} cannot hold what is compiled ({error.strerror}): free space there, or set OPTRUN_COMPILED_DIR"
        )
        raise CannotCompile(reason) from error


@contextmanager
def _inductors_folder() -> Iterator[Path]:
    """Let inductor keep its files in the folder of compiled code.

    Raises:
        CannotCompile: the folder cannot be used.
    """
    folder = private_folder()
    with _lock, _variable(_VARIABLE, str(folder)):
        yield folder


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
