"""Every optimizer, with each of its rules: three steps, then three more after a resume."""

from __future__ import annotations

from .case import CONVOLUTIONS, Case, optrun

_DECAY = "weight_decay: {rate: 0.01, exclude: [bias, norm]}"

#: By family, what `optimizer:` says.
_FAMILIES: dict[str, dict[str, str]] = {
    "sgd": {
        "torch": "{name: sgd, lr: 0.1, %s}",
        "tf1": "{name: sgd, flavor: tf1, lr: 0.1, weight_decay: 0.01}",
        "groups": "{name: sgd, lr: 0.1, groups: [{match: 'blocks.*', lr: 0.01}, {match: bias, lr: 0.2}]}",
    },
    "mom": {
        "torch": "{name: mom, lr: 0.05, momentum: 0.8, %s}",
        "nesterov": "{name: mom, lr: 0.05, nesterov: true}",
        "tf1": "{name: mom, flavor: tf1, lr: 0.05}",
        "tf1-nesterov": "{name: mom, flavor: tf1, lr: 0.05, nesterov: true}",
        "nag": "{name: nag, lr: 0.05, %s}",
    },
    "adam": {
        "torch": "{name: adam, lr: 0.01, betas: [0.8, 0.95], %s}",
        "tf1": "{name: adam, flavor: tf1, lr: 0.01}",
        "amsgrad": "{name: amsgrad, lr: 0.01}",
    },
    "adamw": {"torch": "{name: adamw, lr: 0.01, %s}"},
    "adam-like": {
        "adamax": "{name: adamax, lr: 0.01, %s}",
        "nadam": "{name: nadam, lr: 0.01, %s}",
        "radam": "{name: radam, lr: 0.1, weight_decay: 0.01, decoupled_weight_decay: true}",
    },
    "adagrad": {
        "torch": "{name: adagrad, lr: 0.03, %s}",
        "tf1": "{name: adagrad, flavor: tf1, lr: 0.03}",
        "da": "{name: adagrad_da, lr: 0.1, l1: 0.001, l2: 0.01}",
        "proximal": "{name: proximal_adagrad, lr: 0.1, l1: 0.001, l2: 0.01}",
    },
    "adadelta": {"torch": "{name: adadelta, lr: 1.0, %s}", "tf1": "{name: adadelta, flavor: tf1, lr: 1.0}"},
    "rmsprop": {
        "torch": "{name: rmsprop, lr: 0.003, %s}",
        "torch-centered": "{name: rmsprop, lr: 0.003, momentum: 0.9, centered: true}",
        "tf1": "{name: rmsprop, flavor: tf1, lr: 0.03}",
        "tf1-centered": "{name: rmsprop, flavor: tf1, lr: 0.03, momentum: 0.9, centered: true}",
    },
    "signs": {"lion": "{name: lion, lr: 0.01, weight_decay: 0.1}", "rprop": "{name: rprop, lr: 0.01}"},
    "layerwise": {
        "lamb": "{name: lamb, lr: 0.03, %s}",
        "lars": "{name: lars, lr: 1.0, %s}",
        "adafactor": "{name: adafactor, lr: 0.1}",
    },
    "muon": {"muon": "{name: muon, lr: 0.03, %s, groups: [{match: head.weight, rule: muon}]}"},
    "sam": {
        "sam": "{name: sam, lr: 0.1}",
        "sam-adam": "{name: sam, lr: 0.01, rho: 0.1, inner: adam}",
    },
    "averages": {
        "schedule_free_sgd": "{name: schedule_free_sgd, lr: 1.0, %s}",
        "schedule_free_adamw": "{name: schedule_free_adamw, lr: 0.03, %s}",
        "asgd": "{name: asgd, lr: 0.5, t0: 2}",
    },
    "lbfgs": {
        "search": "{name: lbfgs, lr: 1.0, max_iter: 4, history_size: 3, line_search_fn: strong_wolfe}",
        "plain": "{name: lbfgs, lr: 0.1, max_iter: 3}",
    },
    "ftrl": {
        "ftrl": "{name: ftrl, lr: 0.1, l1: 0.001, l2: 0.01}",
        "proximal": "{name: proximal_gradient_descent, lr: 0.1, l1: 0.001, l2: 0.01}",
    },
    "sparse_adam": {"sparse": "{name: sparse_adam, lr: 0.02}"},
}

_SPARSE = CONVOLUTIONS.replace(
    "{name: convnet, channels: [4]}", "{name: bag_of_words, width: 8, sparse: true}"
).replace("name: digits", "name: digits, scaling: unit")


def _case(family: str, rules: dict[str, str]) -> Case:
    commands = []
    for name, optimizer in rules.items():
        given = f"optimizer={optimizer.replace('%s', _DECAY)}"
        commands.append(optrun(f"train base.yaml train.steps=3 --name {name} -q", given))
        commands.append(optrun(f"resume {name} train.steps=6 --allow-change -q"))
    return Case(
        f"optimizer-{family}", tuple(commands), {"base.yaml": _SPARSE if family == "sparse_adam" else CONVOLUTIONS}
    )


CASES = tuple(_case(family, rules) for family, rules in _FAMILIES.items())
