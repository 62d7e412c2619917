#!/usr/bin/env bash
# torch 2.13.0, torch.func.vmap over batch norm in training: running statistics that are rows of a tensor with padding
# are never moved, without an error or a warning.
#
# A good guess: what is changed in place within vmap is changed in the tensor that was mapped over, whatever its strides,
# as `add_` does it; models whose buffers are views of one common tensor train as those with buffers of their own.
# Behaviour: rows that lie next to each other are moved. Of rows with a gap between them, such as columns of a wider
# tensor, batch norm moves a copy: means stay 0 and variances 1, and evaluation goes wrong much later.
#
# Output seen (torch 2.13.0, CPU, Python 3.11):
#   rows next to each other: batch norm moves the mean to 0.10, add_ to 1.00
#   rows with a gap:         batch norm moves the mean to 0.00, add_ to 1.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$work/look.py" <<'PYTHON'
import torch
from torch.nn.functional import batch_norm


def normalised(inputs, mean, variance):
    return batch_norm(inputs, mean, variance, training=True, momentum=0.1)


def moved(gap):
    """Return the mean of two models' first channel after a batch whose mean is 1, by batch norm and by `add_`."""
    found = []
    for function in (normalised, lambda inputs, mean, variance: mean.add_(1)):
        means, variances = torch.zeros(2, 3 + gap)[:, :3], torch.ones(2, 3 + gap)[:, :3]
        inputs = torch.randn(2, 8, 3)
        inputs += 1 - inputs.mean(1, keepdim=True)
        torch.func.vmap(function)(inputs, means, variances)
        found.append(means[0, 0].item())
    return found


beside, apart = moved(0), moved(5)
print(f"rows next to each other: batch norm moves the mean to {beside[0]:.2f}, add_ to {beside[1]:.2f}")
print(f"rows with a gap:         batch norm moves the mean to {apart[0]:.2f}, add_ to {apart[1]:.2f}")
assert abs(beside[0] - 0.1) < 1e-5
assert beside[1] == apart[1] == 1
assert apart[0] == 0, "the rows themselves are moved now"
PYTHON
"$work/venv/bin/python" "$work/look.py"
