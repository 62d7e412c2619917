#!/usr/bin/env bash
# torch 2.13.0, torch._inductor.aoti_load_package: while a model runs that was compiled ahead of time, no other thread
# of Python does.
#
# A good guess: a call of it lets other threads run, as operations of torch do one by one, and as a model of
# torch.compile does: a training loop then loads its next batch, writes a checkpoint or answers a signal meanwhile.
# Behaviour: the call holds the interpreter's lock from its beginning to its end. A thread that wakes each millisecond
# is seen to stand still for as long as the model runs.
#
# Output seen (torch 2.13.0, CPU, Python 3.11, g++ 12), the longest stand as a share of the call:
#   one by one      0.02
#   torch.compile   0.04
#   ahead of time   1.00
set -euo pipefail
command -v g++ > /dev/null || { echo "needs a C++ compiler, g++" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0 setuptools==80.9.0
cat > "$work/look.py" <<'PYTHON'
import statistics
import sys
import threading
import time
import warnings

import torch

warnings.filterwarnings("ignore")
torch.set_num_threads(1)


class Products(torch.nn.Module):
    """Some large products of matrices, a third of a second in all."""

    def forward(self, inputs):
        for _ in range(6):
            inputs = torch.tanh(inputs @ inputs)
        return inputs


def stands_still(call):
    """Return the longest that another thread stood still, as a share of the call."""
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    time.sleep(0.05)
    start = time.monotonic()
    call()
    end = time.monotonic()
    time.sleep(0.05)
    stop.set()
    thread.join()
    return max(later - earlier for earlier, later in zip(ticks, ticks[1:])) / (end - start)


model, inputs = Products(), torch.randn(1500, 1500)
path = torch._inductor.aoti_compile_and_package(
    torch.export.export(model, (inputs,)), package_path=f"{sys.argv[1]}/model.pt2"
)
packaged = torch._inductor.aoti_load_package(path)
ways = {"one by one": model, "torch.compile": torch.compile(model), "ahead of time": packaged}
found = {}
with torch.no_grad():
    for name, way in ways.items():
        way(inputs)
        found[name] = statistics.median(stands_still(lambda way=way: way(inputs)) for _ in range(5))
        print(f"{name:<15} {found[name]:.2f}")
assert found["one by one"] < 0.5 and found["torch.compile"] < 0.5
assert found["ahead of time"] > 0.9, "other threads run now"
PYTHON
export TORCHINDUCTOR_CACHE_DIR="$work/inductor"
"$work/venv/bin/python" "$work/look.py" "$work"
