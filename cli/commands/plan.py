"""`optrun plan`: what a run would do, before it is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from .. import command as shared

if TYPE_CHECKING:
    from ...experiments.studies.plan.firing import Firing
    from ...experiments.studies.plan.run_plan import Group, Plan

_MOST_ROWS = 12  # rates that are listed; --json has them all


@shared.command(
    "plan",
    section="Configure",
    examples="""
    optrun plan mom  # steps, hooks, rates, duration
    optrun plan mom train.epochs=200 --no-probe  # takes no step
    optrun plan mom --json | jq '.duration.secs'
    """,
)
@shared.target_argument("TARGET [KEY=VALUE]...")
@click.option("--no-probe", is_flag=True, help="Take no step; leaves out duration and sizes.")
@shared.json_option
def command(arguments: tuple[str, ...], no_probe: bool, as_json: bool) -> None:
    """Print what a run of TARGET would do, without doing it.

    The parts of a step, the hooks and when they are called, the rates, the
    checkpoints, and about how long it takes: a few real steps are measured
    and thrown away. TARGET is as in `optrun train`; nothing is downloaded.
    """
    target, overrides = shared.split_target(arguments, default=None)

    from ...experiments.studies.plan import plan
    from ...experiments.training.load import load_config
    from ..terminal.console import result, result_json, show_log

    show_log()
    made = plan(load_config(target, overrides), measure=not no_probe)
    if as_json:
        content = dataclasses.asdict(made)
        listed = {name: [each._asdict() for each in getattr(made, name)] for name in ("parts", "rates")}
        result_json("optrun/plan@1", **{**content, **listed})
    else:
        result(_lines(made))


def _lines(plan: Plan) -> list[str]:
    from ..terminal.console import filled, table

    lines = [plan.name, *_facts(plan), "", "a step", *_laid_out(list(_steps(plan)))]
    lines += ["", "hooks, in the order in which they are called"]
    lines += _laid_out([_hook(firing) for firing in plan.hooks])
    lines += ["", *filled(plan.schedule, 2, "rates, by ")]
    lines += [f"  {line}" for line in table(list(_rates(plan)), right=(0, 1, 2))]
    for note in plan.notes:
        lines += ["", *filled(note, 2, "note: ")]
    return lines


def _facts(plan: Plan) -> Iterator[str]:
    from ..terminal.console import filled

    splits = ", ".join(f"{name} {size:,}" for name, size in plan.splits.items())
    facts = {
        "model": f"{plan.num_parameters:,} parameters",
        "data": f"{splits} examples",
        "length": _length(plan),
        "device": f"{plan.device} · {plan.precision} · {_count(plan.threads, 'thread')} · seed {plan.seed}",
        "saves": _saves(plan),
        "disk": _disk(plan),
        "duration": _duration(plan),
    }
    for name, text in facts.items():
        yield from filled(text, 13, f"  {name:<10} ")


def _length(plan: Plan) -> str:
    evaluations = f" · {_count(plan.num_evaluations, 'evaluation')}" if plan.num_evaluations is not None else ""
    budget = f" · at most {_secs(plan.max_secs)}" if plan.max_secs is not None else ""
    if plan.num_steps is None:
        epoch = f"an epoch is {_count(plan.steps_per_epoch, 'step')}"
        return f"as many steps as there is time for · {epoch}{budget}{evaluations}"
    epochs = f"{_count(round(plan.num_epochs or 0, 2), 'epoch')} of {_count(plan.steps_per_epoch, 'step')}"
    examples = f"{plan.num_examples:,} examples drawn"
    return f"{_count(plan.num_steps, 'step')} · {epochs} · {examples}{evaluations}{budget}"


def _saves(plan: Plan) -> str:
    saves = plan.saves
    count = f": {saves.count} with the last one" if saves.count is not None else ", and at the end"
    best = "" if saves.num_best == 0 else ", more" if saves.num_best is None else f", up to {saves.num_best:,} more"
    best += " for the best so far" if best else ""
    kept = f"; at most {_count(saves.most_files, 'file')} kept" if saves.most_files is not None else ""
    return f"{saves.trigger}{count}{best}{kept}"


def _disk(plan: Plan) -> str:
    saves = plan.saves
    if saves.num_bytes is None:
        return "not measured"
    grows = ", still growing: the optimizer keeps more as it goes" if saves.grows else ""
    one = f"{_bytes(saves.num_bytes)} a checkpoint{grows}"
    if saves.most_files is None:
        return one
    return f"{one} · {_bytes(saves.num_bytes * (saves.most_files + 1))} at the most"  # while one more is written


def _duration(plan: Plan) -> str:
    probe, duration = plan.probe, plan.duration
    if probe is None or duration is None:
        return "not measured"
    low, high = _secs(duration.low_secs), _secs(duration.high_secs)
    steps = f", {_count(duration.num_steps, 'step')}" if plan.num_steps is None else ""
    step = f"{1000 * probe.step_secs[1]:.3g} ms a step, {_count(probe.num_steps, 'step')} measured here and now"
    if plan.max_secs is not None and duration.secs >= plan.max_secs:
        return f"{_secs(duration.secs)}, the time budget{steps}; {step}"
    return f"about {_secs(duration.secs)}, between {low} and {high}{steps}; {step}"


def _steps(plan: Plan) -> Iterator[Sequence[str]]:
    hooks = [firing.name for firing in plan.hooks if "after_gradients" in firing.events]
    for number, part in enumerate(plan.parts, start=1):
        inside = "  " if part.within else ""
        what = ", ".join(hooks) if part.name == "after_gradients" else part.what
        yield f"{number:>2}", f"{inside}{part.name}", what
        if part.name == "optimizer":
            for group in plan.groups:
                yield "", "", _group(group)


def _group(group: Group) -> str:
    size = f"{_count(group.num_parameters, 'parameter')} in {_count(group.num_tensors, 'tensor')}"
    return f"{size}: " + " ".join(f"{name}={_plain(value)}" for name, value in group.settings.items())


def _hook(firing: Firing) -> Sequence[str]:
    if not firing.events:
        return firing.name, firing.phase, "not within steps"
    when = firing.trigger
    if firing.count is not None and when != "every step":
        times = _count(firing.count, "time")
        listed = [f"{step:,}" for step in firing.first]
        if firing.count > len(listed):
            listed += ["…"] if firing.count > len(listed) + 1 else []
            listed.append(f"{firing.last:,}")
        when += f": {', '.join(listed)} ({times})" if listed else ": never in this run"
    return firing.name, firing.phase, when


def _rates(plan: Plan) -> Iterator[Sequence[str]]:
    yield "step", "rate before", "rate"
    shown = plan.rates if len(plan.rates) <= _MOST_ROWS else [*plan.rates[: _MOST_ROWS - 1], plan.rates[-1]]
    for place, rate in enumerate(shown):
        if place and place == len(shown) - 1 and len(shown) < len(plan.rates):
            yield f"({len(plan.rates) - len(shown):,} more)", "", ""
        yield f"{rate.step:,}", "" if rate.before is None else f"{rate.before:.6g}", f"{rate.at:.6g}"


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _count(number: float, noun: str) -> str:
    from ..terminal.charts import count

    return count(number, noun)


def _secs(secs: float) -> str:
    from ..terminal.charts import duration

    return f"{secs:.1f} s" if secs < 60 else duration(secs)


def _bytes(number: int) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"


def _laid_out(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows in columns, the last of which is filled to the width."""
    from ..terminal.console import filled, table

    heads = table([[*row[:-1], "|"] for row in rows])  # the last mark keeps the columns' spaces
    lines = []
    for head, row in zip(heads, rows, strict=True):
        lines += filled(row[-1], len(head) + 3, f"  {head[:-1]}")
    return lines
