"""Runs TensorFlow 1's optimizers, and writes what they do into tf1_rows.json.

    pip install tensorflow-cpu==2.21.0
    python tests/golden/run_tensorflow.py

Each setting takes 12 steps, at rates that change, by dense gradients (some of them 0) and by sparse ones that name rows
twice. The weights at the end are kept, of float64 where TensorFlow has the rule for it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

RATES = [0.1, 0.1, 0.1, 0.03, 0.03, 0.01, 0.2, 0.2, 1.0, 0.003, 0.003, 0.037]
L1, L2, SHRINKAGE = (f"{name}_regularization_strength" for name in ("l1", "l2", "l2_shrinkage"))
SETTINGS = [
    ("GradientDescent", {}),
    ("Momentum", {"momentum": 0.87}),
    ("Momentum", {"momentum": 0.87, "use_nesterov": True}),
    ("Adagrad", {}),
    ("Adagrad", {"initial_accumulator_value": 3.3}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.5, "epsilon": 0.013}),
    ("Adam", {}),
    ("Adam", {"beta1": 0.5, "beta2": 0.6, "epsilon": 0.07}),
    ("Adam", {"beta1": 0.0, "beta2": 0.9999}),
    ("RMSProp", {}),
    ("RMSProp", {"momentum": 0.77}),
    ("RMSProp", {"momentum": 0.77, "centered": True, "decay": 0.6, "epsilon": 0.03}),
    ("Ftrl", {}),
    ("Ftrl", {L1: 0.013}),
    ("Ftrl", {L2: 0.017, "beta": 0.31}),
    ("Ftrl", {L1: 0.7, L2: 0.3, SHRINKAGE: 0.11, "beta": 0.37}),
    ("Ftrl", {"learning_rate_power": 0.0}),
    ("Ftrl", {"learning_rate_power": -0.7, L1: 0.013, L2: 0.02}),
    ("Ftrl", {"initial_accumulator_value": 0.0}),
    ("Ftrl", {"initial_accumulator_value": 0.0, "learning_rate_power": -0.7, L1: 0.05}),
    ("Ftrl", {SHRINKAGE: 0.05}),
    ("ProximalGradientDescent", {}),
    ("ProximalGradientDescent", {L1: 0.3, L2: 0.07}),
    ("ProximalAdagrad", {L1: 0.033}),
    ("ProximalAdagrad", {L1: 0.3, L2: 0.07}),
    ("AdagradDA", {}),
    ("AdagradDA", {L1: 0.033, "initial_gradient_squared_accumulator_value": 2.0}),
    ("AdagradDA", {L1: 0.3, L2: 0.07}),
]


def gradients() -> tuple[list, list]:
    """Return dense gradients of shape 5 x 2, and sparse ones of three rows."""
    random = np.random.default_rng(0)
    dense = random.normal(size=(12, 5, 2)).round(6)
    for step in range(12):
        dense[step, step % 5] = 0
    dense[0, 1] = dense[3] = 0
    rows, values = random.integers(0, 4, size=(12, 3)), random.normal(size=(12, 3, 2)).round(6)  # row 4 has none
    return dense.tolist(), [[r.tolist(), v.tolist()] for r, v in zip(rows, values, strict=True)]


def final_weights(name: str, args: dict, start: list, grads: list, sparse: bool) -> list:
    dtype = "float32" if name.startswith("Proximal") else "float64"  # TensorFlow has these two for float32 only
    weights, step = tf.Variable(np.array(start, dtype)), tf.Variable(0, dtype=tf.int64)
    extra = {"global_step": step} if name == "AdagradDA" else {}
    optimizer = getattr(tf.compat.v1.train, f"{name}Optimizer")(learning_rate=RATES[0], **args, **extra)
    for rate, grad in zip(RATES, grads, strict=True):
        setattr(optimizer, "_lr" if name in ("Adam", "Adadelta") else "_learning_rate", rate)
        if sparse:
            gradient = tf.IndexedSlices(tf.constant(grad[1], dtype), tf.constant(grad[0]), tf.constant([5, 2]))
        else:
            gradient = tf.constant(grad, dtype)
        optimizer.apply_gradients([(gradient, weights)], global_step=step)
    return weights.numpy().astype(float).tolist()


def main() -> None:
    start = np.random.default_rng(1).normal(size=(5, 2)).round(6).tolist()
    dense, sparse = gradients()
    settings = [
        {
            "name": name,
            "args": args,
            "dense": final_weights(name, args, start, dense, sparse=False),
            "sparse": final_weights(name, args, start, sparse, sparse=True),
        }
        for name, args in SETTINGS
    ]
    found = {
        "source": f"tensorflow {tf.__version__}, tf.compat.v1.train, run on CPU",
        "w0": start,
        "rates": RATES,
        "dense": dense,
        "sparse": sparse,
        "settings": settings,
    }
    Path(__file__).with_name("tf1_rows.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
