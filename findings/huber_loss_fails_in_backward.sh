#!/usr/bin/env bash
# torch 2.13.0, torch.nn.functional.huber_loss: integer targets give a loss, and an error when its gradient is taken.
#
# A good guess: a loss that takes its inputs can be trained with them; what it cannot train with it refuses when called,
# as binary_cross_entropy_with_logits does. And huber_loss with delta 1 is smooth_l1_loss with beta 1, so that either
# takes what the other takes.
# Behaviour: mse_loss, l1_loss and smooth_l1_loss train on integer targets. huber_loss gives the same value as
# smooth_l1_loss for them, so an evaluation works, and ends in backward, without the name of a target or of a loss.
#
# Output seen (torch 2.13.0, CPU, Python 3.11):
#   mse_loss: trains
#   l1_loss: trains
#   smooth_l1_loss: trains
#   huber_loss: value of smooth_l1_loss, then RuntimeError: Found dtype Long but expected Float
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$work/look.py" <<'PYTHON'
import torch
import torch.nn.functional as functional

targets = torch.tensor([0, 2, 5, 9])


def outcome(name):
    """What comes of a loss, and of its gradient, on integer targets."""
    outputs = torch.tensor([0.5, 2.0, 4.0, 1.0], requires_grad=True)
    value = getattr(functional, name)(outputs, targets)
    try:
        value.backward()
    except RuntimeError as error:
        same = torch.equal(value, functional.smooth_l1_loss(outputs, targets))
        return f"{'value of smooth_l1_loss' if same else value.item()}, then RuntimeError: {error}"
    return "trains"


found = {name: outcome(name) for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")}
for name, what in found.items():
    print(f"{name}: {what}")
assert all(found[name] == "trains" for name in ("mse_loss", "l1_loss", "smooth_l1_loss"))
assert found["huber_loss"].startswith("value of smooth_l1_loss, then RuntimeError: Found dtype Long"), "it trains now"
PYTHON
"$work/venv/bin/python" "$work/look.py"
