"""`sweep`: one target, several values of one key or of several, each on several seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..run_directory.run_dir import default_root
from ..system import ranks
from ..system.places import absolute, held_places
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from .compare import listed_overrides
from .events import OnEvent, watched
from .options import check_verifying
from .protocol import FIRST_TUNING_SEED, sweep_name, sweep_protocol
from .result import Comparison
from .runner import Runner
from .sweep_settings import MOST_RUNS, Spec, check_number, checked_entry, entries_of_settings, specs_by_key, tuning_of
from .sweep_values import parse_spec
from .trying import try_building, workers_for


@held_places()
@held_switches()
@refusing_exits()
def sweep(
    target: str | Path | Mapping[str, Any],
    key: str | Mapping[str, Spec],
    spec: Spec | None = None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    trials: int | None = None,
    seeds: int = 2,
    method: str = "grid",
    most_runs: int = MOST_RUNS,
    jobs: int | None = None,
    engine: Literal["auto", "processes", "batched"] = "auto",
    verify_batched: int | None = None,
    fresh: bool = False,
    root: Path | None = None,
    on_event: OnEvent | None = None,
    progress: bool = False,
) -> Comparison:
    """Try values of one key, or of several, and see how much depends on them: a comparison that ends with its trials.

    Args:
        target: a preset, a file, an optimizer's name, or the configuration itself.
        key: what to sweep: `optimizer.lr`; or several keys, each with its `spec`, of which all combinations are tried:
            `{"optimizer.lr": [0.1, 0.3], "optimizer.momentum": [0.8, 0.9]}`.
        spec: of a single key: `log:1e-3:1`, `lin:0:1`, `int:2:8`, or the values: `a,b,c`, or a list of them.
        overrides: `key=value`, or values by key.
        trials: how many values of a range; 9 by default.
        seeds: for each setting.
        method: `grid` or `random`, which is for a single key.
        most_runs: of several keys: more are refused.
        jobs: runs at a time; by default one for each core.
        engine: see `compare`.
        verify_batched: see `compare`.
        fresh: repeat runs that are there already.
        root: the folder of runs.
        on_event: is told of the plan and of progress.
        progress: show how far it is, as `train` does.

    Raises:
        UsageError: the target or the range means nothing, or a key has no effect.
        ConfigError: one of the values is refused, located at it.
    """
    ranks.refuse_several("sweep")
    on_event = watched(on_event, progress)
    check_verifying(engine, verify_batched)
    if method not in ("grid", "random"):
        raise UsageError(f"no method '{method}': use grid or random")
    target = target if isinstance(target, Mapping) else str(target)
    overrides = listed_overrides(overrides)
    specs = specs_by_key(key, spec, overrides)
    if len(specs) > 1 and method == "random":
        raise UsageError("random draws the values of one key; of several keys all combinations are tried: use grid")
    root = default_root() if root is None else absolute(root)
    values = {name: parse_spec(name, each, trials, method, FIRST_TUNING_SEED) for name, each in specs.items()}
    if len(values) > 1:
        check_number(math.prod(map(len, values.values())), seeds, most_runs)
    settings = [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]
    asked = (target, specs, settings, overrides, root)
    entries = entries_of_settings(*asked)
    with workers_for(entries) as workers:
        entry = checked_entry(entries, *asked, partial(try_building, workers=workers))
        written = [f"{name}={each}" for name, each in specs.items()]
        protocol = sweep_protocol(entry, written, len(settings), seeds=seeds, method=method, jobs=jobs)
        tunings = {entry.name: tuning_of(values, protocol.select)}
        path = root / sweep_name(entry, values, seeds, root)
        options: dict[str, Any] = {"engine": engine, "verify_batched": verify_batched, "workers": workers}
        options |= {"fresh": fresh, "on_event": on_event}
        return Runner("sweep", path, [entry], protocol, tunings, **options).run()
