#!/usr/bin/env bash
# torch 2.13.0, ReduceLROnPlateau with its own threshold_mode "rel": a metric below zero may get worse for ever.
#
# A good guess: `mode="min"` calls a value better when it is smaller than the best one by more than the threshold.
# Behaviour: the bar is best * (1 - threshold). Where best is negative (a log-likelihood, an energy, the usual loss of a
# flow), that bar lies on the worse side of best: a value that is slightly worse counts as an improvement, takes the
# place of the best one, and the next may be worse again. The rate never falls, and `best` is the worst value seen.
# The same series above zero cuts the rate as it should.
#
# Output seen (torch 2.13.0, Python 3.11):
#   from 10.0 up to 10.1: rate 1e-08, best 10
#   from -10.0 up to -9.9: rate 1, best -9.9
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
"$work/venv/bin/python" - <<'PYTHON'
import torch


def watch(first: float) -> tuple[float, float]:
    """Return the rate and the best value after 200 epochs, each of them worse than the one before by 0.0005."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    for epoch in range(201):
        scheduler.step(first + 0.0005 * epoch)
    print(f"from {first} up to {first + 0.1:.1f}: rate {optimizer.param_groups[0]['lr']:.4g}, best {scheduler.best:.4g}")
    return optimizer.param_groups[0]["lr"], scheduler.best


assert watch(10.0)[0] < 1e-5, "a series above zero no longer cuts the rate"
rate, best = watch(-10.0)
assert rate == 1.0 and abs(best + 9.9) < 1e-9, "a series below zero is no longer taken for an improvement"
PYTHON
