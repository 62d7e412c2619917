"""How long a run will take: a few steps of it, timed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .. import config as configuration
from ..components.registries import REGISTRIES
from ..errors import DivergedError
from ..system.raised import refusing_exits, type_and_text
from ..training.build import build
from ..training.step_timing import mean_secs, time_steps

log = logging.getLogger("optrun")

_PROBE_SECS = 0.2  # that the plan spends on timing steps
_UNKNOWN_STEPS = 1000  # of a run that a clock ends


def time_run(config: Mapping[str, Any]) -> float | None:
    """Take a few steps of a run, and return the seconds that all of them will take; None if it cannot take some.

    Args:
        config: of the run, as plain data.
    """
    try:
        with refusing_exits():
            return _time_run(config)
    except Exception as error:  # noqa: BLE001 (a failing entry must not end the others; its run will say why)
        log.debug("no estimate: %s", type_and_text(error))
        return None


def _time_run(config: Mapping[str, Any]) -> float | None:
    experiment = build(configuration.load(config, registries=REGISTRIES))
    op, num_steps = experiment.train_op, experiment.length.num_steps
    num_steps = _UNKNOWN_STEPS if num_steps is None else num_steps

    def take(size: int) -> int:
        for taken in range(size):
            try:
                op.run()
            except DivergedError:
                return taken
        return size

    if not take(1):  # which sets things up
        return None
    blocks = time_steps(take, experiment.device, _PROBE_SECS, lambda: op.compiled.compiling_secs)
    return mean_secs(blocks) * num_steps * 1.1 + 0.1 if blocks else None
