"""A plan in words: the facts of a run, the parts of a step, the hooks, the rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...experiments.report.style import many, seconds
from ...experiments.report.tables.table import aligned
from ..terminal.console import filled
from .run_text import setting_text

if TYPE_CHECKING:
    from ...experiments.components.initializers.matching import InitialWeights
    from ...experiments.studies.plan.firing import Firing
    from ...experiments.studies.plan.run_plan import Group, Plan
    from ...experiments.studies.plan.selections import Selection
    from ...experiments.studies.plan.stages import Stage

_MOST_NAMES = 4  # parameters that are listed of a selector; --json has them all
_MOST_ROWS = 12  # rates that are listed; --json has them all


def plan_lines(plan: Plan) -> list[str]:
    """Return the lines that say what a run would do."""
    lines = [plan.name, *_facts(plan), "", "a step", *_laid_out(list(_steps(plan)))]
    if plan.selections:
        lines += ["", "selectors, and what they match", *_laid_out([_selection(each) for each in plan.selections])]
    if plan.stages:
        lines += ["", "trained", *_laid_out([_stage(stage, plan.num_steps) for stage in plan.stages])]
    lines += initial_lines(plan.initial) if plan.initial else []
    lines += ["", "hooks, in the order in which they are called"]
    lines += _laid_out([_hook(firing) for firing in plan.hooks])
    lines += ["", *filled(plan.schedule, "rates, by ", 2)]
    lines += [f"  {line}" for line in aligned(list(_rates(plan)), right=(0, 1, 2))]
    for note in plan.notes:
        lines += ["", *filled(note, "note: ", 2)]
    return lines


def initial_lines(initial: InitialWeights) -> list[str]:
    """Return the lines that say which weights a run begins with: all that is not simply the same on both sides."""
    part = f" ({initial.part})" if initial.part else ""
    lines = ["", *filled(f"{many(initial.num_taken, 'tensor')} from {initial.source}{part}", "initial weights: ", 2)]
    for note in initial.notes:
        lines += filled(note, "  ", 4)
    special = initial.special()
    rows = [
        (m.ours or "", m.theirs or "", _shape(m.shape), f"{m.what}{', ' if m.note else ''}{m.note}") for m in special
    ]
    if rows:
        lines += _laid_out([("here", "there", "shape", ""), *rows[:_MOST_ROWS]])
    if rows[_MOST_ROWS:]:
        lines.append(f"  ({len(rows) - _MOST_ROWS:,} more; --json has all)")
    return lines


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "1 number"


def _facts(plan: Plan) -> Iterator[str]:
    splits = ", ".join(f"{name} {size:,}" for name, size in plan.splits.items() if size is not None)
    streamed = "".join(f"{name} a stream, " for name, size in plan.splits.items() if size is None)
    facts = {
        "model": f"{plan.num_parameters:,} parameters",
        "data": f"{streamed}{splits} examples" if splits else streamed.removesuffix(", "),
        "length": _length(plan),
        "device": f"{plan.device} · {plan.precision} · {many(plan.threads, 'thread')} · seed {plan.seed}",
        "blocks": _blocks(plan),
        "saves": _saves(plan),
        "disk": _disk(plan),
        "duration": _duration(plan),
    }
    for name, text in facts.items():
        yield from filled(text, f"  {name:<10} ")


def _length(plan: Plan) -> str:
    evaluations = f" · {many(plan.num_evaluations, 'evaluation')}" if plan.num_evaluations is not None else ""
    budget = f" · at most {seconds(plan.max_secs)}" if plan.max_secs is not None else ""
    if plan.num_steps is None:
        epoch = f" · an epoch is {many(plan.steps_per_epoch, 'step')}" if plan.steps_per_epoch else ""
        return f"as many steps as there is time for{epoch}{budget}{evaluations}"
    epochs = "without epochs"
    if plan.steps_per_epoch is not None:
        epochs = f"{many(round(plan.num_epochs or 0, 2), 'epoch')} of {many(plan.steps_per_epoch, 'step')}"
    examples = f"{plan.num_examples:,} examples drawn"
    return f"{many(plan.num_steps, 'step')} · {epochs} · {examples}{evaluations}{budget}"


def _blocks(plan: Plan) -> str:
    by, every = ", ".join(plan.blocks.shortened_by), plan.blocks.looks_every
    if plan.blocks.longest == 1:
        return f"of one step: {by} looks at every step" if every == 1 else f"of one step, by {by}"
    until = f" ({by} every {every:,} steps)" if by and every is not None else ""
    return f"up to {plan.blocks.longest:,} steps between two looks{until}, at most 0.2 s"


def _saves(plan: Plan) -> str:
    saves = plan.saves
    times = f": {saves.count} with the last one" if saves.count is not None else ", and at the end"
    best = "" if saves.num_best == 0 else ", more" if saves.num_best is None else f", up to {saves.num_best:,} more"
    best += " for the best so far" if best else ""
    kept = f"; at most {many(saves.most_files, 'file')} kept" if saves.most_files is not None else ""
    return f"{saves.trigger}{times}{best}{kept}"


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
    low, high = seconds(duration.low_secs), seconds(duration.high_secs)
    steps = f", {many(duration.num_steps, 'step')}" if plan.num_steps is None else ""
    step = f"{1000 * probe.step_secs[1]:.3g} ms a step, {many(probe.num_steps, 'step')} measured here and now"
    if plan.max_secs is not None and duration.secs >= plan.max_secs:
        return f"{seconds(duration.secs)}, the time budget{steps}; {step}"
    return f"about {seconds(duration.secs)}, between {low} and {high}{steps}; {step}"


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
    size = f"{many(group.num_parameters, 'parameter')} in {many(group.num_tensors, 'tensor')}"
    return f"{size}: " + " ".join(f"{name}={setting_text(value, ',')}" for name, value in group.settings.items())


def _selection(selection: Selection) -> Sequence[str]:
    layers = ", ".join(selection.layers)
    size = f"{many(len(selection.names), 'tensor')} of {layers}: {_some(selection.names)}"
    return selection.key, selection.selector, size if selection.names else "nothing"


def _stage(stage: Stage, num_steps: int | None) -> Sequence[str]:
    size = f"{many(stage.num_parameters, 'parameter')} in {many(stage.num_tensors, 'tensor')}"
    more = f", with {_some(stage.freed)}" if stage.freed else ""
    never = ": never in this run" if num_steps is not None and stage.step >= num_steps else ""
    return f"from step {stage.step:,}", f"{size}{more}{never}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _hook(firing: Firing) -> Sequence[str]:
    if not firing.events:
        return firing.name, firing.phase, "not within steps"
    when = firing.trigger
    if firing.count is not None and when != "every step":
        times = many(firing.count, "time")
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


def _bytes(number: int) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"


def _laid_out(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows in columns, the last of which is filled to the width."""
    heads = aligned([[*row[:-1], "|"] for row in rows])  # the last mark keeps the columns' spaces
    lines = []
    for head, row in zip(heads, rows, strict=True):
        lines += filled(row[-1], f"  {head[:-1]}", len(head) + 3)
    return lines
