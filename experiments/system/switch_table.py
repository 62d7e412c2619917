"""Every process-wide switch of torch, of the libraries beside it and of Python that changes numbers, or later code."""

from __future__ import annotations

import decimal
import functools
import locale
import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

#: Variables that libraries read for the number of their threads, and for the kernels that they choose.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_DYNAMIC", "MKL_DYNAMIC")
VARIABLES = (
    *THREAD_VARIABLES,
    *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "OPENBLAS_CORETYPE"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
    *("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
OWN = object()  # stands for the usual value of what each process has its own of


@dataclass(frozen=True)
class Switch:
    """One switch.

    Args:
        get: returns its value, as JSON has it.
        usual: its value in a process that nobody has turned it in.
        put: sets it; None where that is not possible.
        is_numeric: whether it changes numbers of a run; else it only changes what later code meets.
    """

    get: Callable[[], Any]
    usual: Any
    put: Callable[[Any], object] | None = None
    is_numeric: bool = True


def _backend(path: str, usual: Any) -> Switch:
    """Return the switch that is an attribute below `torch.backends`."""
    *owners, name = path.split(".")

    def owner() -> Any:
        return functools.reduce(getattr, owners, torch.backends)

    return Switch(lambda: getattr(owner(), name), usual, lambda value: setattr(owner(), name, value))


def _precision(path: str) -> Switch:
    """Return a switch of float32's precision, of which two values mean the same where nothing else is said."""
    raw = _backend(path, "none")
    return Switch(lambda: "none" if (value := raw.get()) == "ieee" else value, "none", raw.put)


def _variable(name: str) -> Switch:
    def put(value: str | None) -> None:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

    return Switch(lambda: os.environ.get(name), None, put)


def _default_device() -> str:
    return str(torch.get_default_device())


def _flushes_denormals() -> bool:
    return (torch.full((), 5e-324, dtype=torch.float64, device="cpu") * 1.0).item() == 0.0


def _numpy_errors() -> str:
    return " ".join(f"{kind}={action}" for kind, action in np.geterr().items())


def _strict_warnings() -> int:
    return sum(each[0] == "error" for each in warnings.filters)


def _put_strict_warnings(count: int) -> None:
    strict = [each for each in warnings.filters if each[0] == "error"]
    for each in strict[: max(0, len(strict) - count)]:  # the newest stand first
        warnings.filters.remove(each)  # type: ignore[attr-defined] (it is a list)


def _handlers() -> str:
    return " ".join(getattr(signal.getsignal(each), "__qualname__", "default") for each in (2, 15))


def _limits() -> str:
    if sys.platform == "win32":
        return ""
    import resource

    return " ".join(str(resource.getrlimit(each)[0]) for each in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE))


def _put_decimal(value: str) -> None:
    precision, rounding = value.split()
    decimal.getcontext().prec, decimal.getcontext().rounding = int(precision), rounding


def _autocast(device: str) -> dict[str, Switch]:
    kind = {"cpu": "bfloat16", "cuda": "float16"}[device]
    return {
        f"autocast on {device}": Switch(
            lambda: torch.is_autocast_enabled(device), False, lambda on: torch.set_autocast_enabled(device, on)
        ),
        f"autocast dtype on {device}": Switch(
            lambda: _name(torch.get_autocast_dtype(device)),
            kind,
            lambda name: torch.set_autocast_dtype(device, getattr(torch, name)),
        ),
    }


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _put_dtype(name: str) -> None:
    torch.set_default_dtype(getattr(torch, name))


def _put_device(name: str) -> None:
    torch.set_default_device(None if name == "cpu" else name)


_ANOMALY = Switch(torch.is_anomaly_enabled, False, lambda on: torch.set_anomaly_enabled(on))
_FP16_ON_CPU = "cpu_allow_fp16_reduced_precision_reduction"
_FILL = torch.utils.deterministic

#: All of them, by the names that users are told.
SWITCHES: dict[str, Switch] = {
    "default dtype": Switch(lambda: _name(torch.get_default_dtype()), "float32", _put_dtype),
    "default device": Switch(_default_device, "cpu", _put_device),
    "threads": Switch(torch.get_num_threads, OWN, torch.set_num_threads),
    "interop threads": Switch(torch.get_num_interop_threads, OWN),
    "gradients": Switch(torch.is_grad_enabled, True, torch._C._set_grad_enabled),
    "inference mode": Switch(torch.is_inference_mode_enabled, False),
    "forward gradients": Switch(torch._C._is_fwd_grad_enabled, True, torch._C._set_fwd_grad_enabled),
    "threads of gradients": Switch(torch._C._is_multithreading_enabled, True, torch._C._set_multithreading_enabled),
    "anomaly detection": _ANOMALY,
    "module hooks": Switch(lambda: len(torch.nn.modules.module._global_forward_hooks), 0),
    **_autocast("cpu"),
    **_autocast("cuda"),
    "autocast cache": Switch(torch.is_autocast_cache_enabled, True, torch.set_autocast_cache_enabled),
    "deterministic algorithms": Switch(torch.get_deterministic_debug_mode, 0, torch.set_deterministic_debug_mode),
    "filling of uninitialized memory": Switch(
        lambda: _FILL.fill_uninitialized_memory,  # type: ignore[attr-defined]
        True,
        lambda on: setattr(_FILL, "fill_uninitialized_memory", on),
    ),
    "flushing of denormals": Switch(_flushes_denormals, False, torch.set_flush_denormal),
    "float32 matmul precision": Switch(
        torch.get_float32_matmul_precision, "highest", torch.set_float32_matmul_precision
    ),
    **{f"{path}": _precision(path) for path in ("fp32_precision", "mkldnn.fp32_precision", "cudnn.fp32_precision")},
    **{f"mkldnn.{op}.fp32_precision": _precision(f"mkldnn.{op}.fp32_precision") for op in ("matmul", "conv", "rnn")},
    "mkldnn.enabled": _backend("mkldnn.enabled", True),
    "mkldnn.deterministic": _backend("mkldnn.deterministic", False),
    "cudnn.enabled": _backend("cudnn.enabled", True),
    "cudnn.benchmark": _backend("cudnn.benchmark", False),
    "cudnn.deterministic": _backend("cudnn.deterministic", False),
    "cudnn.allow_tf32": _backend("cudnn.allow_tf32", True),
    "cuda.matmul.allow_tf32": _backend("cuda.matmul.allow_tf32", False),
    "cuda.matmul.fp16 reduction": _backend("cuda.matmul.allow_fp16_reduced_precision_reduction", True),
    "cuda.matmul.bf16 reduction": _backend("cuda.matmul.allow_bf16_reduced_precision_reduction", True),
    "cuda.matmul.fp16 accumulation": _backend("cuda.matmul.allow_fp16_accumulation", False),
    "cpu fp16 reduction": Switch(
        lambda: getattr(torch._C, f"_get_{_FP16_ON_CPU}")(),  # newer than the oldest torch
        False,
        lambda on: getattr(torch._C, f"_set_{_FP16_ON_CPU}")(on),
    ),
    "cuda.blas": Switch(
        lambda: str(torch.backends.cuda.preferred_blas_library()).rpartition(".")[2].lower(),
        OWN,
        lambda name: torch.backends.cuda.preferred_blas_library(name),
    ),
    "cuda.linalg": Switch(
        lambda: str(torch.backends.cuda.preferred_linalg_library()).rpartition(".")[2].lower(),
        "default",
        lambda name: torch.backends.cuda.preferred_linalg_library(name),
    ),
    "sdp.flash": Switch(torch.backends.cuda.flash_sdp_enabled, True, torch.backends.cuda.enable_flash_sdp),
    "sdp.efficient": Switch(
        torch.backends.cuda.mem_efficient_sdp_enabled, True, torch.backends.cuda.enable_mem_efficient_sdp
    ),
    "sdp.math": Switch(torch.backends.cuda.math_sdp_enabled, True, torch.backends.cuda.enable_math_sdp),
    "sdp.cudnn": Switch(torch.backends.cuda.cudnn_sdp_enabled, True, torch.backends.cuda.enable_cudnn_sdp),
    "sdp.math reduction": Switch(
        torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed,
        False,
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp,
    ),
    "nnpack": Switch(torch._C._get_nnpack_enabled, True, torch._C._set_nnpack_enabled),
    "attention fast path": Switch(
        torch.backends.mha.get_fastpath_enabled, True, torch.backends.mha.set_fastpath_enabled
    ),
    "opt_einsum.enabled": _backend("opt_einsum.enabled", OWN),  # where the package is installed
    "opt_einsum.strategy": _backend("opt_einsum.strategy", OWN),
    "quantized engine": _backend("quantized.engine", OWN),
    "torchscript optimizing": Switch(
        torch._C._get_graph_executor_optimize, True, torch._C._set_graph_executor_optimize
    ),
    "numpy errors": Switch(
        _numpy_errors,
        OWN,
        lambda text: np.seterr(**dict(each.split("=") for each in text.split())),
    ),
    "decimal": Switch(lambda: f"{decimal.getcontext().prec} {decimal.getcontext().rounding}", OWN, _put_decimal),
    "locale": Switch(
        lambda: locale.setlocale(locale.LC_NUMERIC), OWN, lambda text: locale.setlocale(locale.LC_NUMERIC, text)
    ),
    "warnings as errors": Switch(_strict_warnings, OWN, _put_strict_warnings, is_numeric=False),
    "signal handlers": Switch(_handlers, OWN, is_numeric=False),
    "limits": Switch(_limits, OWN, is_numeric=False),
    **{name: _variable(name) for name in VARIABLES},
}
