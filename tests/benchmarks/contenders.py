"""One training, by hand, by optrun and by other tools: the contenders of table.py.

A contender is a generator that trains a piece each time it is asked, and yields how many steps it took and the weights
that it has reached. `watch` runs while it is asked. Where a tool's own loop has a beginning, the contender starts the
watch anew once the first step is about to be taken.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from session_overhead import MLP, session_loop
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from optrun.experiments import build, load_config

BATCH_SIZE, HIDDEN, LR, MOMENTUM = 64, 128, 0.05, 0.9
CONFIG: dict[str, Any] = {
    **{key: value for key, value in MLP.items() if key != "schedule"},
    "data": {"name": "digits", "batch_size": BATCH_SIZE, "drop_last": True},
    "model": {"name": "mlp", "hidden": [HIDDEN]},
    "optimizer": {"name": "mom", "lr": LR, "momentum": MOMENTUM},
}

Weights = Callable[[], list[np.ndarray]]  # weight and bias of both layers, as torch keeps them


class Piece(NamedTuple):
    """What a contender has done: how many steps, and where they have led."""

    num_steps: int
    weights: Weights


Loop = Generator[Piece, None, None]


class Watch(Protocol):
    """What measures a piece; the first stop counts."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Work:
    """What is trained: the same examples, initial weights and batches for each contender but optrun.

    Args:
        inputs: float32, shape (examples, 64).
        targets: classes, int64, shape (examples,).
        num_steps: in a piece.
    """

    inputs: Tensor
    targets: Tensor
    num_steps: int

    @classmethod
    def digits(cls, num_steps: int) -> Work:
        """Return the examples that optrun trains on: 1,079 of the 1,797 digits."""
        train = build(load_config(CONFIG)).splits.train
        inputs, targets = train.examples(0, len(train))[:2]
        return cls(inputs.flatten(1), targets, num_steps)

    def model(self) -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(self.inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))

    def indices(self) -> Iterator[Tensor]:
        """Yield which examples each batch has, int32, shape (BATCH_SIZE,), shuffled in each epoch anew."""
        generator = torch.Generator().manual_seed(0)
        while True:
            order = torch.randperm(len(self.targets), generator=generator, dtype=torch.int32)
            yield from order[: len(order) // BATCH_SIZE * BATCH_SIZE].split(BATCH_SIZE)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index in self.indices():
            yield self.inputs.index_select(0, index), self.targets.index_select(0, index)


def weights_of(model: nn.Module) -> Weights:
    return lambda: [parameter.detach().numpy().copy() for parameter in model.parameters()]


def sgd(model: nn.Module) -> torch.optim.SGD:
    """Return the fastest that torch has for this rule, as optrun takes it too."""
    return torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)


# ---- torch: who writes the loop, or hands over a function for a step -------------------------------------------------


def by_hand(work: Work, watch: Watch, checks: bool = False) -> Loop:
    model, batches = work.model(), work.batches()
    optimizer, parameters = sgd(model), list(model.parameters())
    found, one = torch.zeros(()), torch.ones(())
    while True:
        for inputs, targets in itertools.islice(batches, work.num_steps):
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs), targets)
            loss.backward()
            if checks:
                gradients: list[Any] = [loss.detach(), *(each.grad for each in parameters)]
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, one)
                if found.item():
                    raise FloatingPointError
            optimizer.step()
        yield Piece(work.num_steps, weights_of(model))


def checked(work: Work, watch: Watch) -> Loop:
    return by_hand(work, watch, checks=True)


def accelerate(work: Work, watch: Watch) -> Loop:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, batches = work.model(), work.batches()
    prepared, optimizer = accelerator.prepare(model, sgd(model))
    while True:
        for inputs, targets in itertools.islice(batches, work.num_steps):
            optimizer.zero_grad()
            loss = cross_entropy(prepared(inputs), targets)
            accelerator.backward(loss)
            optimizer.step()
        yield Piece(work.num_steps, weights_of(model))


