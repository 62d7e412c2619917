"""What compiled code depends on, as text: a graph, the tensors that it takes, and the machine."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....system.storage import read_bytes

_KNOWN = ("torch", "_operator", "operator", "builtins", "math")  # whose functions torch's version says all about
_VARIABLES = ("TORCHINDUCTOR_", "AOT_INDUCTOR_", "CXX", "ATEN_CPU_CAPABILITY")
_ELSEWHERE = "TORCHINDUCTOR_CACHE_DIR"  # where, not what


def digest(parts: Iterable[Any]) -> str:
    """Return a name for what is written as such parts."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


def text_of(graph: torch.fx.GraphModule) -> str | None:
    """Return all that a graph computes as text; None if a part of it is somebody's function, or holds numbers."""
    lines: list[str] = []
    for node in graph.graph.nodes:
        target = node.target
        if node.op == "get_attr":
            held = graph.get_submodule(target) if target in dict(graph.named_modules()) else None
            target = text_of(held) if isinstance(held, torch.fx.GraphModule) else None
        elif node.op == "call_function":
            target = _name_of(target)
        elif node.op not in ("placeholder", "output", "call_method"):
            target = None
        given = repr((node.args, dict(node.kwargs)))
        if target is None or " at 0x" in given:
            return None
        lines.append(f"{node.name} {node.op} {target} {given}")
    return "\n".join(lines)


def kinds_of(tensors: Sequence[Tensor]) -> str:
    """Return shapes, strides and kinds of tensors as text, and which of them are the same or share their numbers."""
    places: dict[int, int] = {}
    found = []
    for place, tensor in enumerate(tensors):
        shared = places.setdefault(tensor.untyped_storage().data_ptr(), place)
        kind = (tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)
        found.append((type(tensor).__name__, *kind, shared if tensor.numel() else place))
    return repr(found)


def _name_of(function: Any) -> str | None:
    if isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return str(function) if function.namespace in ("aten", "prims") else None  # type: ignore[union-attr]
    name = getattr(function, "__name__", None)
    if name is not None and getattr(torch, name, None) is function:  # C functions do not say whose they are
        return f"torch.{name}"
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", name)
    if module is None or name is None or module.split(".")[0] not in _KNOWN:
        return None
    return f"{module}.{name}"


def machine() -> str:
    """Return what code depends on besides its graph: torch and its settings, this package, the processor, the compiler.

    Libraries use all instructions of the processor that they were made on: in a home that several machines share, one
    of another kind must not find them.
    """
    variables = sorted((k, v) for k, v in os.environ.items() if k.startswith(_VARIABLES) and k != _ELSEWHERE)
    settings = (
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.mkldnn.enabled,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.deterministic,
    )
    inductor = sys.modules.get("torch._inductor.config")
    own = inductor.get_hash() if inductor is not None else b""
    return repr((_installed(), settings, variables, own))


@functools.cache
def _installed() -> tuple[str, ...]:
    step = Path(__file__).parents[1]
    components = step.parents[1] / "components"
    folders = (step, components / "optimizers", components / "updates")  # of which rules and steps are made
    sources = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    code = hashlib.sha256(b"".join(map(read_bytes, sources))).hexdigest()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    version = (torch.__version__, str(torch.version.git_version), sys.version, platform.platform())
    return (*version, code, _processor(), device, *map(_compiler, ("g++", "clang++", "cc")))


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return platform.processor()
    lines = file.read_text().splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _compiler(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        return ""
    file = Path(found).resolve()
    return f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}"
