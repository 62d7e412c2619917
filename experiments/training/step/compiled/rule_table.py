"""The rule of each class of optimizers that has one."""

from __future__ import annotations

import torch

from .averaged_rules import AVERAGED_RULES
from .rules import Rule
from .tf1_rules import TF1_RULES
from .torch_rules import TORCH_RULES
from .trust_rules import TRUST_RULES

#: Only of the class itself, as a subclass may do something else.
RULES: dict[type[torch.optim.Optimizer], Rule] = {**TORCH_RULES, **TF1_RULES, **TRUST_RULES, **AVERAGED_RULES}
