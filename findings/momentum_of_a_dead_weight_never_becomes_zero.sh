#!/usr/bin/env bash
# torch 2.13.0, SGD with momentum and Adam on the CPU: once the gradient of a weight is exactly 0, as behind a ReLU that
# is never active, its first moment does not decay to 0: it stays at a subnormal number, and each step is slow.
#
# A good guess: 0.9 ** k underflows to 0 after about a thousand steps, and a step over zeros is as fast as any.
# Behaviour: near the smallest subnormal number a product with 0.9 is rounded back to what it was (4 units * 0.9 = 3.6,
# and so 4 again): the buffer is stuck a few units above 0 for ever. Steps over such buffers, with torch's defaults, take
# several times as long, since processors are slow at subnormal numbers; nothing in weights or losses shows it.
# `torch.set_flush_denormal(True)` ends it.
#
# Output seen (torch 2.13.0, CPU, Python 3.11; the ratios of time vary with the processor):
#   SGD  after 3000 steps without a gradient: momentum_buffer = 5.6e-45, with subnormals flushed 0
#   SGD  a step takes 19.1 times as long as over zeros
#   Adam after 3000 steps without a gradient: exp_avg = 5.6e-45, with subnormals flushed 0
#   Adam a step takes 6.4 times as long as over zeros
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$work/look.py" <<'PYTHON'
import time

import torch

torch.set_num_threads(1)
KINDS = {
    "SGD": ("momentum_buffer", lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9)),
    "Adam": ("exp_avg", lambda weights: torch.optim.Adam(weights, lr=0.001)),
}


def after(make, num_steps):
    """Return an optimizer whose weight had a gradient once, and none since."""
    weight = torch.nn.Parameter(torch.ones(100_000))
    optimizer = make([weight])
    for step in range(num_steps):
        weight.grad = torch.full_like(weight, 0.01 if step == 0 else 0.0)
        optimizer.step()
    return optimizer, weight


def secs(optimizer):
    """Return the shortest time of a step, of some."""
    times = []
    for _ in range(50):
        start = time.perf_counter()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return min(times)


for name, (buffer, make) in KINDS.items():
    stuck, weight = after(make, 3000)
    kept = stuck.state[weight][buffer][0].item()
    slow = secs(stuck)
    stuck.state[weight][buffer].zero_()
    ratio = slow / secs(stuck)
    torch.set_flush_denormal(True)
    flushed, weight = after(make, 3000)
    zero = flushed.state[weight][buffer][0].item()
    torch.set_flush_denormal(False)
    print(f"{name:<4} after 3000 steps without a gradient: {buffer} = {kept:.2g}, with subnormals flushed {zero:g}")
    print(f"{name:<4} a step takes {ratio:.1f} times as long as over zeros")
    assert 0 < kept < 1e-43, "it decays to 0 now"
    assert zero == 0
PYTHON
"$work/venv/bin/python" "$work/look.py"
