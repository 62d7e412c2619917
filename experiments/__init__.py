"""optrun as a library: `from optrun.experiments import train`.

Names are handed on when they are first used, so that reading old runs never imports torch.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison.compare import compare as compare
    from .comparison.result import Comparison as Comparison
    from .comparison.sweep import sweep as sweep
    from .components.data import Batches as Batches
    from .components.data import Dataset as Dataset
    from .components.data import Mixed as Mixed
    from .components.data import make_data as make_data
    from .components.data import register_data as register_data
    from .components.hooks import register_hook as register_hook
    from .components.hooks.checkpoint import CheckpointHook as CheckpointHook
    from .components.hooks.checkpoint import CheckpointListener as CheckpointListener
    from .components.hooks.csv import CsvHook as CsvHook
    from .components.hooks.evaluation import EvaluationHook as EvaluationHook
    from .components.hooks.feed import FeedHook as FeedHook
    from .components.hooks.final_ops import FinalOpsHook as FinalOpsHook
    from .components.hooks.hook import Every as Every
    from .components.hooks.hook import Hook as Hook
    from .components.hooks.hook import RunArgs as RunArgs
    from .components.hooks.hyperparameter import HyperparameterHook as HyperparameterHook
    from .components.hooks.learning_rate import LearningRateSetterHook as LearningRateSetterHook
    from .components.hooks.logging import LoggingHook as LoggingHook
    from .components.hooks.mlflow import MlflowHook as MlflowHook
    from .components.hooks.nan import NanHook as NanHook
    from .components.hooks.norms import NormsHook as NormsHook
    from .components.hooks.profiler import ProfilerHook as ProfilerHook
    from .components.hooks.step_counter import StepCounterHook as StepCounterHook
    from .components.hooks.step_waiter import StepWaiterHook as StepWaiterHook
    from .components.hooks.stop import EarlyStoppingHook as EarlyStoppingHook
    from .components.hooks.stop import StopAfterHook as StopAfterHook
    from .components.hooks.stop import StopAtStepHook as StopAtStepHook
    from .components.hooks.summary import SummaryHook as SummaryHook
    from .components.hooks.wandb import WandbHook as WandbHook
    from .components.initializers import register_init as register_init
    from .components.initializers.warm_start import warm_start as warm_start
    from .components.losses import make_loss as make_loss
    from .components.losses import register_loss as register_loss
    from .components.metrics import make_metric as make_metric
    from .components.metrics import register_metric as register_metric
    from .components.models import make_model as make_model
    from .components.models import register_model as register_model
    from .components.optimizers import make_optimizer as make_optimizer
    from .components.optimizers import register_optimizer as register_optimizer
    from .components.schedules import make_schedule as make_schedule
    from .components.schedules import register_schedule as register_schedule
    from .components.updates import Update as Update
    from .components.updates import register_update as register_update
    from .registry.arguments import Count as Count
    from .registry.arguments import DataPath as DataPath
    from .registry.arguments import Decay as Decay
    from .registry.arguments import Fraction as Fraction
    from .registry.arguments import MetricName as MetricName
    from .registry.arguments import Natural as Natural
    from .registry.arguments import NonNegative as NonNegative
    from .registry.arguments import Positive as Positive
    from .report.tables.step_profile import profile_text as profile_text
    from .run_directory.checkpoint_files import checkpoints_iterator as checkpoints_iterator
    from .run_directory.run import Run as Run
    from .studies.lr_finder import LrRange as LrRange
    from .studies.lr_finder import find_lr as find_lr
    from .studies.plan import Plan as Plan
    from .studies.plan import plan as plan
    from .studies.resume.check import ResumeCheck as ResumeCheck
    from .studies.resume.check import verify_resume as verify_resume
    from .training.build import build as build
    from .training.evaluate import evaluate as evaluate
    from .training.evaluate import evaluate_each as evaluate_each
    from .training.experiment import Experiment as Experiment
    from .training.export import export_model as export_model
    from .training.load import load_config as load_config
    from .training.predict import Predictions as Predictions
    from .training.predict import predict as predict
    from .training.session.session import MonitoredTrainingSession as MonitoredTrainingSession
    from .training.step.build_train_op import build_train_op as build_train_op
    from .training.train import resume as resume
    from .training.train import train as train
    from .training.trained_model import trained_model as trained_model

_HOMES = {
    "Batches": "components.data",
    "CheckpointHook": "components.hooks.checkpoint",
    "CheckpointListener": "components.hooks.checkpoint",
    "Comparison": "comparison.result",
    "Count": "registry.arguments",
    "DataPath": "registry.arguments",
    "MetricName": "registry.arguments",
    "CsvHook": "components.hooks.csv",
    "Dataset": "components.data",
    "Decay": "registry.arguments",
    "EarlyStoppingHook": "components.hooks.stop",
    "EvaluationHook": "components.hooks.evaluation",
    "Every": "components.hooks.hook",
    "Experiment": "training.experiment",
    "FeedHook": "components.hooks.feed",
    "FinalOpsHook": "components.hooks.final_ops",
    "Fraction": "registry.arguments",
    "Hook": "components.hooks.hook",
    "HyperparameterHook": "components.hooks.hyperparameter",
    "LearningRateSetterHook": "components.hooks.learning_rate",
    "LoggingHook": "components.hooks.logging",
    "LrRange": "studies.lr_finder",
    "Mixed": "components.data",
    "MlflowHook": "components.hooks.mlflow",
    "MonitoredTrainingSession": "training.session.session",
    "NanHook": "components.hooks.nan",
    "Natural": "registry.arguments",
    "NonNegative": "registry.arguments",
    "NormsHook": "components.hooks.norms",
    "Plan": "studies.plan",
    "Positive": "registry.arguments",
    "Predictions": "training.predict",
    "ProfilerHook": "components.hooks.profiler",
    "ResumeCheck": "studies.resume.check",
    "Run": "run_directory.run",
    "RunArgs": "components.hooks.hook",
    "StepCounterHook": "components.hooks.step_counter",
    "StepWaiterHook": "components.hooks.step_waiter",
    "StopAfterHook": "components.hooks.stop",
    "StopAtStepHook": "components.hooks.stop",
    "SummaryHook": "components.hooks.summary",
    "Update": "components.updates",
    "WandbHook": "components.hooks.wandb",
    "build": "training.build",
    "build_train_op": "training.step.build_train_op",
    "checkpoints_iterator": "run_directory.checkpoint_files",
    "compare": "comparison.compare",
    "evaluate": "training.evaluate",
    "evaluate_each": "training.evaluate",
    "export_model": "training.export",
    "find_lr": "studies.lr_finder",
    "load_config": "training.load",
    "make_data": "components.data",
    "make_loss": "components.losses",
    "make_metric": "components.metrics",
    "make_model": "components.models",
    "make_optimizer": "components.optimizers",
    "make_schedule": "components.schedules",
    "plan": "studies.plan",
    "predict": "training.predict",
    "profile_text": "report.tables.step_profile",
    "register_data": "components.data",
    "register_hook": "components.hooks",
    "register_init": "components.initializers",
    "register_loss": "components.losses",
    "register_metric": "components.metrics",
    "register_model": "components.models",
    "register_optimizer": "components.optimizers",
    "register_schedule": "components.schedules",
    "register_update": "components.updates",
    "resume": "training.train",
    "sweep": "comparison.sweep",
    "train": "training.train",
    "trained_model": "training.trained_model",
    "verify_resume": "studies.resume.check",
    "warm_start": "components.initializers.warm_start",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


#: Modules that users' files import from where they once were.
_MOVED = {
    "arguments": "registry.arguments",
    "data": "components.data",
    "hook": "components.hooks.hook",
    "hooks": "components.hooks",
    "initializers": "components.initializers",
    "losses": "components.losses",
    "metrics": "components.metrics",
    "models": "components.models",
    "optimizers": "components.optimizers",
    "registries": "components.registries",
    "run": "run_directory.run",
    "schedules": "components.schedules",
    "session": "training.session.session",
    "train_op": "training.step.train_op",
    "updates": "components.updates",
}


class _MovedModules:
    """Finds a module, and those in it, by the name that it once had: the module itself, not a copy of it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package, _, inner = name.partition(f"{__name__}.")
        loader: Any = self
        return ModuleSpec(name, loader) if not package and inner.partition(".")[0] in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python make an empty module, whose place in `sys.modules` the real one takes."""

    def exec_module(self, module: ModuleType) -> None:
        from multiprocessing import parent_process

        old, dot, inner = module.__name__.removeprefix(f"{__name__}.").partition(".")
        new = f"{__name__}.{_MOVED[old]}{dot}{inner}"
        sys.modules[module.__name__] = importlib.import_module(new)
        # A process that another one started would repeat what that one has said when it read the configuration.
        if not inner and parent_process() is None:
            message = f"{module.__name__} is now {new}; import from {__name__} what it has, the rest from there"
            warnings.warn(message, FutureWarning, stacklevel=2)  # not a DeprecationWarning, which only authors see


if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
    sys.meta_path.insert(0, _MovedModules())  # first, or a module in a moved package would be imported once more


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
