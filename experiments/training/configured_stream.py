"""What a configuration may ask of data that is a stream, and what there is to know of it before the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..components.data import AnyData, StreamBatches, StreamData
from ..config import Config, ConfigError


def check_stream(config: Config, data: AnyData) -> None:
    """Refuse keys that have no say where data is a stream, and one that has no say elsewhere.

    Raises:
        ConfigError: at each of them.
    """
    if not isinstance(data, StreamData):
        if config.data.eval_batches is not None:
            message = f"it says how much of a stream is measured, and no part of data '{config.data.name}' is one"
            raise config.problem("data.eval_batches", message, "leave it out")
        return
    label, problems = f"data '{config.data.name}' is a stream", []
    if config.data.sampling is not None:
        problems.append(config.problem("data.sampling", f"{label}, which comes in its own order", "leave it out"))
    if config.data.batch_size == "full":
        problems.append(config.problem("data.batch_size", f"{label}, which is never whole: give a number"))
    if problems:
        raise ConfigError(problem for each in problems for problem in each.problems)


def no_split(run: str, split: str, there: Sequence[str], data: AnyData) -> str:
    """Return the message that a run has no such part, with those that can be measured and the way out."""
    message = f"{run} has no split '{split}'"
    if isinstance(data, StreamData):
        why = "a stream, of which nobody has all examples" if split == "train" else "a stream, which is not split"
        message += f" that can be measured: its data is {why}, and measured are the parts that come with it"
    return f"{message}: {', '.join(there)} (--split {there[-1]})" if there else f"{message}: there is none"


def check_length(config: Config, batches: Any) -> None:
    """Refuse what is counted in epochs, where nobody knows how long one is.

    Raises:
        ConfigError: at `train.epochs` and `eval.every`.
    """
    if batches.steps_per_epoch is not None:
        return
    unknown = f"data '{config.data.name}' is a stream that does not say how long it is"
    problems = []
    if config.train.epochs is not None:
        hint = "give train.steps, or let it have a `__len__`: the number of its examples"
        problems.append(config.problem("train.epochs", f"{unknown}, and so is an epoch", hint))
    if config.eval.every.unit == "epochs":
        message = f"{unknown}, so that it cannot be evaluated every {config.eval.every}"
        problems.append(config.problem("eval.every", message, "say it in steps, or in per cent of the run: `10%`"))
    if problems:
        raise ConfigError(problem for each in problems for problem in each.problems)


def stream_notes(batches: Any) -> list[str]:
    """Return what cannot be repeated or resumed exactly, and what else is odd about a stream."""
    if not isinstance(batches, StreamBatches):
        return []
    notes, facts = [], batches.facts()
    if facts["resumes_by"] == "count":
        notes.append(
            f"{batches.name} has no state_dict and load_state_dict: a resumed run counts the batches of the reading "
            "that it was in and reads them again, which is exact only if each reading gives the same ones"
        )
    if not facts["is_repeatable"]:
        notes.append(
            f"{batches.name} gives other examples each time that it is read, so that no run on it can be repeated, and "
            "runs of a comparison do not see the same data. Let its order depend on `set_seed(seed)` and "
            "`set_epoch(epoch)`, which are called before each reading, or draw from torch, random or numpy.random"
        )
    if batches.has_doubles():
        notes.append(
            f"all {batches.data.loading.workers} workers begin with the same batch of {batches.name}: each seems to "
            "read the whole stream, so that every example comes several times. Let its `__iter__` read the share of "
            "its worker (torch.utils.data.get_worker_info), or use one worker"
        )
    return notes
