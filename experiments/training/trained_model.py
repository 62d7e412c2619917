"""The model of a run with the weights of a checkpoint, built without the data where the run says what that is like."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..components.averaging import Averaging, averages_of
from ..components.data import Batch, DataFacts, Fitted
from ..components.selected import Selector
from ..components.trained import module_of
from ..config import Config
from ..config.located import located
from ..errors import DataError, UsageError, nearest
from ..run_directory.run import Run
from ..run_directory.run_dir import RunDir
from ..system.devices import choose_device
from ..system.places import held_places
from ..system.raised import refusing_exits
from ..system.switches import held_switches
from . import compatibility
from .build import make_model, make_optimizer, make_updates
from .configured_data import make_splits
from .copies import generators_kept
from .inference import Inference
from .load import run_dir_of, stored_config, stored_facts, stored_fitted
from .record import RunRecord, refuse_changes
from .session.saved_state import load_state
from .step.build_train_op import build_train_op
from .step.train_op import TrainOp
from .task import completed

log = logging.getLogger("optrun")

_OWN = ("raw", "training")  # names of weights that need not be an average


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model as a run trained it, and what the run knows about what goes in and comes out.

    Args:
        run_dir: of the run.
        config: of the run.
        step: of the checkpoint.
        weights: the name of the weights, see `eval.weights`.
        model: in evaluation mode.
        facts: what its data is like.
        fitted: what was taken from the training rows.
    """

    run_dir: RunDir
    config: Config
    step: int
    weights: str
    model: nn.Module
    facts: DataFacts
    fitted: Fitted

    @property
    def device(self) -> torch.device:
        """Return where the model is."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def inference(self, of: Selector | None = None) -> Inference:
        """Return what calls the model, or one that stands for it, on inputs alone.

        Args:
            of: see `Inference`.

        Raises:
            ConfigError: it cannot be called without targets.
        """
        with located(self.config, "model", "loss"):
            return Inference(self.config, self.model, of)

    def untrained(self) -> nn.Module:
        """Return the model of the same configuration with other weights: those that training began with."""
        with generators_kept():
            return _model(self.config, self.facts)


@held_places()
@held_switches()
@refusing_exits()
def trained_model(
    run: Run | RunDir | str | Path,
    *,
    checkpoint: str | int = "last",
    weights: str | None = None,
    averages: bool | None = None,
    allow_code: bool = False,
    root: Path | None = None,
) -> nn.Module:
    """Return the model of a run with the weights of a checkpoint, in evaluation mode.

    It needs no data: what the model's arguments are filled with is kept with the run. Runs of versions that kept no
    such record read their data.

    Args:
        run: see `resume`.
        checkpoint: `last`, `best` or a step.
        weights: see `evaluate`; by default those that the run's own evaluations read.
        averages: in place of `weights`: True for an average where the run keeps one, and else for those that are
            trained; False for those that are trained.
        allow_code: see `resume`.
        root: the folder of the run directories.

    Raises:
        UsageError: there is no such checkpoint or average, or the user's code has changed.
        CheckpointError: the checkpoint is damaged.
    """
    return load_trained(run, checkpoint, weights, averages, allow_code, root).model


def load_trained(
    run: Run | RunDir | str | Path,
    checkpoint: str | int = "best",
    weights: str | None = None,
    averages: bool | None = None,
    allow_code: bool = False,
    root: Path | None = None,
) -> TrainedModel:
    """Do what `trained_model` does, and return the model with what is known of its data.

    Raises:
        UsageError: as there.
        CheckpointError: as there.
        DataError: neither the run nor the data says what the data is like.
    """
    if weights is not None and averages is not None:
        raise UsageError("`weights` names the weights, `averages` chooses among them: give one of the two")
    run_dir = run_dir_of(run, root)
    state = load_state(Run(run_dir.path).checkpoint(checkpoint))
    config = stored_config(run_dir, (), allow_code)
    if not allow_code:
        refuse_changes(run_dir.name, "--allow-code", RunRecord(run_dir).code_changes(config))
    fitted = stored_fitted(run_dir) if state.fitted is None else Fitted.from_dict(state.fitted)
    facts = stored_facts(run_dir)
    if facts is None:
        facts, fitted = _from_data(run_dir, config, fitted)
    facts = completed(config, facts)
    with generators_kept():
        train_op = _without_data(config, facts)
    with located(config):
        train_op.load_state_dict({name: state.sections[name] for name in state.sections if name != "data"})
    known = averages_of(train_op.optimizer, train_op.updates)
    name = _chosen(run_dir.name, known, config.eval.weights, weights, averages)
    _take_over(known[name])
    return TrainedModel(run_dir, config, state.step, name, train_op.model.eval(), facts, fitted)


def _from_data(run_dir: RunDir, config: Config, fitted: Fitted) -> tuple[DataFacts, Fitted]:
    """Return what the data is like, and all that was fitted to it, for a run that kept no record of it."""
    try:
        splits = make_splits(config, fitted)
        return DataFacts.of(splits.dataset), splits.fitted
    except DataError as error:
        raise DataError(
            f"{run_dir.name} was made by a version that kept no record of what its data is like, and the data cannot "
            f"be read: {error}"
        ) from error


def _model(config: Config, facts: DataFacts) -> nn.Module:
    with located(config, "model", "data"):
        model = make_model(config, facts)
        if compatibility.has_lazy(model):
            if facts.input_shape is None:
                raise UsageError(
                    "the model gets its shapes from the first batch, and inputs are no tensor whose shape could be "
                    "kept: build the experiment with its data, `build(run.config)`, and restore into that"
                )
            inputs = torch.zeros(2, *facts.input_shape, dtype=facts.dtype)
            compatibility.try_forward(model, Inference(config, model).call, Batch(inputs, None), 2)
        return model


def _without_data(config: Config, facts: DataFacts) -> TrainOp:
    """Build what has a state in a checkpoint: model, loss, optimizer and updates, in the order of `build`."""
    device, note = choose_device(config.train.device, soft_placement=True)  # weights are the same on any
    if note:
        log.info(note)
    model = _model(config, facts).to(device)
    with located(config, config.loss.path):
        loss = compatibility.bound(config.loss)
        if (module := module_of(loss)) is not None:
            module.to(device)
    trained = compatibility.trained_together(config, model, loss)
    updates = make_updates(config, model)
    return build_train_op(model, loss, make_optimizer(config, trained), [], updates, on_nan=None, seed=config.seed)


def _chosen(
    run: str, known: Mapping[str, Averaging | None], evaluated: str, weights: str | None, averages: bool | None
) -> str:
    """Return the name of the weights that are wanted.

    Args:
        run: its name.
        known: what the run keeps, by name.
        evaluated: those that its evaluations read.
        weights: by name.
        averages: see `trained_model`.

    Raises:
        UsageError: there are none of this name; or several averages, of which none is the one that is evaluated.
    """
    if weights is not None and weights not in known:
        guess = nearest(weights, known)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise UsageError(f"{run} keeps no weights called '{weights}': {', '.join(known)}.{hint}")
    if weights is not None or averages is None:
        return weights or evaluated
    if not averages:
        return "training"
    if known[evaluated] is not None:
        return evaluated
    if known["raw"] is not None:  # what the optimizer recommends
        return "raw"
    kept = [name for name in known if name not in _OWN]
    if len(kept) > 1:
        raise UsageError(f"{run} keeps several averages ({', '.join(kept)}): name the one that is meant by `weights`")
    return kept[0] if kept else "training"


def _take_over(average: Averaging | None) -> None:
    """Give the model the weights of an average, for good."""
    if average is None:
        return
    with torch.no_grad():
        for parameter, value in [(parameter, value.detach().clone()) for parameter, value in average.averages()]:
            parameter.copy_(value)
