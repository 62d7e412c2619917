"""A problem: what a run has to learn and how it is judged, whatever optimizer does it.

Entries are compared seed by seed, so they must be judged alike: on the same data, split the same way, by one metric.
Where these agree but the model, the loss or the length of training differ, runs can be paired, and yet it is another
problem that is solved; that is refused where nobody asked for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Config, ConfigError, Problem
from ..config.changes import changed_keys, look_up
from ..config.values import value_text
from ..errors import UsageError, in_python
from ..report.style import listing
from .entry import Entry

_SPLIT = ("val", "test", "split_seed", "subset")  # of data: what decides which examples judge
_BATCHES = ("batch_size", "drop_last", "augment")  # of data: what training makes of its examples
_COMPUTING = ("eval_batch_size", "workers")  # of data: how it is computed
_LENGTH = ("epochs", "steps", "max_time", "accumulate", "l2")  # of train
_JUDGED = ("metric", "mode", "target")  # of eval
ACROSS = f"--across-problems{in_python('--across-problems')}"
_MOST_SAID = 6  # differences in one message


@dataclass(frozen=True)
class Difference:
    """A key in which the problems of two entries differ.

    Args:
        key: as a configuration has it.
        one, other: the entries.
        values: what each has; None for nothing.
        pairable: whether runs can be paired all the same.
    """

    key: str
    one: Entry
    other: Entry
    values: tuple[Any, Any]
    pairable: bool

    def __str__(self) -> str:
        one, other = map(_text, self.values)
        return f"{self.key} is {one} in {self.one.name} and {other} in {self.other.name}"


def problem_of(config: Config, judged_by: Collection[str]) -> dict[str, Any]:
    """Return the part of a configuration that says what has to be learned and how it is judged, as plain data.

    Args:
        config: of an entry.
        judged_by: the metrics that judge, such as `test/accuracy`; how often a target is looked for joins them.
    """
    plain = config.to_dict()
    labels = {metric.partition("/")[2] for metric in judged_by}
    data = {key: value for key, value in plain["data"].items() if key not in _COMPUTING}
    judged = {key: plain["eval"][key] for key in _JUDGED}
    if config.eval.target is not None:
        judged["every"] = plain["eval"]["every"]  # who looks more often sees it sooner
    metrics = {part.label: values for part, values in zip(config.metrics, plain["metrics"], strict=True)}
    return {
        "data": data,
        "eval": judged,
        "metrics": {label: values for label, values in metrics.items() if label in labels},
        "model": plain["model"],
        "init": plain["init"],
        "loss": plain["loss"],
        "train": {key: plain["train"][key] for key in _LENGTH},
        "stop": {key: value for key, value in plain["stop"].items() if key != "on_nan"},
    }


def differing(entries: Sequence[Entry], judged_by: Collection[str]) -> list[Difference]:
    """List in which keys the problem of each entry differs from that of the first, the gravest first."""
    first, found = entries[0], []
    labels = {metric.partition("/")[2] for metric in judged_by}
    before = problem_of(first.config, judged_by)
    for entry in entries[1:]:
        after = problem_of(entry.config, judged_by)
        changes = changed_keys(before, after)
        renamed = [change.key.removesuffix("name") for change in changes if change.key.endswith(".name")]
        for key, was, now, _ in changes:
            is_detail = any(key.startswith(part) and key != f"{part}name" for part in renamed)
            of_split = key.partition(".")[2] in (*_SPLIT, *_BATCHES)
            if key == "eval.every" and None in (was, now):
                continue  # only one has a target, which is said already
            if not is_detail or (key.startswith("data.") and of_split):  # else it belongs to another component
                found.append(Difference(key, first, entry, (was, now), not _judges(key, labels)))
    return sorted(found, key=lambda each: each.pairable)


def _judges(key: str, labels: Collection[str]) -> bool:
    section, _, rest = key.partition(".")
    if section == "data":
        return rest.partition(".")[0] not in _BATCHES
    return section in ("eval", "metrics") or (section == "loss" and "loss" in labels)


def check_problems(entries: Sequence[Entry], judged_by: Collection[str], across: bool, one_command: str = "") -> bool:
    """Refuse entries that answer different questions; return whether their runs can be paired.

    Args:
        entries: all of a comparison.
        judged_by: the endpoint, and the metric that choices are made by.
        across: the user says that different problems are meant.
        one_command: how to ask the question that was probably meant, for messages; empty for no idea.

    Raises:
        ConfigError: entries have other data, another split or another metric, and that is not meant.
        UsageError: an entry of the user's own stands beside one of the program's presets, on another problem.
    """
    found = differing(entries, judged_by)
    apart = [each for each in found if not each.pairable]
    if across:
        if judged := [each for each in apart if each.key in ("eval.metric", "eval.mode")]:
            raise ConfigError([_unpairable(each) for each in judged])  # no table could hold them
        return not apart
    if found and len({entry.shipped for entry in entries}) == 2:
        raise UsageError(_mixed(entries, found, one_command))
    if apart:
        raise ConfigError([_unpairable(each) for each in apart])
    return True


def _unpairable(difference: Difference) -> Problem:
    key, other = difference.key, difference.other
    one, two = map(_text, difference.values)
    message = f"{two} in {other.name} and {one} in {difference.one.name}: {_WHY[key.partition('.')[0]]}"
    if key.startswith("eval."):
        way_out = f"give all the same{'' if key.startswith('eval.every') else ', by an override'}: {key}=…"
        way_out = "say --target VALUE (in Python `target=`)" if key == "eval.target" else way_out
    else:
        way_out = f"give all the same {key}; or {ACROSS} if that is meant, without pairs and tests"
    return Problem(other.config.origin(key), key, "unpairable", message, way_out)


_WHY = {
    "data": "runs on different data, or other splits of it, cannot be paired",
    "eval": "runs that are judged differently cannot be paired",
    "metrics": "runs that are judged differently cannot be paired",
    "loss": "the endpoint is a loss, and runs with different ones cannot be paired",
}


def _mixed(entries: Sequence[Entry], found: Sequence[Difference], one_command: str) -> str:
    own = next(entry.name for entry in entries if not entry.shipped)
    theirs = [entry.name for entry in entries if entry.shipped]
    said = list(dict.fromkeys(map(str, found)))
    more = f"; and {len(said) - _MOST_SAID} more" if len(said) > _MOST_SAID else ""
    message = f"{listing(theirs)} would run on another problem than {own}:\n"
    message += "\n".join(f"  {each}" for each in said[:_MOST_SAID]) + more
    if one_command:
        message += f"\nThe same optimizers on the problem of {own}: {one_command}"
    return f"{message}\nIf different problems are meant, add {ACROSS}"


def problem_words(configs: Sequence[Mapping[str, Any]]) -> str:
    """Return what all entries have to learn, in words: `wine with mlp, 4 epochs`; only what they have in common.

    Args:
        configs: of the entries, as plain data.
    """

    def common(key: str) -> Any:
        values = [look_up(config, key) for config in configs]
        return values[0] if all(value == values[0] for value in values) else None

    data, model = common("data.name"), common("model.name")
    if data is None or any(_judged_data(config) != _judged_data(configs[0]) for config in configs):
        return ""
    said = str(data).rpartition(":")[2]
    if data == "openml":
        said = f"openml {common('data.data_id')}"
    elif data in ("arff", "csv", "parquet") and isinstance(path := common("data.path"), str):
        said = path.rpartition("/")[2]
    if model is not None:
        said += f" with {str(model).rpartition(':')[2]}"
    epochs, steps, time = (common(f"train.{key}") for key in ("epochs", "steps", "max_time"))
    length = f"{epochs} epochs" if epochs else f"{steps} steps" if steps else f"{time}" if time else ""
    length = length[:-1] if length in ("1 epochs", "1 steps") else length
    return f"{said}, {length}" if length else said


def _judged_data(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config["data"].items() if key not in (*_BATCHES, *_COMPUTING)}


def _text(value: Any) -> str:
    return "not set" if value is None else value_text(value)
