#!/usr/bin/env bash
# torch 2.13.0, optimizers with fused=True on a CPU: state that lies otherwise in memory than its weight is mixed up.
#
# A good guess: a state dict holds values, so that an optimizer which loads a copy of its own state, contiguous as a file
# gives it back, goes on as before; and a gradient of the right shape and values is as good as another one.
# Behaviour: a fused step goes through weight, gradient and state in the order in which each lies in memory, whatever
# their strides. With a weight in channels_last, whose state was made likewise, a contiguous copy of the state, or of the
# gradient, gives other weights at the next step, without an error. With fused=False nothing changes.
#
# Output seen (torch 2.13.0, Python 3.11, x86-64; largest difference of a weight after one more step):
#   SGD fused: contiguous state 0.31, contiguous gradient 0.31
#   SGD not fused: contiguous state 0, contiguous gradient 0
#   Adam fused: contiguous state 0.16, contiguous gradient 0.16
#   Adam not fused: contiguous state 0, contiguous gradient 0
#   Adagrad fused: contiguous state 0.087, contiguous gradient 0.2
#   Adagrad not fused: contiguous state 0, contiguous gradient 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$work/layout.py" <<'PYTHON'
import torch
from torch.optim import SGD, Adagrad, Adam


def stepped(kind, is_fused, options, state_is_contiguous=False, gradient_is_contiguous=False):
    """Return a weight in channels_last after two steps; before the second its state may have been loaded."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last))
    optimizer = kind([weight], lr=0.1, fused=is_fused, **options)
    weight.grad = torch.randn(4, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    optimizer.step()
    if state_is_contiguous:
        saved = optimizer.state_dict()
        saved["state"] = {
            place: {name: value.contiguous() if torch.is_tensor(value) else value for name, value in state.items()}
            for place, state in saved["state"].items()
        }
        optimizer.load_state_dict(saved)
    gradient = torch.randn(4, 3, 3, 3, generator=generator)
    weight.grad = gradient if gradient_is_contiguous else gradient.to(memory_format=torch.channels_last)
    optimizer.step()
    return weight.detach()


for kind, options in ((SGD, {"momentum": 0.9}), (Adam, {}), (Adagrad, {})):
    for is_fused in (True, False):
        usual = stepped(kind, is_fused, options)
        state = (stepped(kind, is_fused, options, state_is_contiguous=True) - usual).abs().max().item()
        gradient = (stepped(kind, is_fused, options, gradient_is_contiguous=True) - usual).abs().max().item()
        name = f"{kind.__name__} {'' if is_fused else 'not '}fused"
        print(f"{name}: contiguous state {state:.2g}, contiguous gradient {gradient:.2g}")
        assert (state > 0.01) == is_fused and (gradient > 0.01) == is_fused, "it is otherwise now"
PYTHON
"$work/venv/bin/python" "$work/layout.py"
