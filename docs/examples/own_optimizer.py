"""An optimizer of your own against adam: equal tuning, fresh seeds, and an exit code that CI can read.

    python own_optimizer.py train.epochs=20     KEY=VALUE changes both

Repeated, it trains nothing; after a change of this file, the runs of the own optimizer alone.
"""

import sys
from pathlib import Path

import torch

from optrun.experiments import compare


class SignMomentum(torch.optim.Optimizer):
    """w = w - lr * sign(a), with a = beta * a + (1 - beta) * gradient."""

    def __init__(self, params, *, lr: float = 0.003, beta: float = 0.9):
        super().__init__(params, {"lr": lr, "beta": beta})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in (each for each in group["params"] if each.grad is not None):
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group["beta"])
                parameter.sub_(average.sign(), alpha=group["lr"])


def main(overrides=(), **options) -> int:
    own = Path(__file__).with_suffix(".yaml")
    comparison = compare(["adam", str(own)], overrides, baseline="adam", margin=0.01, **options)
    verdict = comparison.analysis.pair("adam", own.stem).verdict
    print(comparison.sentence)
    return 1 if verdict.winner == "adam" else 0


if __name__ == "__main__":  # the configuration names this file, so each process that trains imports it
    sys.exit(main(sys.argv[1:]))
