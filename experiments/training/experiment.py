"""An experiment: everything that a configuration names, built and fitted together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..components.data import AnyData, DrawnBatches, Splits, StreamBatches
from ..components.hooks.hook import Hook
from ..components.initializers.matching import InitialWeights
from ..components.trained import Trained
from ..config import Config
from ..config.goal import Goal, eval_goal
from ..config.lengths import RunLength
from ..config.located import located
from ..errors import DataError, NothingMatchedError
from ..run_directory.rows import RowLog
from ..system import ranks, rng, storage
from ..system.environment import describe_environment
from . import compatibility
from .evaluator import Evaluator
from .session.session import MonitoredTrainingSession
from .step.train_op import TrainOp
from .target_check import TargetCheck


@dataclass
class Experiment:
    """Everything that a configuration names, built and fitted together.

    Args:
        config: what it was built from.
        data: the whole data set.
        splits: its parts: train, val, test.
        train_op: with model, loss, optimizer and batches inside.
        batches: those that are trained on, also where somebody looks at them on their way into the train op.
        schedule: step -> multiple of the optimizer's rate, or absolute rate.
        evaluators: by split.
        length: of the run; None for num_steps when only a clock ends it.
        device: that everything is on.
        threads: CPU threads.
        hooks: the stock ones that the configuration's sections ask for, then the user's own; for one session.
        notes: what the user should know, such as a device that was replaced.
        targets: looks at those of a batch at which a loss or metric has failed.
        initial_weights: what `init` has taken from where, once it was asked; None where it says nothing.
    """

    config: Config
    data: AnyData
    splits: Splits
    train_op: TrainOp
    batches: DrawnBatches | StreamBatches
    schedule: Callable[[int], float]
    evaluators: dict[str, Evaluator]
    length: RunLength
    device: torch.device
    threads: int
    hooks: list[Hook] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    targets: TargetCheck | None = None
    initial_weights: InitialWeights | None = None

    @property
    def model(self) -> nn.Module:
        return self.train_op.model

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for _, parameter in self.train_op.trained.named_parameters())

    @contextmanager
    def located(self) -> Iterator[None]:
        """Tell what the parts raise at work in a `with` block at their keys.

        Raises:
            ConfigError: in the block; see config/located.py.
        """
        with located(self.config):
            try:
                yield
            except Exception as error:
                if self.targets is not None:
                    self.targets.explain(error, self.train_op, self.evaluators)
                raise

    @property
    def goal(self) -> Goal:
        """Return the metric that decides what is best."""
        return eval_goal(self.config)

    def session(
        self, folder: Path | None = None, hooks: Sequence[Hook] = (), **options: Any
    ) -> MonitoredTrainingSession:
        """Open a monitored session on the train op.

        Args:
            folder: the run directory; None keeps nothing.
            hooks: more hooks, such as a progress bar.
            options: more arguments of MonitoredTrainingSession.
        """
        own = self.hooks
        rows = None
        if folder is None:  # then there is no place for them to write
            own = [hook for hook in own if hook.log_to is None]
        elif ranks.rank() == 0:
            storage.make_dir(folder, exist_ok=True)
            rows = RowLog(folder / "metrics.jsonl")
        return MonitoredTrainingSession(
            self.train_op,
            checkpoint_dir=folder / "checkpoints" if folder else None,
            summary_dir=folder,
            rows=rows,
            hooks=[*own, *hooks],
            evaluators=self.evaluators,
            init_fn=self.initialise if self.config.init is not None else None,
            facts={"fitted": self.splits.fitted.as_dict()} if self.splits.fitted else {},
            **options,
        )

    def initialise(self, model: nn.Module, loss: nn.Module | None = None) -> None:
        """Give a model its initial weights as `init` says; a run that is resumed has its own.

        Args:
            model: of this experiment, or a copy.
            loss: a copy of this experiment's to go with it; None for its own.

        Raises:
            ConfigError: they do not fit, or cannot be read; located at `init`.
        """
        init = self.config.init
        if init is not None:
            with located(self.config, "init"), self._noting_place("init.from"), torch.no_grad():
                compatibility.seed_everything(rng.key(self.config.seed, "init", 1))  # equal however often it is called
                takes_loss = init.component.facts.get("takes_loss", False)
                given = Trained(model, loss or self.train_op.loss) if takes_loss else model
                made = init.component.make(given, **init.args)
                self.initial_weights = made if isinstance(made, InitialWeights) else None

    @contextmanager
    def _noting_place(self, key: str) -> Iterator[None]:
        """Note on what is missing or damaged which line of the configuration has asked for it."""
        try:
            yield
        except (DataError, NothingMatchedError) as error:
            if (origin := self.config.origin(key)).kind != "default":
                error.add_note(f"{key} ({origin.place}) names it")
            raise

    def initial(self) -> Trained:
        """Return model and loss as training from step 0 begins with them: copies where `init` changes them."""
        trained = self.train_op.trained
        if self.config.init is None:
            return trained
        with located(self.config, "model"):
            model, loss = copy.deepcopy((trained.model, trained.loss))  # together: they may share parameters
        self.initialise(model, loss)
        return Trained(model, loss)

    def environment(self) -> dict[str, Any]:
        """Return what `env.json` records of the circumstances of the run."""
        options = self.config.train
        more = {"compiled": self.train_op.compiled.why_not is None} if options.compile else {}
        if options.channels_last:
            more["channels_last"] = True
        return describe_environment(self.device, self.threads, precision=options.precision, **more)
