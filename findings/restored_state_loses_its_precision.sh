#!/usr/bin/env bash
# torch 2.13.0, Optimizer.load_state_dict: the float32 state of a bfloat16 parameter comes back as bfloat16.
#
# A good guess: what state_dict() gave is what load_state_dict() puts back, bit for bit.
# Behaviour: each floating-point tensor of the state is cast to the dtype of its parameter. An optimizer that keeps a
# float32 master copy of bfloat16 weights, so that steps below their precision add up, loses at each restore all that it
# had added up, without a word: here ten steps of 0.0001 are gone. Nothing is wrong with the saved state itself.
#
# Output seen (torch 2.13.0, Python 3.11):
#   saved:    torch.float32 0.9990
#   restored: torch.bfloat16 1.0000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
"$work/venv/bin/python" - <<'PYTHON'
import torch


class MasterSGD(torch.optim.Optimizer):
    """Gradient descent on float32 copies of the parameters."""

    def __init__(self, params, lr: float):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if "master" not in state:
                    state["master"] = parameter.float()
                state["master"].sub_(parameter.grad.float(), alpha=group["lr"])
                parameter.copy_(state["master"])


weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
optimizer = MasterSGD([weight], lr=1e-4)
for _ in range(10):
    weight.grad = torch.ones_like(weight)
    optimizer.step()
saved = optimizer.state_dict()
again = MasterSGD([weight], lr=1e-4)
again.load_state_dict(saved)

before, after = optimizer.state[weight]["master"], again.state[weight]["master"]
print(f"saved:    {before.dtype} {before.item():.4f}")
print(f"restored: {after.dtype} {after.item():.4f}")
assert saved["state"][0]["master"].dtype == torch.float32, "state_dict() itself no longer gives float32"
assert after.dtype == torch.bfloat16 and after.item() == 1.0, "load_state_dict keeps the precision now"
PYTHON
