"""Bad files, each with the place, the key and a phrase of the error that it must give."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from optrun.experiments import config
from optrun.experiments.config import ConfigError

from .small_registries import BASE, make_registries

GOOD = """\
# line 1 is a comment, so that line numbers mean something
data: {name: digits, val: 0.2, test: 0.2}
model: {name: mlp, hidden: [8]}
loss: cross_entropy
metrics: [accuracy]
optimizer: {name: mom}
train: {epochs: 2}
"""


def with_line(number: int, line: str) -> str:
    """Return the good file with one line replaced, or added at the end."""
    lines = GOOD.splitlines()
    lines[number - 1 : number] = [line]
    return "\n".join(lines) + "\n"


# (what is in the file, line, column, key, a phrase of the message or hint)
BAD = [
    # names
    (with_line(6, "optimizer: adm"), 6, 12, "optimizer.name", "did you mean 'adam'?"),
    (with_line(6, "optimizer: {name: zzz}"), 6, 19, "optimizer.name", "known: adam, mom, sgd"),
    (with_line(6, "optimizer: 3"), 6, 12, "optimizer", "expected the name of an optimizer"),
    (with_line(6, "optimizer: {name: 3}"), 6, 19, "optimizer.name", "expected the name"),
    (with_line(6, "optimizer: {name: [a]}"), 6, 19, "optimizer.name", "got ['a']"),
    (with_line(6, "optimizer: [mom]"), 6, 12, "optimizer", "or a mapping with a name"),
    (with_line(6, "optimizer: {lr: 1}"), 6, 12, "optimizer", "which optimizer"),
    (with_line(6, "optimizer: {name: null, lr: 1}"), 6, 19, "optimizer", "which optimizer"),
    (with_line(6, "optimizer: true"), 6, 12, "optimizer", "got true"),
    (with_line(6, "optimizer: ''"), 6, 12, "optimizer.name", "no optimizer named ''"),
    (with_line(6, "optimizer: null"), 1, 1, "optimizer", "no optimizer is given"),
    (with_line(3, "model: cnn"), 3, 8, "model.name", "no model named 'cnn'"),
    (with_line(5, "metrics: [acuracy]"), 5, 11, "metrics.0.name", "did you mean 'accuracy'?"),
    (with_line(8, "hooks: [./nothing.py:Hook]"), 8, 9, "hooks.0.name", "no file"),
    (with_line(8, "hooks: [no_such_module_here:Hook]"), 8, 9, "hooks.0.name", "no module"),
    (with_line(8, "hooks: ['os:system']"), 8, 9, "hooks.0.name", "standard library"),
    (with_line(8, "hooks: ['a:']"), 8, 9, "hooks.0.name", "is not `pkg.mod:Class`"),
    (with_line(8, "hooks: [':A']"), 8, 9, "hooks.0.name", "is not `pkg.mod:Class`"),
    (with_line(8, "hooks: ['..:A']"), 8, 9, "hooks.0.name", "no module"),
    (with_line(8, f"hooks: ['./{'x' * 300}.py:A']"), 8, 9, "hooks.0.name", ""),
    # keys
    (with_line(8, "lr: 0.1"), 8, 1, "lr", "did you mean 'optimizer.lr'?"),
    (with_line(8, "optimiser: adam"), 8, 1, "optimiser", "did you mean 'optimizer'?"),
    (with_line(8, "optimizer.lr: 0.1"), 8, 1, "optimizer.lr", "write `optimizer: {lr: …}`"),
    (with_line(8, "entries: {a: b}"), 8, 1, "entries", "optrun compare"),
    (with_line(8, "zzzzzzzz: 1"), 8, 1, "zzzzzzzz", "known: name, seed"),
    (with_line(8, "trian: {epochs: 1}"), 8, 1, "trian", "did you mean 'train'?"),
    (with_line(7, "train: {epoch: 2}"), 7, 9, "train.epoch", "did you mean 'epochs'?"),
    (with_line(8, "eval: {evry: 2}"), 8, 8, "eval.evry", "did you mean 'every'?"),
    (with_line(6, "optimizer: {name: mom, momentun: 0.9}"), 6, 24, "optimizer.momentun", "did you mean 'momentum'?"),
    (with_line(6, "optimizer: {name: sgd, betas: [0, 0]}"), 6, 24, "optimizer.betas", "known: lr"),
    (with_line(8, "schedule: {name: cosine, warmpu: 1}"), 8, 26, "schedule.warmpu", "has no argument"),
    (with_line(4, "loss: {name: cross_entropy, smoothing: 0}"), 4, 29, "loss.smoothing", "mean 'label_smoothing'?"),
    # numbers
    (with_line(6, "optimizer: {name: mom, lr: -1}"), 6, 28, "optimizer.lr", "expected a number > 0, got -1"),
    (with_line(6, "optimizer: {name: mom, lr: 0}"), 6, 28, "optimizer.lr", "expected a number > 0, got 0"),
    (with_line(6, "optimizer: {name: mom, lr: '0.1'}"), 6, 28, "optimizer.lr", "remove the quotes"),
    (with_line(6, "optimizer: {name: mom, lr: true}"), 6, 28, "optimizer.lr", "got true"),
    (with_line(6, "optimizer: {name: mom, lr: .nan}"), 6, 28, "optimizer.lr", "finite number, got .nan"),
    (with_line(6, "optimizer: {name: mom, lr: -.inf}"), 6, 28, "optimizer.lr", "finite number, got -.inf"),
    (with_line(6, "optimizer: {name: mom, lr: 1e999}"), 6, 28, "optimizer.lr", "finite number"),
    (with_line(6, f"optimizer: {{name: mom, lr: 1{'0' * 400}}}"), 6, 28, "optimizer.lr", "expected a"),
    (with_line(6, "optimizer: {name: mom, lr: 1,0}"), 6, 30, "optimizer.0", "has no argument '0'"),
    (with_line(6, "optimizer: {name: mom, lr: 1_000}"), 6, 28, "optimizer.lr", "got '1_000'"),
    (with_line(6, "optimizer: {name: mom, momentum: 1}"), 6, 34, "optimizer.momentum", "number >= 0, < 1"),
    (with_line(6, "optimizer: {name: adam, betas: [2, .9]}"), 6, 33, "optimizer.betas.0", "got 2"),
    (with_line(6, "optimizer: {name: adam, betas: [.9]}"), 6, 32, "optimizer.betas", "got [0.9]"),
    (with_line(6, "optimizer: {name: adam, betas: [0, 0, 0]}"), 6, 32, "optimizer.betas", "got [0, 0, 0]"),
    (with_line(6, "optimizer: {name: adam, betas: 0.9}"), 6, 32, "optimizer.betas", "got 0.9"),
    (with_line(6, "optimizer: {name: mom, nesterov: 1}"), 6, 34, "optimizer.nesterov", "true or false, got 1"),
    (with_line(6, "optimizer: {name: mom, nesterov: no}"), 6, 34, "optimizer.nesterov", "without quotes"),
    (with_line(3, "model: {name: mlp, hidden: 8}"), 3, 28, "model.hidden", "a list of int >= 1, got 8"),
    (with_line(3, "model: {name: mlp, hidden: [8.5]}"), 3, 29, "model.hidden.0", "got 8.5"),
    (with_line(3, "model: {name: mlp, hidden: [8, [9]]}"), 3, 32, "model.hidden.1", "got [9]"),
    (with_line(3, "model: {name: mlp, hidden: [8, null]}"), 3, 32, "model.hidden.1", "got null"),
    (with_line(3, "model: {name: mlp, hidden: {a: 1}}"), 3, 28, "model.hidden", "got a mapping"),
    (with_line(3, "model: {name: mlp, activation: rleu}"), 3, 32, "model.activation", "did you mean 'relu'?"),
    (with_line(3, "model: {name: mlp, activation: 3}"), 3, 32, "model.activation", "relu or tanh or gelu, got 3"),
    (with_line(8, "seed: -1"), 8, 7, "seed", "int >= 0"),
    (with_line(8, "seed: 1.5"), 8, 7, "seed", "got 1.5"),
    (with_line(8, f"seed: {2**63}"), 8, 7, "seed", "2**63"),
    (with_line(8, "seed: [1]"), 8, 7, "seed", "got [1]"),
    # data
    (with_line(2, "data: {name: digits, batch_size: 0}"), 2, 34, "data.batch_size", "int >= 1"),
    (with_line(2, "data: {name: digits, val: 0.6, test: 0.5}"), 2, 38, "data.test", "nothing to train on"),
    (with_line(2, "data: {name: digits, val: 0.8}"), 2, 27, "data.val", "nothing to train on"),
    (with_line(2, "data: {name: digits, val: 1}"), 2, 27, "data.val", "< 1"),
    (with_line(2, "data: {name: digits, workers: -1}"), 2, 31, "data.workers", "int >= 0"),
    (with_line(2, "data: {name: digits, augment: flip}"), 2, 31, "data.augment", "write [flip]"),
    (with_line(2, "data: {name: digits, augment: [flop]}"), 2, 32, "data.augment.0.name", "'flip'"),
    (with_line(2, "data: {name: digits, augment: [{name: flip, share: 2}]}"), 2, 52, "data.augment.0.share", "got 2"),
    (with_line(2, "data: blobs"), 2, 7, "data.num_classes", "needs the argument 'num_classes': an int >= 1"),
    (with_line(2, "data: {name: digits, subset: 0}"), 2, 30, "data.subset", "int >= 1"),
    # lengths
    (with_line(8, "log: {every: 10s}"), 8, 14, "log.every", "written by steps"),
    (with_line(8, "eval: {every: 10m}"), 8, 15, "eval.every", "the time '10m'"),
    (with_line(8, "eval: {every: often}"), 8, 15, "eval.every", "a length such as"),
    (with_line(8, "eval: {every: 0 steps}"), 8, 15, "eval.every", "more than nothing"),
    (with_line(8, "eval: {every: 1.5 steps}"), 8, 15, "eval.every", "a whole number of steps"),
    (with_line(8, "checkpoint: {every: 120%}"), 8, 21, "checkpoint.every", "at most 100%"),
    (with_line(8, "checkpoint: {every: -1}"), 8, 21, "checkpoint.every", ""),
    (with_line(8, "schedule: {name: cosine, warmup: 5x}"), 8, 34, "schedule.warmup", "a length such as"),
    (with_line(8, "schedule: {name: exponential, every: 1h}"), 8, 38, "schedule.every", "the time '1h'"),
    (with_line(8, "hooks: [{name: snapshot, path: x, every: soon}]"), 8, 42, "hooks.0.every", "an interval such as"),
    (with_line(8, "hooks: [{name: grad_norm, every: [1]}]"), 8, 34, "hooks.0.every", "an interval such as"),
    (with_line(7, "train: {max_time: 1m}\nschedule: {warmup: 5%, name: cosine}"), 8, 20, "schedule.warmup", "what?"),
    (with_line(7, "train: {max_time: 10 steps}"), 7, 19, "train.max_time", "a time such as"),
    # what excludes or needs each other
    (with_line(7, "train: {compile: true}"), 7, 8, "train", "how long?"),
    (with_line(7, "train: {epochs: 2, steps: 3}"), 7, 27, "train.steps", "train.steps excludes train.epochs"),
    (with_line(7, "train: 20"), 7, 8, "train", "expected a mapping of epochs"),
    (with_line(7, "train: [epochs]"), 7, 8, "train", "expected a mapping"),
    (with_line(7, "train: {epochs: 2, device: gpu}"), 7, 28, "train.device", "did you mean 'cpu'?"),
    (with_line(7, "train: {epochs: 2, device: 'cuda:x'}"), 7, 28, "train.device", "cuda:N"),
    (with_line(7, "train: {epochs: 2, threads: 0}"), 7, 29, "train.threads", "auto or int >= 1"),
    (with_line(7, "train: {epochs: 2, threads: atuo}"), 7, 29, "train.threads", "did you mean 'auto'?"),
    (with_line(7, "train: {epochs: 2, precision: fp16}"), 7, 31, "train.precision", "fp32 or bf16"),
    (with_line(7, "train: {epochs: 0}"), 7, 17, "train.epochs", "int >= 1"),
    (with_line(8, "eval: {metric: val/acuracy}"), 8, 16, "eval.metric", "did you mean 'val/accuracy'?"),
    (with_line(8, "eval: {metric: accuracy}"), 8, 16, "eval.metric", "did you mean 'val/accuracy'?"),
    (with_line(8, "eval: {metric: test/loss}"), 8, 16, "eval.metric", "not computed"),
    (with_line(8, "eval: {weights: ema}"), 8, 17, "eval.weights", "`updates` has no ema"),
    (with_line(8, "eval: {mode: biggest}"), 8, 14, "eval.mode", "max or min"),
    (with_line(8, "stop: {at_target: true}"), 8, 19, "stop.at_target", "set eval.target"),
    (with_line(8, "stop: {on_nan: true}"), 8, 16, "stop.on_nan", "raise or stop or skip"),
    (with_line(8, "checkpoint: {keep: 1}"), 8, 20, "checkpoint.keep", "int >= 2"),
    (with_line(8, "log: {to: csv}"), 8, 11, "log.to", "a list of jsonl or tensorboard"),
    (with_line(8, "log: {to: [jsonl, tensorbord]}"), 8, 19, "log.to.1", "did you mean 'tensorboard'?"),
    (with_line(5, "metrics: [accuracy, accuracy]"), 5, 21, "metrics.1", "listed twice"),
    (with_line(5, "metrics: accuracy"), 5, 10, "metrics", "write [accuracy]"),
    (with_line(8, "schedule: piecewise"), 8, 11, "schedule.boundaries", "needs the argument 'boundaries'"),
    (with_line(8, "schedule: {name: piecewise, boundaries: [3], factors: []}"), 8, 55, "schedule.factors", "expect"),
    (with_line(8, "schedule: {name: restarts, then: cosin}"), 8, 34, "schedule.then.name", "did you mean 'cosine'?"),
    (with_line(8, "schedule: {name: restarts, all: [{name: cosine, final: -1}]}"), 8, 56, "schedule.all.0.final", ">"),
    (with_line(8, "schedule: {name: restarts, all: cosine}"), 8, 33, "schedule.all", "write [cosine]"),
    # groups
    (with_line(6, "optimizer: {name: mom, groups: bias}"), 6, 32, "optimizer.groups", "expected a list"),
    (with_line(6, "optimizer: {name: mom, groups: [bias]}"), 6, 33, "optimizer.groups.0", "needs `match`"),
    (with_line(6, "optimizer: {name: mom, groups: [{lr: 1}]}"), 6, 33, "optimizer.groups.0", "needs `match`"),
    (with_line(6, "optimizer: {name: mom, groups: [{match: []}]}"), 6, 41, "optimizer.groups.0.match", "a pattern"),
    (with_line(6, "optimizer: {name: mom, groups: [{match: ''}]}"), 6, 41, "optimizer.groups.0.match", "a pattern"),
    (with_line(6, "optimizer: {name: mom, groups: [{match: a, lr: -1}]}"), 6, 48, "optimizer.groups.0.lr", "> 0"),
    (with_line(6, "optimizer: {name: mom, groups: [{match: a, rl: 1}]}"), 6, 44, "optimizer.groups.0.rl", "no arg"),
    # the name of the run
    (with_line(8, "name: ../x"), 8, 7, "name", "cannot name a run"),
    (with_line(8, "name: 3"), 8, 7, "name", "cannot name a run"),
    (with_line(8, f"name: {'x' * 65}"), 8, 7, "name", "at most 64"),
    (with_line(8, 'name: "a\\nb"'), 8, 7, "name", "cannot name a run"),
    (with_line(8, "name: .hidden"), 8, 7, "name", "cannot name a run"),
    # the file itself
    ("", 1, 1, "data", "no data is given"),
    ("just text\n", 1, 1, "", "expected a mapping of sections"),
    ("- a\n- b\n", 1, 1, "", "expected a mapping of sections"),
    ("3\n", 1, 1, "", "expected a mapping of sections"),
    (with_line(8, "seed: 1\nseed: 2"), 9, 1, "seed", "duplicate key 'seed': it already stands in line 8"),
    (with_line(8, "seed: &a 1"), 8, 7, "seed", "anchors"),
    (with_line(8, "seed: *a"), 8, 7, "seed", "aliases"),
    (with_line(8, "seed: !!int 1"), 8, 7, "seed", "tags"),
    (with_line(8, "train:\n\tepochs: 1"), 9, 1, "", "a tab"),
    (with_line(8, "seed: [1"), 9, 1, "", "is the list closed?"),
    (with_line(8, "extends: nothing"), 8, 10, "extends", "no file 'nothing' beside this one"),
    (with_line(8, "extends: [nothing]"), 8, 11, "extends.0", "no file 'nothing'"),
    (with_line(8, "extends: 3"), 8, 10, "extends", "expected a path"),
    (with_line(8, "extends: test.yaml"), 8, 10, "extends", "in a circle"),
]  # fmt: skip


def test_the_good_file_is_good(load):
    assert load(GOOD).name == "test"


@pytest.mark.parametrize(("text", "line", "column", "key", "phrase"), BAD, ids=range(len(BAD)))
def test_bad_file(folder, registries, text, line, column, key, phrase):
    (folder / "test.yaml").write_bytes(text.encode())
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        config.load("test.yaml", registries=registries, presets=folder)
    assert time.process_time() - start < 1
    problem = caught.value.problems[0]
    assert (problem.file, problem.line, problem.column, problem.key) == ("test.yaml", line, column, key)
    assert phrase in f"{problem.message} {problem.hint}"
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"test.yaml:{line}:{column}: ")


def test_there_are_enough_bad_files():
    assert len(BAD) >= 70
    assert len({text for text, *_ in BAD}) == len(BAD)


# ---- mutants ---------------------------------------------------------------------------------------------------------

RICH = (
    BASE
    + """\
