"""What torch's schedulers are called here, where schedules are functions of the step."""

from __future__ import annotations

import inspect

_HERE = {
    "StepLR": "step",
    "MultiStepLR": "piecewise",
    "ConstantLR": "piecewise",
    "LinearLR": "linear",
    "ExponentialLR": "exponential",
    "PolynomialLR": "polynomial",
    "CosineAnnealingLR": "cosine",
    "CosineAnnealingWarmRestarts": "cosine_restarts",
    "CyclicLR": "cyclic",
    "OneCycleLR": "one_cycle",
    "ReduceLROnPlateau": "plateau",
    "SequentialLR": "sequence",
}
_OWN = ("LambdaLR", "MultiplicativeLR", "ChainedScheduler")  # of functions, or of other schedulers
_BASES = ("LRScheduler", "_LRScheduler", "ReduceLROnPlateau")


def instead_of(meant: object) -> str | None:
    """Return what to name in place of one of torch's schedulers, in words; None for anything else.

    Args:
        meant: the name of its class, or such a class, of torch's or of the user's own.
    """
    name = meant if isinstance(meant, str) else _torch_name(meant)
    if name is None or (isinstance(meant, str) and name not in (*_HERE, *_OWN)):
        return None
    own = "write a function of the step, `def value(step): return …`, and name it as `./file.py:value`"
    way_out = f"name the schedule '{_HERE[name]}', which does the same" if name in _HERE else own
    return f"schedules are functions of the step, while torch's schedulers change an optimizer: {way_out}"


def _torch_name(meant: object) -> str | None:
    """Return the name of torch's class that a class is, or is derived from; None for what is no scheduler of torch's.

    Torch is not imported for it.
    """
    kind = meant if inspect.isclass(meant) else type(meant)
    names = [each.__name__ for each in kind.__mro__ if each.__module__ == "torch.optim.lr_scheduler"]
    is_scheduler = any(name in _BASES or name in (*_HERE, *_OWN) for name in names)
    if not is_scheduler:
        return None
    return names[0] if kind.__module__ == "torch.optim.lr_scheduler" else ""
