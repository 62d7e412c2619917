"""`sweep`: one target, several values of one key, each on several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..run_directory.run_dir import default_root
from ..system import ranks
from ..system.places import absolute, held_places
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from .compare import listed_overrides
from .events import OnEvent, watched
from .protocol import FIRST_TUNING_SEED, sweep_name, sweep_protocol
from .result import Comparison
from .runner import Runner
from .sweep_values import checked_entry, parse_spec, spec_of
from .tuning import Tuning


@held_places()
@held_switches()
@refusing_exits()
def sweep(
    target: str | Path | Mapping[str, Any],
    key: str,
    spec: str | Sequence[Any],
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    trials: int | None = None,
    seeds: int = 2,
    method: str = "grid",
    jobs: int | None = None,
    fresh: bool = False,
    root: Path | None = None,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> Comparison:
    """Try several values of one key, and see how much depends on it: a comparison that ends with its trials.

    Args:
        target: a preset, a file, an optimizer's name, or the configuration itself.
        key: what to sweep: `optimizer.lr`.
        spec: `log:1e-3:1`, `lin:0:1`, `int:2:8`, or the values: `a,b,c`, or a list of them.
        overrides: `key=value`, or values by key.
        trials: how many values of a range; 9 by default.
        seeds: for each value.
        method: `grid` or `random`.
        jobs: runs at a time; by default one for each core.
        fresh: repeat runs that are there already.
        root: the folder of runs.
        on_event: is told of the plan and of progress.
        progress: show how far it is, as `train` does.

    Raises:
        UsageError: the target or the range means nothing.
        ConfigError: one of the values is refused, located at it.
    """
    ranks.refuse_several("sweep")
    on_event = watched(on_event, progress)
    if method not in ("grid", "random"):
        raise UsageError(f"no method '{method}': use grid or random")
    target = target if isinstance(target, Mapping) else str(target)
    overrides = listed_overrides(overrides)
    spec = spec if isinstance(spec, str) else spec_of(key, spec)
    if any(override.partition("=")[0] == "seed" for override in overrides) or key == "seed":
        raise UsageError("seed: each value runs with the same seeds, those of tuning; --seeds says with how many")
    root = default_root() if root is None else absolute(root)
    values = parse_spec(key, spec, trials, method, FIRST_TUNING_SEED)
    entry = checked_entry(target, key, spec, values, overrides, root)
    ascending = sorted(values) if all(isinstance(value, int | float) for value in values) else values
    protocol = sweep_protocol(entry, f"{key}={spec}", len(values), seeds=seeds, method=method, jobs=jobs)
    name, tunings = sweep_name(entry, key, values, seeds, root), {entry.name: Tuning(key, ascending, protocol.select)}
    return Runner("sweep", root / name, [entry], protocol, tunings, fresh=fresh, on_event=on_event).run()
