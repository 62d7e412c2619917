#!/usr/bin/env bash
# torch 2.13.0, torch.optim.Optimizer: making the first instance of an optimizer class replaces `step` on that class.
#
# A good guess: making an object leaves its class alone, so that whoever compares, hashes or stores a class's methods
# (caches keyed by code, records of an experiment, serialisers by value) finds the same before and after.
# Behaviour: the constructor wraps `step` with a profiling hook and writes the wrapper into the user's own class, once.
# The method's code object is then torch's, not the user's; with inheritance each class that is instantiated gets one,
# a base class that is instantiated first hands its wrapper down, and inspect.getsource still shows the user's text.
#
# Output seen (torch 2.13.0, Python 3.11):
#   before: step is code 'step', the same object as written: True
#   after:  step is code 'wrapper', the same object as written: False, hooked: True
#   source still shown: def step(self, closure=None): return 7
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$work/look.py" <<'PYTHON'
import inspect

import torch


class Mine(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def step(self, closure=None): return 7


written = vars(Mine)["step"]
same = vars(Mine)["step"] is written
print(f"before: step is code '{Mine.step.__code__.co_name}', the same object as written: {same}")
assert same and Mine.step.__code__.co_name == "step"

Mine([torch.nn.Parameter(torch.zeros(1))])
now = vars(Mine)["step"]
hooked = getattr(now, "hooked", False)
print(f"after:  step is code '{now.__code__.co_name}', the same object as written: {now is written}, hooked: {hooked}")
assert now is not written and now.__code__.co_name == "wrapper" and hooked, "torch leaves the class alone now"

print("source still shown:", inspect.getsource(Mine.step).strip())
assert inspect.getsource(Mine.step).strip() == "def step(self, closure=None): return 7"
PYTHON
"$work/venv/bin/python" "$work/look.py"
