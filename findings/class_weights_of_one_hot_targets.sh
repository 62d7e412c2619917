#!/usr/bin/env bash
# torch 2.13.0, torch.nn.functional.cross_entropy(weight=..., reduction="mean"): the same classes, written as
# probabilities of 0 and 1, give another loss.
#
# A good guess: class numbers are short for one-hot rows. Without class weights both give the same loss, so whoever
# turns on label smoothing, mixup or distillation, which need probabilities, keeps the scale of loss and gradients.
# Behaviour: for class numbers the mean is over the weights of the targets, for probabilities over the examples, however
# much these weigh. With weights of mean 1 over the classes the two differ by how often each class occurs; with others by
# their size, which acts as a factor of the learning rate. torch's page has both formulas; neither refers to the other.
#
# Output seen (torch 2.13.0, CPU, Python 3.11):
#   no weights:           numbers 0.4714, one-hot 0.4714
#   weights 1 and 3:      numbers 0.5698, one-hot 1.3296
#   their ratio is the mean weight of the targets: 2.3333
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$work/look.py" <<'PYTHON'
import torch
from torch.nn.functional import cross_entropy, one_hot

outputs = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
numbers = torch.tensor([0, 1, 1])
rows = one_hot(numbers, 2).float()
weight = torch.tensor([1.0, 3.0])

plain = cross_entropy(outputs, numbers).item(), cross_entropy(outputs, rows).item()
weighted = cross_entropy(outputs, numbers, weight=weight).item(), cross_entropy(outputs, rows, weight=weight).item()
mean_weight = weight[numbers].mean().item()
print(f"no weights:           numbers {plain[0]:.4f}, one-hot {plain[1]:.4f}")
print(f"weights 1 and 3:      numbers {weighted[0]:.4f}, one-hot {weighted[1]:.4f}")
print(f"their ratio is the mean weight of the targets: {weighted[1] / weighted[0]:.4f}")
assert abs(plain[0] - plain[1]) < 1e-6
assert abs(weighted[1] / weighted[0] - mean_weight) < 1e-5, "both are means over the same now"
assert mean_weight > 2
PYTHON
"$work/venv/bin/python" "$work/look.py"
