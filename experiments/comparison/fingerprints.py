"""Proof that entries were compared like with like: initial parameters, initial loss, order of the data, by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..components.data import LoadedPart, PartInMemory, Splits, Stored, StreamBatches, Tree
from ..components.data.tree import tensors
from ..errors import ExitCode, OptrunError
from ..training.evaluator import evaluation_mode
from ..training.experiment import Experiment

WHAT = {
    "parameters": "initial parameters",
    "loss_parameters": "initial parameters of the loss",
    "initial_loss": "initial loss",
    "order": "order of the first two epochs",
    "first_batches": "first batches of the stream",
    "batches": "batches of the stream, in their order",
    "data": "training, validation or test rows",
}
# The sections of a configuration that each depends on: where these agree, it must.
_DEPENDS_ON = {
    "parameters": ("model", "data", "init"),
    "initial_loss": ("model", "data", "init", "loss", "updates"),
    "order": ("data",),
}
# In place of the order, of streams: the first batches are known before a run, the others after it.
_OF_STREAMS = ("first_batches", "batches")
_FIRST_BATCHES = 2
_FIRST_ROWS = 256
_FIRST_LOADED = 8


class PairingError(OptrunError):
    """Entries that should have started alike did not; their runs are kept."""

    exit_code = ExitCode.PART_FAILED


def fingerprint(experiment: Experiment) -> dict[str, Any]:
    """Return what is equal in fair pairs: hashes of initial parameters, data and its order, and the initial loss."""
    train_op, initial = experiment.train_op, experiment.initial()
    batches: Any = train_op.data
    function = train_op.loss if initial.loss is None or initial is train_op.trained else initial.loss
    with evaluation_mode(initial.model, function), torch.no_grad():
        inputs, targets = batches.examples(0, _FIRST_ROWS)
        with train_op.calling.model:
            outputs = train_op.call(initial.model, inputs, targets)
        with train_op.calling.loss:
            loss = function(outputs, targets).item()
    of_loss = dict(initial.loss_parameters())
    return {
        "parameters": _parameters(dict(initial.model.named_parameters())),
        **({"loss_parameters": _parameters(of_loss)} if of_loss else {}),
        "initial_loss": loss,
        **_order(batches),
        "data": _data(experiment.splits),
    }


def _order(batches: Any) -> dict[str, str]:
    """Return a hash of which examples come when; of a stream, which alone knows that, of its first batches."""
    if isinstance(batches, StreamBatches):
        found = hashlib.sha256()
        for batch in batches.data.first_batches(batches.batch_size, _FIRST_BATCHES):
            _add(found, *tensors(tuple(batch)))
        return {"first_batches": found.hexdigest()}
    order = hashlib.sha256(b"".join(batches.order(epoch).numpy().tobytes() for epoch in (0, 1)))
    return {"order": order.hexdigest()}


def of_stream(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a finished run has read of a stream: hashes of its first 1, 2, 4, … batches and of all."""
    hashes = (summary.get("stream") or {}).get("hashes")
    return {"batches": hashes} if hashes else {}


def _common(found: Sequence[Mapping[str, str]]) -> str | None:
    """Return the largest number of batches of which all runs have a hash; None where there is none."""
    return max(set.intersection(*(set(hashes) for hashes in found)), key=int, default=None)


def _parameters(named: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name, parameter in named.items():
        found.update(name.encode() + parameter.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _data(splits: Splits) -> str:
    """Return a hash of all parts as they are trained and measured on: of rows on disk or stored as bytes the first."""
    found = hashlib.sha256()
    for part in (splits.train, splits.val, splits.test):
        if isinstance(part, PartInMemory):
            inputs = part.inputs[:_FIRST_ROWS] if isinstance(part.inputs, Stored) else part.inputs
            inputs = inputs.tree if isinstance(inputs, Tree) else inputs
            _add(found, part.positions, *tensors(inputs), part.targets)
        elif isinstance(part, LoadedPart):  # examples are made when they are asked for: the first stand for all
            _add(found, part.positions, *tensors(part.examples(0, _FIRST_LOADED)))
    return found.hexdigest()


def _add(found: Any, *added: torch.Tensor) -> None:
    for tensor in added:
        found.update(tensor.cpu().contiguous().numpy().tobytes())


def expected_equal(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what must be equal, given in which sections the configurations differ."""
    first = configs[0]
    return [
        what
        for what, sections in _DEPENDS_ON.items()
        if all(config.get(section) == first.get(section) for config in configs for section in sections)
    ]


def check_pairing(fingerprints: Mapping[str, Mapping[str, Any]], expected: Sequence[str], seed: int) -> dict[str, Any]:
    """Compare the fingerprints of one seed, by entry, and return the common part.

    Raises:
        PairingError: something that must be equal is not; the message says what, and for whom.
    """
    first_name, first = next(iter(fingerprints.items()))
    known: dict[str, Any] = {}
    if "order" in expected and all("data" in found for found in fingerprints.values()):  # runs of 0.2.0 lack it
        expected = [*expected, "data"]
    if "order" in expected and all("order" not in found for found in fingerprints.values()):
        expected = [*_OF_STREAMS, *(what for what in expected if what != "order")]
        if common := _common([found.get("batches", {}) for found in fingerprints.values()]):
            known = {"num_batches": int(common)}
            cut = {name: {**found, "batches": found["batches"][common]} for name, found in fingerprints.items()}
            fingerprints, first = cut, cut[first_name]
        else:
            expected.remove("batches")
    if "initial_loss" in expected and all("loss_parameters" in found for found in fingerprints.values()):
        expected = [*expected, "loss_parameters"]  # few losses have some; runs of 0.2.0 lack it
    for what in expected:
        for name, found in fingerprints.items():
            if found[what] != first[what]:
                values = f"{first[what]!s:.12} and {found[what]!s:.12}"
                raise PairingError(
                    f"the comparison is not fair: with seed {seed}, {first_name} and {name} differ in their "
                    f"{WHAT[what]} ({values}), though nothing in their configurations asks for it. Does a model, data "
                    "set or loss of your own draw numbers that do not depend on the seed alone?"
                )
    return {**{what: first[what] for what in expected}, **known}


def words(found: Mapping[str, Any]) -> list[str]:
    """Return what was found to be the same, of one seed, in words."""
    named = {**WHAT, "batches": f"first {found.get('num_batches', 0):,} {WHAT['batches']}"}
    return [named[what] for what in found if what in named]
