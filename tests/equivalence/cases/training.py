"""What else decides a run: batch norm, averages, micro-batches, precision, noise, penalties, the gate, kills, names."""

from __future__ import annotations

from .case import CONVOLUTIONS, TINY, Case, Command, optrun, own_file, python

_FUNCTION = """\
data: none
model: {name: rosenbrock}
loss: output
optimizer: {name: adam, lr: 0.1}
train: {steps: 12}
eval: {every: 3 steps}
log: {every: 1 step, lines: 4 steps}
"""

_OWN_YAML = """\
data: {name: digits, batch_size: 16, subset: 64, augment: ["./own.py:brighter"]}
model: {name: "./own.py:tiny", width: 12}
init: ./own.py:halves
loss: ./own.py:hinge
metrics: [accuracy, "./own.py:MarginOfVictory"]
optimizer: {name: "./own.py:SignMomentum", lr: 0.003}
schedule: {name: "./own.py:inverse_root", scale: 5}
updates: [{name: "./own.py:Shrink", factor: 0.95}]
train: {steps: 8}
hooks:
  - {name: "./own.py:WatchRate", every: 2 steps, label: my_rate}
  - {name: final_ops, functions: ["./own.py:measured"]}
"""

_SIGTERM = "hooks=[{name: './own.py:Killer', step: 5, signal_name: SIGTERM}]"

_KILLED = f"""\
{TINY}
hooks: [{{name: "./own.py:Killer", step: 8}}]
checkpoint: {{every: 3 steps}}
"""


def _convolutions(name: str, *commands: Command) -> Case:
    return Case(name, commands, {"base.yaml": CONVOLUTIONS})


