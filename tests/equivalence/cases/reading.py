"""What is printed without training: plans, configurations, descriptions, lists, problems; and what leaves no run."""

from __future__ import annotations

from .case import CONVOLUTIONS, TINY, Case, optrun

_BAD = {
    "numbers": TINY.replace("lr: 0.1", "lr: -1").replace("batch_size: 20", "batch_size: '20'"),
    "names": TINY.replace("name: sgd", "name: sdg").replace("accuracy", "acuracy"),
    "keys": TINY.replace("epochs: 2", "epoch: 2") + "optimiser: {name: sgd}\n",
    "fit": TINY.replace("loss: cross_entropy", "loss: mse"),
    "lengths": TINY.replace("{epochs: 2}", "{epochs: 2, max_time: 3 parsecs}") + "eval: {every: 10m}\n",
    "yaml": TINY + "stop: {on_nan: [\n",
    "twice": TINY + "loss: mse\n",
    "anchors": TINY + "eval: &a {every: 1}\n",
    "flavors": TINY.replace("name: sgd", "name: sgd, flavor: tf2"),
    "schedule": TINY + "schedule: {name: piecewise, boundaries: [3, 2], factors: [1, 2]}\n",
    "hooks": TINY + "hooks: [{name: norms, every: 10m}, {name: nobody}]\n",
    "extends": "extends: nowhere\n",
    "code": TINY.replace("model: logistic", "model: ./missing.py:Net"),
    "empty": "",
}

_DESCRIBED = (
    "optimizer/sgd",
    "optimizer/rmsprop",
    "optimizer/sam",
    "optimizer/muon",
    "schedule/piecewise",
    "schedule/sequence",
    "model/resnet",
    "data/csv",
    "augmentation/crop",
    "loss/cross_entropy",
    "metric/accuracy",
    "update/tf_batch_norm",
    "init/warm_start",
    "hook/norms",
    "hook/final_ops",
)

CASES = (
    Case(
        "describe",
        (
            *(optrun(f"describe {name} --json") for name in _DESCRIBED),
            *(optrun(f"describe {name}") for name in ("optimizer/adam", "cosine", "hook/hyperparameter")),
            optrun("describe optimizer/rmsprop --flavor tf1"),
            optrun("describe optimizer/nobody", code=2),
            optrun("describe accurac", code=2),
        ),
    ),
    Case(
        "list",
        (
            optrun("list"),
            optrun("list --json"),
            optrun("list optimizers"),
            optrun("list nothing", code=2),
            optrun("data"),
            optrun("data --json"),
        ),
    ),
    Case(
        "config",
        (
            *(optrun(f"config {name} --json") for name in ("mom", "tf1-recipe", "gpt-text", "muon", "cifar10-resnet")),
            optrun("config mom optimizer.lr=0.2 --origins"),
            optrun("config own.yaml --origins --json"),
            optrun("config own.yaml schedule=cosine metrics.0=macro_f1"),
            optrun("config mom optimizer.lr=fast", code=2),
            optrun("config nobody", code=2),
        ),
        {
            "own.yaml": "extends: [tf1-recipe, base]\noptimizer: {momentum: 0.5}\n",
            "base.yaml": "seed: 3\nupdates: null\n",
        },
    ),
    Case(
        "plan",
        (
            optrun("plan mom --no-probe"),
            optrun("plan tf1-recipe --no-probe"),
            optrun("plan tf1-recipe --no-probe --json"),
            optrun("plan lbfgs --no-probe --json"),
            optrun("plan base.yaml --no-probe", "updates=[ema, tf_batch_norm]", "train.accumulate=4", "train.l2=0.1"),
            optrun("plan base.yaml --no-probe train.steps=null train.max_time=10m checkpoint.every=2"),
        ),
        {"base.yaml": CONVOLUTIONS},
    ),
    Case(
        "problems",
        (
            optrun("validate", *[f"{name}.yaml" for name in _BAD], code=2),
            optrun("validate --static --json", *[f"{name}.yaml" for name in _BAD], code=2),
            optrun("validate good.yaml"),
            optrun("validate numbers.yaml keys.yaml", code=2, GITHUB_ACTIONS="true"),
            optrun("train numbers.yaml", code=2),
            optrun("train good.yaml train.epochs=-1 loss=mse --json", code=2),
            optrun("nothing", code=2),
            optrun("show nobody", code=5),
        ),
        {**{f"{name}.yaml": text for name, text in _BAD.items()}, "good.yaml": TINY},
    ),
    Case(
        "without-runs",
        (
            optrun("lr-find tiny.yaml --steps 30 --json"),
            optrun("lr-find tiny.yaml --steps 30 -o lr.svg"),
            optrun("trajectories beale --steps 20 --json -o beale.svg"),
            optrun("trajectories saddle sgd adam adam adam-2:lr=0.1 --steps 10 -q"),
            optrun("trajectories saddle mom --steps 6 --frames 3 -o saddle.gif -q"),
            optrun("plot schedule mom -o schedule.svg"),
        ),
        {"tiny.yaml": TINY},
    ),
    Case("verify-resume", (optrun("verify-resume tiny.yaml --steps 4 --at 2 --json"),), {"tiny.yaml": TINY}),
    Case(
        "help",
        (
            optrun("--help"),
            *(optrun(f"{name} --help") for name in ("train", "compare", "sweep", "report", "eval")),
            optrun("", _OPTRUN_COMPLETE="bash_complete", COMP_WORDS="optrun tr", COMP_CWORD="1"),
            optrun("", _OPTRUN_COMPLETE="bash_complete", COMP_WORDS="optrun train ad", COMP_CWORD="2"),
        ),
    ),
)