extends: [other]
name: rich
seed: 3
schedule: {name: restarts, then: {name: piecewise, boundaries: [50%, 3 epochs], factors: [1, 0.1, 0.01]}, warmup: 5%}
updates: [ema, {name: batch_norm}]
hooks: [grad_norm, {name: snapshot, path: "a b", every: 10m}, {name: anything, x: [1, {y: z}]}]
eval: {every: 1 epoch, metric: val/accuracy, mode: max, target: 0.96, weights: ema}
stop: {on_nan: skip, loss_above: 1e4, patience: 3, at_target: true}
checkpoint: {every: 10m, keep: 3, best: no}
log: {every: 10 steps, to: [jsonl]}
"""
)
BITS = st.sampled_from([
    "\t", "\n", " ", ":", "[", "]", "{", "}", ",", "&a ", "*a", "!!x ", "- ", "? ", "'", '"', "|", "#", "%", "\0", "é",
    "😀", "\ufeff", "\x85", ".nan", "-1", "0", "1e999", "null", "~", "true", "---\n", "<<: ", "extends: ", "name: ",
    "./a.py:B", "9" * 400, "val", "lr: 1", "\\", "@", "`", ">", "\u2028", "[" * 60, "x" * 300, "a:b", "0o8", "\r", "::",
])  # fmt: skip
EDITS = st.lists(st.tuples(st.integers(0, len(RICH)), st.integers(0, 12), BITS), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutants")
    (folder / "other.yaml").write_text("train: {accumulate: 2}\n")
    return folder, make_registries()


def load_or_refuse(folder, registries, data: bytes, overrides=()) -> None:
    path = folder / "mutant.yaml"
    path.write_bytes(data)
    start = time.process_time()
    try:
        loaded = config.load(path, overrides, registries=registries, presets=folder)
    except ConfigError as error:
        refused = error
    else:
        again = config.load(loaded.to_dict(), registries=registries, presets=folder)
        assert again.to_dict() == loaded.to_dict()
        return
    assert refused.problems
    assert str(refused)
    for problem in refused.problems:
        assert problem.origin.kind == "override" or (problem.line or 0) >= 1
        assert problem.column is None or problem.column >= 1
    assert time.process_time() - start < 2


def load_or_refuse_edited(mutants, edits) -> None:
    text = RICH
    for place, removed, added in edits:
        text = text[:place] + added + text[place + removed :]
    load_or_refuse(*mutants, text.encode())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS)
@example([(0, 0, " ")])
def test_mutated_text_is_loaded_or_refused(mutants, edits):
    load_or_refuse_edited(mutants, edits)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITS)
def test_many_mutated_texts_are_loaded_or_refused(mutants, edits):
    load_or_refuse_edited(mutants, edits)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(RICH) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_mutated_bytes_are_loaded_or_refused(mutants, edits):
    data = bytearray(RICH.encode())
    for place, byte in edits:
        data[place] = byte
    load_or_refuse(*mutants, bytes(data))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_refused(mutants, data):
    load_or_refuse(*mutants, data)


KEY_PARTS = st.sampled_from(
    ["optimizer", "lr", "hooks", "0", "2", "9", "name", "schedule", "then", "x", "metrics", "data"]
)


OVERRIDES = st.lists(
    st.tuples(st.lists(KEY_PARTS, min_size=1, max_size=4), BITS | st.text(max_size=8)), min_size=1, max_size=3
)


def load_or_refuse_overridden(mutants, overrides) -> None:
    arguments = [f"{'.'.join(parts)}={value}" for parts, value in overrides]
    load_or_refuse(*mutants, RICH.encode(), arguments)


@settings(max_examples=40, deadline=None)
@given(OVERRIDES)
def test_random_overrides_are_applied_or_refused(mutants, overrides):
    load_or_refuse_overridden(mutants, overrides)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(OVERRIDES)
def test_many_random_overrides_are_applied_or_refused(mutants, overrides):
    load_or_refuse_overridden(mutants, overrides)