CASES = (
    _convolutions(
        "batch-norm",
        optrun("train base.yaml --name own -q"),
        optrun("train base.yaml updates=[batch_norm] --name grouped -q"),
        optrun("train base.yaml --name tf -q", "updates=[{name: tf_batch_norm, decay: 0.8}]"),
        optrun("train base.yaml train.accumulate=2 --name tf-two -q", "updates=[tf_batch_norm]"),
        optrun("eval tf --split val --json"),
    ),
    _convolutions(
        "ema",
        optrun("train base.yaml eval.weights=ema --name a -q", "updates=[{name: ema, decay: 0.9}]"),
        optrun("resume a train.steps=9 --allow-change -q"),
        optrun("train base.yaml --name b -q", "updates=[tf_batch_norm, {name: ema, decay: 0.9, num_updates: true}]"),
        optrun("eval a --json"),
        optrun("eval a --watch --json"),
        optrun("eval a --weights raw --split val --json"),
        optrun("eval b --weights ema --checkpoint best --json"),
    ),
    _convolutions(
        "accumulation",
        optrun("train base.yaml train.accumulate=4 --name a -q"),
        optrun("resume a train.steps=8 --allow-change -q"),
        optrun(
            "train base.yaml train.accumulate=3 train.clip_norm=0.5 train.l2=0.01 --name b -q", "data.augment=[noise]"
        ),
        optrun("train base.yaml train.accumulate=2 data.drop_last=true data.subset=40 --name c -q", "optimizer=sam"),
    ),
    _convolutions(
        "bf16",
        optrun("train base.yaml --precision bf16 --name a -q"),
        optrun("resume a train.steps=8 --allow-change -q"),
        optrun(
            "train base.yaml train.precision=bf16 train.accumulate=2 train.clip_norm=1 --name b -q", "updates=[ema]"
        ),
    ),
    _convolutions(
        "augmentation",
        optrun("train base.yaml --name a -q", "data.augment=[{name: crop, padding: 1}, flip, standardise]"),
        optrun("train base.yaml --name b -q", "data.augment=[shift, {name: cutout, size: 3}, noise]"),
        optrun("train base.yaml --name c -q", "data.augment=[{name: mixup, alpha: 0.5}]"),
        optrun("resume c train.steps=9 --allow-change -q"),
        optrun("eval a --json"),
    ),
    _convolutions(
        "penalties",
        optrun("train base.yaml train.l2=0.01 --name a -q"),
        optrun("train base.yaml --name b -q", "train.l2={rate: 0.01, include: [conv, linear], exclude: [bias]}"),
        optrun("train base.yaml train.clip_norm=0.1 --name c -q"),
        optrun("train base.yaml train.clip_value=0.01 train.l2=0.1 --name d -q"),
    ),
    Case(
        "plateau",
        (
            optrun("train base.yaml --name a -q", "schedule={name: plateau, patience: 0, factor: 0.5}"),
            optrun(
                "train base.yaml --name b train.steps=5 -q",
                "schedule={name: plateau, patience: 0, factor: 0.5, warmup: 2}",
            ),
            optrun("resume b train.steps=12 --allow-change -q"),
        ),
        {"base.yaml": _FUNCTION},
    ),
    Case(
        "early-stop",
        (
            optrun("train tiny.yaml stop.patience=1 train.epochs=20 eval.every=2 --name a -q"),
            optrun("train tiny.yaml eval.target=0.6 stop.at_target=true train.epochs=5 --name b -q"),
            optrun("train tiny.yaml eval.metric=val/loss eval.target=0.9 --name c -q"),
        ),
        {"tiny.yaml": TINY},
    ),
    Case(
        "diverging",
        (
            optrun("train base.yaml optimizer.lr=1e30 --name raise", code=3),
            optrun("train base.yaml optimizer.lr=1e30 stop.on_nan=stop --name stop", code=3),
            optrun("train base.yaml optimizer.lr=1e30 stop.on_nan=skip --name skip", code=3),
            optrun("train tiny.yaml stop.loss_above=0.8 --name above", code=3),
            optrun("train tiny.yaml --name fed", "hooks=[{name: feed, function: './own.py:poison'}]", code=3),
            optrun(
                "train tiny.yaml stop.on_nan=skip --name skipped",
                "hooks=[{name: feed, function: './own.py:poison'}]",
                code=3,
            ),
            optrun("resume fed stop.on_nan=skip --allow-change", code=3),
            optrun("resume raise optimizer.lr=0.1 --allow-change -q"),
            optrun("show stop --json"),
        ),
        {"base.yaml": _FUNCTION, "tiny.yaml": TINY, "own.py": own_file("own.py")},
    ),
    Case(
        "own-code",
        (
            optrun("train own.yaml --name a -q"),
            optrun("resume a train.steps=12 --allow-change -q"),
            optrun("eval a --split val --json"),
            optrun("train own.yaml train.accumulate=2 seed=5 --name b --json"),
            optrun("list ./own.py"),
            optrun("describe ./own.py:SignMomentum"),
            python("change.py"),
            optrun("resume b train.steps=10 --allow-change", code=2),
            optrun("eval b --json", code=2),
            optrun("resume b train.steps=10 --allow-change --allow-code -q"),
        ),
        {
            "own.py": own_file("own.py"),
            "own.yaml": _OWN_YAML,
            "change.py": "with open('own.py', 'a') as file:\n    file.write('# changed')\n",
        },
    ),
    Case(
        "killed",
        (
            optrun("train killed.yaml --name killed -q", code=-9),
            optrun("runs --json"),
            optrun("resume killed -q"),
            optrun("train killed.yaml --name stopped -q", _SIGTERM, code=143),
            optrun("train killed.yaml --name stopped -q", _SIGTERM),
            optrun("train killed.yaml --name whole -q", "hooks=[]"),
        ),
        {"killed.yaml": _KILLED, "own.py": own_file("own.py")},
    ),
    Case(
        "names",
        (
            optrun("train tiny.yaml --name a", talk=True),
            optrun("train tiny.yaml --name a --json", talk=True),
            optrun("train tiny.yaml --name a optimizer.lr=0.2", code=2),
            optrun("train tiny.yaml --name a train.epochs=3 --allow-change --json", talk=True),
            optrun("train tiny.yaml --name a optimizer.lr=0.2 --fresh -q"),
            optrun("train tiny.yaml --seed 3 -q"),
            optrun("train tiny.yaml seed=4 -q"),
            optrun("train tiny.yaml --dry-run", talk=True),
            optrun("resume nobody", code=5),
            optrun("rm a -y"),
            optrun("rm tiny-0001 --dry-run --json"),
        ),
        {"tiny.yaml": TINY},
    ),
    Case("python-session", (python("recipe.py"), python("recipe.py")), {"recipe.py": own_file("recipe.py")}),
)
