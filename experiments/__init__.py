"""optrun as a library: `from optrun.experiments import train`.

Names are handed on when they are first used, so that reading old runs never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint_watch import checkpoints_iterator as checkpoints_iterator
    from .comparison import Comparison as Comparison
    from .comparison import compare as compare
    from .comparison import sweep as sweep
    from .data import Batches as Batches
    from .data import Dataset as Dataset
    from .data import make_data as make_data
    from .data import register_data as register_data
    from .experiment import Experiment as Experiment
    from .experiment import build as build
    from .hook import Every as Every
    from .hook import Hook as Hook
    from .hook import RunArgs as RunArgs
    from .hooks import register_hook as register_hook
    from .hooks.checkpoint import CheckpointHook as CheckpointHook
    from .hooks.checkpoint import CheckpointListener as CheckpointListener
    from .hooks.csv import CsvHook as CsvHook
    from .hooks.evaluation import EvaluationHook as EvaluationHook
    from .hooks.feed import FeedHook as FeedHook
    from .hooks.final_ops import FinalOpsHook as FinalOpsHook
    from .hooks.hyperparameter import HyperparameterHook as HyperparameterHook
    from .hooks.learning_rate import LearningRateSetterHook as LearningRateSetterHook
    from .hooks.logging import LoggingHook as LoggingHook
    from .hooks.mlflow import MlflowHook as MlflowHook
    from .hooks.nan import NanHook as NanHook
    from .hooks.norms import NormsHook as NormsHook
    from .hooks.profiler import ProfilerHook as ProfilerHook
    from .hooks.step_counter import StepCounterHook as StepCounterHook
    from .hooks.step_waiter import StepWaiterHook as StepWaiterHook
    from .hooks.stop import EarlyStoppingHook as EarlyStoppingHook
    from .hooks.stop import StopAfterHook as StopAfterHook
    from .hooks.stop import StopAtStepHook as StopAtStepHook
    from .hooks.summary import SummaryHook as SummaryHook
    from .hooks.wandb import WandbHook as WandbHook
    from .initializers import register_init as register_init
    from .initializers.warm_start import warm_start as warm_start
    from .losses import register_loss as register_loss
    from .lr_finder import LrRange as LrRange
    from .lr_finder import find_lr as find_lr
    from .metrics import register_metric as register_metric
    from .models import make_model as make_model
    from .models import register_model as register_model
    from .optimizers import make_optimizer as make_optimizer
    from .optimizers import register_optimizer as register_optimizer
    from .planning import Plan as Plan
    from .planning import plan as plan
    from .resume_check import ResumeCheck as ResumeCheck
    from .resume_check import verify_resume as verify_resume
    from .run import Run as Run
    from .schedules import make_schedule as make_schedule
    from .schedules import register_schedule as register_schedule
    from .session import MonitoredTrainingSession as MonitoredTrainingSession
    from .train_op import build_train_op as build_train_op
    from .training import evaluate as evaluate
    from .training import evaluate_each as evaluate_each
    from .training import load_config as load_config
    from .training import resume as resume
    from .training import train as train
    from .updates import Update as Update
    from .updates import register_update as register_update

_HOMES = {
    "Batches": "data",
    "CheckpointHook": "hooks.checkpoint",
    "CheckpointListener": "hooks.checkpoint",
    "Comparison": "comparison",
    "CsvHook": "hooks.csv",
    "Dataset": "data",
    "EarlyStoppingHook": "hooks.stop",
    "EvaluationHook": "hooks.evaluation",
    "Every": "hook",
    "Experiment": "experiment",
    "FeedHook": "hooks.feed",
    "FinalOpsHook": "hooks.final_ops",
    "Hook": "hook",
    "HyperparameterHook": "hooks.hyperparameter",
    "LearningRateSetterHook": "hooks.learning_rate",
    "LoggingHook": "hooks.logging",
    "LrRange": "lr_finder",
    "MlflowHook": "hooks.mlflow",
    "MonitoredTrainingSession": "session",
    "NanHook": "hooks.nan",
    "NormsHook": "hooks.norms",
    "Plan": "planning",
    "ProfilerHook": "hooks.profiler",
    "ResumeCheck": "resume_check",
    "Run": "run",
    "RunArgs": "hook",
    "StepCounterHook": "hooks.step_counter",
    "StepWaiterHook": "hooks.step_waiter",
    "StopAfterHook": "hooks.stop",
    "StopAtStepHook": "hooks.stop",
    "SummaryHook": "hooks.summary",
    "Update": "updates",
    "WandbHook": "hooks.wandb",
    "build": "experiment",
    "build_train_op": "train_op",
    "checkpoints_iterator": "checkpoint_watch",
    "compare": "comparison",
    "evaluate": "training",
    "evaluate_each": "training",
    "find_lr": "lr_finder",
    "load_config": "training",
    "make_data": "data",
    "make_model": "models",
    "make_optimizer": "optimizers",
    "make_schedule": "schedules",
    "plan": "planning",
    "register_data": "data",
    "register_hook": "hooks",
    "register_init": "initializers",
    "register_loss": "losses",
    "register_metric": "metrics",
    "register_model": "models",
    "register_optimizer": "optimizers",
    "register_schedule": "schedules",
    "register_update": "updates",
    "resume": "training",
    "sweep": "comparison",
    "train": "training",
    "verify_resume": "resume_check",
    "warm_start": "initializers.warm_start",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
