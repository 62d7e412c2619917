#!/usr/bin/env bash
# torch 2.13.0, SGD(nesterov=True, fused=True) on a CPU: what a weight becomes depends on where it stands in its tensor.
#
# A good guess: the rule works on each weight alone, so that weights that begin alike and always have the same gradient
# stay alike, and a network whose tensors are cut in another way trains the same.
# Behaviour: with fused=True and Nesterov's momentum, the weights behind the last full vector of 8 or 16 are rounded
# otherwise than those before it: of 33 equal weights with equal gradients the last one is another after a few steps.
# Plain momentum, SGD without it, Adam, AdamW and Adagrad with fused=True keep equal weights equal, and so does SGD with
# foreach=True. Without vector instructions (ATEN_CPU_CAPABILITY=default) there is no such place.
#
# Output seen (torch 2.13.0, Python 3.11, x86-64 with AVX2 or AVX-512; 33 equal weights after 50 steps):
#   SGD nesterov fused: other than the first are [32], by up to 9.5e-07
#   SGD nesterov foreach: all are equal
#   SGD momentum fused: all are equal
#   SGD fused: all are equal
#   Adam fused: all are equal
#   AdamW fused: all are equal
#   Adagrad fused: all are equal
#   SGD nesterov fused, ATEN_CPU_CAPABILITY=default: all are equal
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$work/place.py" <<'PYTHON'
import torch
from torch.optim import SGD, Adagrad, Adam, AdamW

NESTEROV = {"momentum": 0.9, "nesterov": True}
CASES = {
    "SGD nesterov fused": (SGD, {**NESTEROV, "fused": True}),
    "SGD nesterov foreach": (SGD, {**NESTEROV, "foreach": True}),
    "SGD momentum fused": (SGD, {"momentum": 0.9, "fused": True}),
    "SGD fused": (SGD, {"fused": True}),
    "Adam fused": (Adam, {"fused": True}),
    "AdamW fused": (AdamW, {"fused": True}),
    "Adagrad fused": (Adagrad, {"fused": True}),
}


def trained(kind, options):
    """Return 33 weights that were equal, after 50 steps in which all had the same gradient."""
    weights = torch.nn.Parameter(torch.full((33,), 0.3))
    optimizer = kind([weights], lr=0.05, **options)
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        weights.grad = torch.full((33,), torch.randn((), generator=generator).item())
        optimizer.step()
    return weights.detach()


has_vectors = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
for name, (kind, options) in CASES.items() if has_vectors else [("SGD nesterov fused", CASES["SGD nesterov fused"])]:
    weights = trained(kind, options)
    others = [place for place in range(33) if weights[place] != weights[0]]
    name += "" if has_vectors else ", ATEN_CPU_CAPABILITY=default"
    distance = (weights - weights[0]).abs().max().item()
    print(f"{name}: " + (f"other than the first are {others}, by up to {distance:.1e}" if others else "all are equal"))
    assert others == ([32] if name == "SGD nesterov fused" else []), "it is otherwise now"
    assert distance < 2e-6, "the difference is larger now"
PYTHON
"$work/venv/bin/python" "$work/place.py"
ATEN_CPU_CAPABILITY=default "$work/venv/bin/python" "$work/place.py"
