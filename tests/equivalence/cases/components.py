"""One short run with each model, loss, metric, data set, schedule and hook that needs no download."""

from __future__ import annotations

from .case import CONVOLUTIONS, TINY, Case, optrun

_LONG = TINY.replace("{epochs: 2}", "{steps: 24}")

_SCHEDULES = {
    "constant": "{name: constant, warmup: 3}",
    "cosine": "{name: cosine, warmup: 10%, final: 0.01}",
    "cosine_restarts": "{name: cosine_restarts, first: 5, t_mul: 2.0, m_mul: 0.8}",
    "cyclic": "{name: cyclic, up: 3, low: 0.1, factor: 0.9}",
    "exponential": "{name: exponential, every: 4, factor: 0.9, staircase: true}",
    "inverse_sqrt": "{name: inverse_sqrt, peak: 6}",
    "inverse_time": "{name: inverse_time, every: 10%, rate: 0.5}",
    "linear": "{name: linear, initial: 0.5, final: 0.1}",
    "linear_cosine": "{name: linear_cosine, num_periods: 0.5}",
    "natural_exp": "{name: natural_exp, every: 10%, rate: 0.5}",
    "noisy_linear_cosine": "{name: noisy_linear_cosine, initial_variance: 0.05}",
    "one_cycle": "{name: one_cycle, rise: 0.3, three_phase: true}",
    "piecewise": "{name: piecewise, boundaries: [30%, 2 epochs], factors: [1, 0.5, 0.1], side: le}",
    "polynomial": "{name: polynomial, power: 2.0, final: 0.001, cycle: true, end: 7}",
    "sequence": "{name: sequence, at: [60%], schedules: [constant, {name: cosine, final: 0.01}]}",
    "step": "{name: step, every: 5, factor: 0.5}",
    "wsd": "{name: wsd, warmup: 2, cooldown: 20%, shape: 1-sqrt}",
}

_MODELS = {
    "mlp": "{name: mlp, hidden: [8], dropout: 0.2}",
    "resnet": "{name: resnet, depth: 8, width: 4}",
    "preact_resnet": "{name: preact_resnet, depth: 8, width: 4}",
    "wide_resnet": "{name: wide_resnet, depth: 10, widen: 1}",
    "vit": "{name: vit, width: 8, depth: 1, heads: 2, dropout: 0.1}",
}

_TOKENS = """\
data: {name: text, length: 16, batch_size: 8, subset: 32, val: 0.001, test: 0.001}
model: {name: gpt, width: 8, depth: 1, heads: 2}
loss: next_token
metrics: [bits_per_byte, perplexity, token_accuracy]
optimizer: {name: adamw, lr: 0.003, weight_decay: {rate: 0.1, exclude: [bias, norm]}}
train: {steps: 4, clip_norm: 1.0}
log: {every: 1 step, lines: 1h}
"""

_VALUES = """\
data: {name: diabetes, batch_size: 64}
model: {name: mlp, hidden: [8]}
loss: mse
metrics: [mse, mae, r2]
optimizer: {name: adam, lr: 0.01}
train: {steps: 6}
log: {every: 1 step, lines: 1h}
"""

_TABLE = "size,age,price\n" + "".join(f"{number},{number % 3},{number * 1.5 + number % 7}\n" for number in range(60))

_CODE_HOOKS = """\
hooks:
  - {name: logging, every: 2 steps, fetches: [grad_norm, momentum]}
  - {name: norms, every: 3 steps, match: ["*.weight"]}
  - {name: csv}
  - {name: summary, every: 2 steps, fetches: [loss, grad_norm]}
  - {name: evaluation, every: 4 steps, splits: [train], final: []}
  - {name: hyperparameter, of: momentum, schedule: {name: linear, final: 0.5}}
  - {name: nan, policy: skip}
  - {name: stop_at_step, last_step: 10}
"""

CASES = (
    Case(
        "schedules",
        (
            optrun("plot schedule", *[f"{name}.yaml" for name in _SCHEDULES], "--json"),
            optrun("plot schedule sequence.yaml"),
            *(
                optrun(f"train {name}.yaml --name {name} -q")
                for name in ("piecewise", "sequence", "noisy_linear_cosine")
            ),
            optrun("train values.yaml --name values -q"),
            optrun("plan values.yaml --no-probe"),
        ),
        {
            **{f"{name}.yaml": f"{_LONG}schedule: {schedule}\n" for name, schedule in _SCHEDULES.items()},
            "values.yaml": _LONG.replace("sgd, lr: 0.1", "sgd")
            + "schedule: {name: piecewise, boundaries: [5, 9], values: [0.3, 0.2, 0.1]}\n",
        },
    ),
    Case(
        "models",
        tuple(
            optrun(f"train base.yaml train.steps=3 --name {name} -q", f"model={model}")
            for name, model in _MODELS.items()
        ),
        {"base.yaml": CONVOLUTIONS},
    ),
    Case(
        "tokens",
        (
            optrun("train tokens.yaml --name gpt -q"),
            optrun("resume gpt train.steps=6 --allow-change -q"),
            optrun("train tokens.yaml --name lstm -q", "model={name: lstm, width: 8, dropout: 0.1, depth: 2}"),
            optrun("eval gpt --split val --json"),
        ),
        {"tokens.yaml": _TOKENS},
    ),
    Case(
        "values",
        (
            optrun("train values.yaml --name a -q"),
            optrun("train values.yaml data=linnerud data.batch_size=4 loss=huber --name b -q"),
            optrun("train values.yaml data=linear_teacher loss=mae --name c -q"),
            optrun("train values.yaml data=synthetic --name d -q"),
            optrun("train image.yaml --name e -q"),
            optrun("train values.yaml --name f -q", "data={name: csv, path: table.csv, target: price, task: values}"),
            optrun("eval f --json"),
        ),
        {
            "values.yaml": _VALUES,
            "table.csv": _TABLE,
            "image.yaml": _VALUES.replace("diabetes", "digits, targets: image, scaling: unit")
            .replace("mlp, hidden: [8]", "autoencoder, hidden: [16, 4]")
            .replace("loss: mse", "loss: bce"),
        },
    ),
    Case(
        "classes",
        (
            *(optrun(f"train tiny.yaml data={name} --name {name} -q") for name in ("iris", "wine", "breast_cancer")),
            optrun("train tiny.yaml --name scores -q", "metrics=[macro_f1, {name: top_k, k: 2}, accuracy]"),
            optrun("train tiny.yaml data.batch_size=full data.val=0 --name full -q"),
            optrun("train tiny.yaml data.split_seed=3 data.test=0 loss.label_smoothing=0.2 --name split -q"),
        ),
        {"tiny.yaml": TINY},
    ),
    Case(
        "hooks",
        (
            optrun("train hooks.yaml --name a -q", "log.to=[jsonl, csv, tensorboard]"),
            optrun("train hooks.yaml train.steps=5 --name b -q"),
            optrun("resume b train.steps=12 --allow-change -q"),
            optrun("plan hooks.yaml --no-probe"),
        ),
        {"hooks.yaml": CONVOLUTIONS.replace("steps: 6", "steps: 12") + _CODE_HOOKS},
    ),
    Case(
        "warm-start",
        (
            optrun("train tiny.yaml --name a -q"),
            optrun("train tiny.yaml --name b -q", "init={from: a, checkpoint: best}"),
            optrun("train tiny.yaml --name c -q", "init={from: a, map: {'*.bias': null}, only: ['*.weight']}"),
            optrun("train tiny.yaml --name d", "init={from: a, only: ['nothing']}", code=2),
        ),
        {"tiny.yaml": TINY},
    ),
)