def ignite(work: Work, watch: Watch) -> Loop:
    from ignite.engine import Engine, Events

    model, batches = work.model(), work.batches()
    optimizer = sgd(model)

    def step(engine: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    trainer = Engine(step)
    trainer.add_event_handler(Events.STARTED, watch.start)
    trainer.add_event_handler(Events.COMPLETED, watch.stop)
    while True:
        trainer.run(itertools.islice(batches, work.num_steps), max_epochs=1, epoch_length=work.num_steps)
        yield Piece(work.num_steps, weights_of(model))


def lightning(work: Work, watch: Watch) -> Loop:
    import lightning as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = work.model()
            self.optimizer = sgd(self.model)

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            inputs, targets = batch
            return cross_entropy(self.model(inputs), targets)

        def configure_optimizers(self) -> torch.optim.SGD:
            return self.optimizer

    class Timing(pl.Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            watch.start()

        def on_train_end(self, trainer: Any, module: Any) -> None:
            watch.stop()

    class Drawn:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return batches

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module, batches = Module(), work.batches()
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are more cores
            trainer = pl.Trainer(
                accelerator="cpu", devices=1, barebones=True, max_steps=work.num_steps, callbacks=[Timing()]
            )
            trainer.fit(module, Drawn())
        yield Piece(work.num_steps, weights_of(module.model))


# ---- optrun ----------------------------------------------------------------------------------------------------------


def optrun(work: Work, watch: Watch, compiled: bool = False) -> Loop:
    config = {**CONFIG, "train": {**CONFIG["train"], "compile": compiled}}
    with contextlib.closing(session_loop(config, work.num_steps, gate=True)) as loop:
        for num_steps in loop:
            yield Piece(num_steps, list)  # no weights to compare: they and the order are drawn by its own seed


def optrun_compiled(work: Work, watch: Watch) -> Loop:
    return optrun(work, watch, compiled=True)


# ---- other libraries -------------------------------------------------------------------------------------------------


def keras(work: Work, watch: Watch) -> Loop:
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    class Timing(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            watch.start()

        def on_train_end(self, logs: Any = None) -> None:
            watch.stop()

    layers = [keras.Input((work.inputs.shape[1],)), keras.layers.Dense(HIDDEN, "relu"), keras.layers.Dense(10)]
    model, batches = keras.Sequential(layers), work.batches()
    model.set_weights([value.T for value in weights_of(work.model())()])
    model.compile(
        keras.optimizers.SGD(LR, momentum=MOMENTUM), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    while True:
        model.fit(batches, steps_per_epoch=work.num_steps, shuffle=False, verbose=0, callbacks=[Timing()])
        yield Piece(work.num_steps, lambda: [value.T for value in model.get_weights()])


def jax_step(work: Work, watch: Watch) -> Loop:
    import jax

    step, state, indices = *_jax_step(work), work.indices()
    step = jax.jit(step, donate_argnums=0)
    while True:
        for index in itertools.islice(indices, work.num_steps):
            state = step(state, index.numpy())
        jax.block_until_ready(state)
        yield Piece(work.num_steps, _jax_weights(state))


def jax_scan(work: Work, watch: Watch) -> Loop:
    import jax

    step, state, indices = *_jax_step(work), work.indices()

    def loop(state: Any, drawn: Any) -> Any:
        return jax.lax.scan(lambda state, index: (step(state, index), None), state, drawn)[0]

    loop = jax.jit(loop, donate_argnums=0)
    while True:
        drawn = torch.stack(list(itertools.islice(indices, work.num_steps)))
        state = jax.block_until_ready(loop(state, drawn.numpy()))
        yield Piece(work.num_steps, _jax_weights(state))


def _jax_step(work: Work) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return the function of one step, `(state, indices) -> state`, and the state that it begins with."""
    import jax
    import optax

    inputs, targets = jax.numpy.asarray(work.inputs.numpy()), jax.numpy.asarray(work.targets.numpy(), "int32")
    rule = optax.sgd(LR, momentum=MOMENTUM)

    def loss_of(weights: Any, index: Any) -> Any:
        kernel, bias, last_kernel, last_bias = weights
        logits = jax.nn.relu(inputs[index] @ kernel + bias) @ last_kernel + last_bias
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets[index]).mean()

    def step(state: Any, index: Any) -> Any:
        weights, kept = state
        updates, kept = rule.update(jax.grad(loss_of)(weights, index), kept, weights)
        return optax.apply_updates(weights, updates), kept

    weights = [jax.numpy.asarray(value.T) for value in weights_of(work.model())()]
    return step, (weights, rule.init(weights))


def _jax_weights(state: Any) -> Weights:
    return lambda: [np.asarray(value).T for value in state[0]]
