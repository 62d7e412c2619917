"""What is input and what is target in what a list, a loader or a stream gives for a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...errors import ArgumentsError, UsageError
from ...registry.calls import Calling, described
from ..weighted import Weighted
from .part import Batch
from .tree import entries
from .weights import refuse_odd_weights

#: Names under which the targets of a batch go without being asked for.
TARGET_NAMES = ("labels", "label", "targets", "target", "y")
Place = str | int
_OF_WEIGHTS = "loss.weights"
_WEIGHTS = Calling(_OF_WEIGHTS, "the choice of weights in a batch")


class BatchParts:
    """Takes batches apart into inputs and targets.

    A pair is (inputs, targets). Of more than two items the last is the target. In a mapping, a data class or a named
    tuple of more than two it is the entry called `labels`, `label`, `targets`, `target` or `y`, if exactly one of these
    is there. `inputs_from` and `targets_from` say it otherwise.

    Args:
        targets_from: name or index of the target; several make a dict of targets, by name, or a tuple, by index.
        inputs_from: name or index of the inputs, likewise; None takes all that is not a target.
        needs_targets: whether a batch without targets is refused; otherwise they are None.
        weights_from: name or index of the weights of the examples, which are handed on with the targets (`Weighted`),
            and are no inputs; None where there are none.
    """

    def __init__(
        self,
        targets_from: Place | Sequence[Place] | None = None,
        inputs_from: Place | Sequence[Place] | None = None,
        needs_targets: bool = True,
        weights_from: Place | None = None,
    ):
        self.weights_from = weights_from
        self.targets_from, self.inputs_from, self.needs_targets = targets_from, inputs_from, needs_targets
        self._is_plain = targets_from is None and inputs_from is None

    def __call__(self, batch: Any) -> Batch:
        """Return the inputs and the targets of a batch.

        Raises:
            ArgumentsError: it does not say which they are, or has no such entry; it names `targets_from`.
        """
        if type(batch) is Batch:
            return batch
        if self.weights_from is not None:
            return self._weighted(batch, self.weights_from)
        if self._is_plain and isinstance(batch, tuple | list) and len(batch) == 2:
            return Batch(*batch)
        chosen = self._target(batch) if self.targets_from is None else self.targets_from
        inputs = _without(batch, chosen) if self.inputs_from is None else _taken(batch, self.inputs_from, "inputs_from")
        return Batch(inputs, None if chosen is None else _taken(batch, chosen, "targets_from"))

    def _weighted(self, batch: Any, place: Place) -> Batch:
        """Return inputs and targets, with the weights at a place of a batch."""
        with _WEIGHTS:
            weights = _entry(batch, place, _OF_WEIGHTS)
            if not isinstance(weights, Tensor) or not weights.dim() or str(weights.dtype) == "torch.bool":
                raise UsageError(f"weights must be a tensor with one number per example, got {described(weights)}")
            if weights.device.type == "cpu":  # else each batch would wait for the device
                refuse_odd_weights(f"weights '{place}'", weights.flatten(), weights.numel(), may_be_zero=True)
        if self.targets_from is None:
            rest = _without(batch, place)
            chosen = self._target(rest)
            targets = None if chosen is None else _taken(rest, chosen, "targets_from")
            left = rest if chosen is None else _without(rest, chosen)
        else:
            given = self.targets_from
            targets = _taken(batch, given, "targets_from")
            left = _without(batch, [*([given] if isinstance(given, str | int) else given), place])
        inputs = left if self.inputs_from is None else _taken(batch, self.inputs_from, "inputs_from")
        return Batch(inputs, Weighted(targets, weights))

    def _target(self, batch: Any) -> Place | None:
        """Return where the target of a batch is, by the rule; None where it has none and needs none."""
        names = entries(batch)
        found = [name for name in TARGET_NAMES if name in names]
        if len(found) == 1:
            return found[0]
        if isinstance(batch, tuple | list) and len(batch) > 1:
            return len(batch) - 1
        if len(found) > 1:
            raise ArgumentsError(
                f"a batch has {' and '.join(map(repr, found))}: say which is the target: data.targets_from: {found[0]} "
                f"(in Python `targets_from={found[0]!r}`), or a list of several",
                "targets_from",
            )
        if not self.needs_targets:
            return None
        way = f"name it by data.targets_from (in Python `targets_from=`): it has {_listed(names)}; or let the model "
        raise ArgumentsError(
            f"a batch is {described(batch)}, in which nothing says what the target is ({', '.join(TARGET_NAMES)}): "
            f"{way if names else 'give pairs (inputs, targets); or let the model '}compute the loss itself "
            "(loss: output)",
            "targets_from",
        )


def _taken(batch: Any, places: Place | Sequence[Place], key: str) -> Any:
    """Return an entry of a batch, or several of them as a dict or a tuple."""
    if isinstance(places, str | int):
        return _entry(batch, places, key)
    if all(isinstance(place, str) for place in places):
        return {place: _entry(batch, place, key) for place in places}
    return tuple(_entry(batch, place, key) for place in places)


def _entry(batch: Any, place: Place, key: str) -> Any:
    names = entries(batch)
    if place in names:
        return names[place]
    is_sequence = isinstance(batch, tuple | list)
    if isinstance(place, int) and is_sequence and -len(batch) <= place < len(batch):
        return batch[place]
    known = _listed(names) if names else f"items 0 to {len(batch) - 1}" if is_sequence else "no entries"
    it_is = f"it is {described(batch)}, with {known}"
    if key == _OF_WEIGHTS:
        raise UsageError(f"a batch has no {place!r} for the weights (loss.weights): {it_is}")
    raise ArgumentsError(f"a batch has no {place!r} for data.{key}: {it_is}", key)


def _without(batch: Any, places: Place | Sequence[Place] | None) -> Any:
    """Return what is left of a batch: of a tuple its one other item alone, of a mapping one of the same kind."""
    if places is None:
        return batch
    gone = [places] if isinstance(places, str | int) else list(places)
    if any(isinstance(place, str) for place in gone):
        if isinstance(batch, Mapping) and type(batch) is not dict:
            return _shortened(batch, gone)
        return {name: value for name, value in entries(batch).items() if name not in gone}
    size = len(batch) if isinstance(batch, tuple | list) else 0
    indices = {int(place) % size for place in gone} if size else set()
    rest = tuple(item for place, item in enumerate(batch) if place not in indices) if size else batch
    return rest[0] if isinstance(rest, tuple) and len(rest) == 1 else rest


def _shortened(batch: Any, gone: Sequence[Place]) -> Any:
    """Return a mapping of the same kind without some names, or a dict, where its kind cannot lose any."""
    try:
        rest = copy.copy(batch)
        for name in gone:
            del rest[name]
    except Exception:  # noqa: BLE001 (a kind of the user's own, such as one with a field for each name)
        return {name: value for name, value in batch.items() if name not in gone}
    return rest


def _listed(names: Mapping[Any, Any]) -> str:
    return ", ".join(
        f"{name} ({tuple(value.shape)})" if isinstance(value, Tensor) else str(name) for name, value in names.items()
    )
