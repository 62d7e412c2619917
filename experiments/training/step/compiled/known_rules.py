"""The rule of each class of optimizers that has one; of the class alone, as a subclass may do something else."""

from __future__ import annotations

import torch

from . import torch_rules
from .rules import Rule

RULES: dict[type[torch.optim.Optimizer], Rule] = {**torch_rules.RULES}
