#!/usr/bin/env bash
# torch 2.13.0, torch.optim.SGD(momentum=0.9, fused=True): a parameter whose first gradient comes later than others'
# ends the step with a TypeError.
#
# A good guess: `fused`, as `foreach` and the plain loop, is another way to do the same steps, so that a run which the
# other two finish (a head that is trained from its second step on, an expert that is not always chosen) is finished by
# it as well, with the same numbers.
# Behaviour: with `foreach` and without, a momentum buffer begins at a parameter's own first gradient. The fused kernel
# is called with the buffers of all parameters that have a gradient, and decides for all of them at once whether this is
# the first step: some buffers being there and others None is an error, which names neither parameter nor option.
#
# Output seen (torch 2.13.0, Python 3.11):
#   plain:   early 0.4390, late 0.7100
#   foreach: early 0.4390, late 0.7100
#   fused:   TypeError at step 2: expected Tensor as element 1 in argument 2, but got NoneType
#   fused, no momentum: early 0.7000, late 0.8000
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$work/look.py" <<'PYTHON'
import torch


def trained(**options):
    """Three steps on two weights of 1; the second one's first gradient comes at step 2."""
    early, late = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = torch.optim.SGD([early, late], lr=0.1, **options)
    for step in (1, 2, 3):
        optimizer.zero_grad()
        (early + late if step > 1 else early).sum().backward()
        try:
            optimizer.step()
        except TypeError as error:
            return f"TypeError at step {step}: {error}"
    return f"early {early.item():.4f}, late {late.item():.4f}"


plain = trained(momentum=0.9, foreach=False)
foreach = trained(momentum=0.9, foreach=True)
fused = trained(momentum=0.9, fused=True)
without = trained(fused=True)
print("plain:  ", plain)
print("foreach:", foreach)
print("fused:  ", fused)
print("fused, no momentum:", without)
assert plain == foreach == "early 0.4390, late 0.7100", "the plain ways differ now"
assert fused.startswith("TypeError at step 2"), "the fused way takes gradients that come later now"
assert without == "early 0.7000, late 0.8000"
PYTHON
"$work/venv/bin/python" "$work/look.py"
