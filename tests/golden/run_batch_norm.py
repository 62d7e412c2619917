"""Runs TensorFlow's batch norm on layers that are not reached at every step, and writes what it does.

    pip install tensorflow==2.16.2 tf_keras==2.16.0
    TF_USE_LEGACY_KERAS=1 python tests/golden/run_batch_norm.py

Into tf1_batch_norm.json go mean and variance of each layer after each step, by three rules: `assign_moving_average`,
which the update `tf_batch_norm` is named after, `tf.compat.v1.layers.batch_normalization`, and Keras's layer. A layer
that a step does not reach stands in the branch of a `tf.cond` that is not taken, and its update operation there too.
One that is used twice has two update operations, in the order of the calls. Each is restored from a checkpoint as well:
whole, and with nothing but its mean and variance in it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.training import moving_averages

v1 = tf.compat.v1
STEPS, DECAY, SAVED_AFTER = 12, 0.9, 7
#: How often each layer is used, by step.
USES = {
    "every step": [1] * STEPS,
    "from the sixth on": [0] * 5 + [1] * 7,
    "by chance": [1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1],
    "twice": [2] * STEPS,
    "twice, by chance": [0, 2, 2, 0, 0, 2, 0, 2, 2, 0, 0, 2],
    "once or twice": [1, 2, 1, 1, 2, 2, 1, 2, 1, 2, 2, 1],
    "never": [0] * STEPS,
}


def inputs() -> np.ndarray:
    """Return what the layers are given: shape (steps, uses in a step, examples, channels)."""
    return (np.random.default_rng(5).normal(size=(STEPS, 2, 4, 2)) * [2.0, 0.5] + [3.0, -1.0]).round(6)


def as_scope(name: str) -> str:
    return name.replace(" ", "_").replace(",", "")


class MovingAverage:
    """`assign_moving_average` of the batch's mean and biased variance, as models of TensorFlow 1 call it by hand."""

    def __init__(self, name: str, zero_debias: bool):
        self.zero_debias = zero_debias
        with v1.variable_scope(as_scope(name), use_resource=True):
            self.mean = v1.get_variable("moving_mean", [2], initializer=v1.zeros_initializer(), trainable=False)
            self.variance = v1.get_variable("moving_variance", [2], initializer=v1.ones_initializer(), trainable=False)

    def update(self, x: tf.Tensor) -> list[tf.Operation]:
        mean, variance = tf.nn.moments(x, [0])
        pairs = [(self.mean, mean), (self.variance, variance)]
        with v1.variable_scope(v1.get_variable_scope(), reuse=v1.AUTO_REUSE):  # for a second use of its own variables
            return [
                moving_averages.assign_moving_average(variable, value, DECAY, zero_debias=self.zero_debias)
                for variable, value in pairs
            ]


class Layer:
    """`tf.compat.v1.layers.batch_normalization`, or Keras's layer, which is called the same way."""

    def __init__(self, name: str, kind: type):
        self.layer = kind(momentum=DECAY, name=as_scope(name))
        self.layer.build((None, 2))
        self.mean, self.variance = self.layer.moving_mean, self.layer.moving_variance

    def update(self, x: tf.Tensor) -> list[tf.Operation]:
        before = len(self.layer.updates)
        self.layer(x, training=True)
        return self.layer.updates[before:]


def program(make, saved: str | None, only_statistics: bool, start: int, stop: int, folder: Path) -> dict:
    """Take the steps from `start` to `stop`, and return mean and variance of each layer after each."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [2, 4, 2])
        layers, steps = {}, []
        for name in USES:
            layers[name] = layer = make(name)
            uses = v1.placeholder(tf.int32, [], name=f"uses_{len(layers)}")
            steps.append((uses, name))
            layer.train = in_branches(layer, uses, x)
        session.run(v1.global_variables_initializer())
        if saved is not None:
            chosen = [v for each in layers.values() for v in (each.mean, each.variance)] if only_statistics else None
            v1.train.Saver(chosen).restore(session, saved)
        found = {name: {"mean": [], "variance": []} for name in USES}
        for step in range(start, stop):
            feed = {x: inputs()[step]} | {uses: USES[name][step] for uses, name in steps}
            session.run([layer.train for layer in layers.values()], feed)
            for name, layer in layers.items():
                for kind in ("mean", "variance"):
                    found[name][kind].append(session.run(getattr(layer, kind)).astype(float).tolist())
        v1.train.Saver().save(session, str(folder / "model"))
        return found


def in_branches(layer, uses: tf.Tensor, x: tf.Tensor) -> tf.Operation:
    """Return what updates a layer as often as a step uses it, one use after the other."""

    def first() -> tf.Tensor:
        with tf.control_dependencies(layer.update(x[0])):
            return tf.constant(True)

    def second() -> tf.Tensor:
        with tf.control_dependencies(layer.update(x[1])):
            return tf.constant(True)

    done = v1.cond(uses > 0, first, lambda: tf.constant(False))
    with tf.control_dependencies([done]):
        return v1.cond(tf.identity(uses) > 1, second, lambda: tf.constant(False))


def figures(make) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        straight = program(make, None, False, 0, STEPS, place)
        before = program(make, None, False, 0, SAVED_AFTER, place)
        whole = program(make, str(place / "model"), False, SAVED_AFTER, STEPS, place / "other")
        program(make, None, False, 0, SAVED_AFTER, place)
        statistics = program(make, str(place / "model"), True, SAVED_AFTER, STEPS, place / "another")
    for name, layer in straight.items():  # a restored checkpoint goes on as if nothing had been
        for kind in layer:
            np.testing.assert_array_equal(layer[kind], before[name][kind] + whole[name][kind])
    return {"layers": straight, "only statistics restored": statistics}


def main() -> None:
    v1.disable_eager_execution()
    v1.disable_control_flow_v2()
    rules = {
        "assign_moving_average, zero_debias": lambda name: MovingAverage(name, zero_debias=True),
        "assign_moving_average": lambda name: MovingAverage(name, zero_debias=False),
        "tf.compat.v1.layers.BatchNormalization": lambda name: Layer(name, v1.layers.BatchNormalization),
        "tf.keras.layers.BatchNormalization": lambda name: Layer(name, tf.keras.layers.BatchNormalization),
    }
    found = {
        "source": f"tensorflow {tf.__version__}, run on CPU",
        "decay": DECAY,
        "saved_after": SAVED_AFTER,
        "uses": USES,
        "inputs": inputs().tolist(),
        "rules": {name: figures(make) for name, make in rules.items()},
    }
    Path(__file__).with_name("tf1_batch_norm.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
