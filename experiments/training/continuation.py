"""What is not as in an uninterrupted run, where a run goes on with another length, schedule or batch size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..components.schedules.rate import LearningRate
from ..components.schedules.resolve import configured_schedule
from ..config import Config, ConfigError
from ..config.changes import Change
from ..config.goal import with_modes
from ..config.lengths import RunLength
from ..errors import in_python
from ..run_directory import checkpoints
from ..run_directory.checkpoint_files import CheckpointFile
from .compatibility import run_length
from .configured_data import cut_of
from .experiment import Experiment

_OF_BATCHES = ("data.batch_size", "data.drop_last")


def changes_batches_alone(changes: Sequence[Change]) -> bool:
    """Return True if the data is as it was, and only cut into other batches."""
    of_data = [change.key for change in changes if change.key.startswith("data.")]
    return bool(of_data) and all(key in _OF_BATCHES for key in of_data)


def what_differs(
    before: Config,
    recorded: tuple[int, int | None] | None,
    experiment: Experiment,
    changes: Sequence[Change],
    saved: CheckpointFile,
) -> Iterator[str]:
    """Yield sentences on where the run goes on, and on what an uninterrupted one would have done otherwise.

    Args:
        before: the configuration that the run has had.
        recorded: the size of its batches, and how many an epoch had; None where it does not say.
        experiment: built from the new one.
        changes: between the two.
        saved: the checkpoint that it goes on from.

    Raises:
        ConfigError: the run would have to end before the step that it has reached; located at its length.
    """
    size, per_epoch = recorded or _cut_before(before, experiment)
    was, now = run_length(before, per_epoch), experiment.length
    if was == now and not any(change.key.startswith("schedule") for change in changes):
        return
    _refuse_shorter(experiment.config, now, saved.step)
    if was.num_steps != now.num_steps:
        yield f"it goes on from step {saved.step} to {_steps(now)}, where it had {_steps(was)} before"
    has_epochs = was.steps_per_epoch is not None and now.steps_per_epoch is not None
    if has_epochs and (size != experiment.batches.batch_size or any(change.key in _OF_BATCHES for change in changes)):
        yield _batches(was, now, saved)
    old, new = _rates(before, was, experiment, saved.step)
    if not math.isclose(old, new, rel_tol=1e-6):
        yield (
            f"it goes on at the rate {new:g}, and the configuration before had {old:g} there: what counts in per "
            "cent or epochs is measured over the new run, and the steps until now have had the rates of the old one"
        )


def _refuse_shorter(config: Config, now: RunLength, step: int) -> None:
    """Raise a located error where the new end has been passed."""
    if now.num_steps is None or now.num_steps >= step:
        return
    key = "train.epochs" if config.train.epochs is not None else "train.steps"
    raise _problem(config, key, now.num_steps, step)


def _problem(config: Config, key: str, num_steps: int, step: int) -> ConfigError:
    return config.problem(
        key,
        f"the run has taken {step} steps, more than the {num_steps} that this asks for, and steps are not taken back",
        f"give at least {step} steps, or start again with another name (or --fresh){in_python('--fresh')}",
        also=["data.batch_size"],
    )


def _cut_before(before: Config, experiment: Experiment) -> tuple[int, int | None]:
    """Return the size of batches and the steps of an epoch that the configuration before makes of the data as it is."""
    cut = cut_of(before, experiment.splits)
    return cut.batch_size, cut.steps_per_epoch


def _batches(was: RunLength, now: RunLength, saved: CheckpointFile) -> str:
    """Return where in the data the run goes on: batches are counted on, and lie elsewhere in the epochs."""
    _, facts = checkpoints.load(saved)
    batch = facts["state"]["counters"]["batch"]
    assert was.steps_per_epoch is not None
    assert now.steps_per_epoch is not None
    return (
        f"batches are counted on, so that it goes on at batch {batch}: that is epoch {batch / now.steps_per_epoch:.4g} "
        f"of the data in batches of the new size, and was {batch / was.steps_per_epoch:.4g} in those of the old one; "
        "an epoch's order of examples is the same"
    )


def _rates(before: Config, was: RunLength, experiment: Experiment, step: int) -> tuple[float, float]:
    """Return the rate of a step by the configuration before, and by the new one, for the optimizer as it is now."""
    old = configured_schedule(with_modes(before, before.schedule), was, before.seed, before.schedule.warmup)
    optimizer = experiment.train_op.optimizer
    last = step if was.num_steps is None else min(step, max(0, was.num_steps - 1))  # the last one that it had
    return LearningRate.of(old, optimizer)(last), LearningRate.of(experiment.schedule, optimizer)(step)


def _steps(length: RunLength) -> str:
    return "the end of its time" if length.num_steps is None else str(length.num_steps)
