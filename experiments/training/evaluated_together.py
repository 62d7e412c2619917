"""Evaluations of several runs at once: one graph measures all models, each on its own data."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..components.data.tree import tensors
from ..components.metrics import rows_of
from ..components.weighted import unweighted
from .evaluator import Evaluator, Examples
from .experiment import Experiment
from .step.compiled.cannot import CannotCompile
from .step.compiled.capture import Capture, Captured
from .step.compiled.fingerprint import digest, kinds_of, machine, text_of
from .step.compiled.program import compiled_once
from .step.compiled.tracing import mappable, traced
from .step.stacked.graph import WIDTH, simplified
from .step.stacked.rows import num_rows_for
from .step.train_op import TrainOp

log = logging.getLogger("optrun")

_MOST_GRAPHS = 64  # of all runs

Values = dict[str, float] | None


def _totals(model: Any, loss: Any, call: Any, metrics: Any, inputs: Any, targets: Any, size: int) -> Tensor:
    """Return what `Evaluator.totals` does, one after the other in one tensor."""
    outputs = call(model, inputs, targets)
    found = [loss(outputs, targets).double()]
    targets = unweighted(targets)
    found += [rows_of(metric, outputs, targets, name, size).double().sum(0) for name, metric in metrics]
    return torch.cat([each.flatten() for each in found])


class EvaluatedTogether:
    """Measures models of several runs at once, where their evaluators are alike.

    When one run evaluates, all that stand where it stands are measured with it: they are about to evaluate, too. The
    bits of a value depend on nothing but the run, as in a step (see `Stack`).

    Args:
        is_compiled: whether graphs are compiled, which takes a while once.
    """

    def __init__(self, is_compiled: bool = False):
        self._is_compiled, self._num_rows = is_compiled, 0
        self._capture = Capture(_totals, _MOST_GRAPHS)
        self._evaluators: dict[TrainOp, dict[str, Evaluator]] = {}
        self._here: list[TrainOp] = []
        self._values: dict[Evaluator, Values] = {}
        self._taken: dict[TrainOp, dict[Any, tuple[Captured, list[Tensor | int]]]] = {}
        self._graphs: dict[Any, Callable[[Sequence[Tensor]], Tensor]] = {}

    def join(self, experiment: Experiment) -> None:
        """Let a run's evaluators measure together with others."""
        self._evaluators[experiment.train_op] = experiment.evaluators
        for evaluator in experiment.evaluators.values():
            if not evaluator.gradients:
                evaluator.together = self

    def begin(self, ops: Iterable[TrainOp]) -> None:
        """Begin a round: these runs have come to the same point, and are about to look at where they are."""
        self._here = list(ops)
        self._values.clear()

    def forget(self, op: TrainOp) -> None:
        """Forget what was known of a run that may have changed by itself."""
        self._taken.pop(op, None)

    def rest(self) -> None:
        """Forget all runs: they have ended. What is known of graphs stays."""
        self._evaluators.clear()
        self._taken.clear()
        self._values.clear()
        self._here, self._num_rows = [], 0

    def __call__(self, evaluator: Evaluator, interrupted: Callable[[], bool]) -> Values:
        """Measure one run, and with it those that stand at the same point; see `Evaluator.__call__`."""
        if evaluator not in self._values:
            peers = self._peers(evaluator)
            try:
                found = self._measured(peers, interrupted)
            except CannotCompile as reason:
                log.debug("%s is measured alone: %s", evaluator.split, reason)
                for each in peers:
                    each[1].together = None
                return evaluator.alone(interrupted)
            self._values = {each: values for (_, each), values in zip(peers, found, strict=True)}
        return self._values.pop(evaluator)

    def _peers(self, evaluator: Evaluator) -> list[tuple[TrainOp, Evaluator]]:
        """Return the evaluators of the same split of the runs that are here, with that one among them."""
        split = evaluator.split
        here = [(op, self._evaluators[op][split]) for op in self._here if split in self._evaluators.get(op, {})]
        if evaluator not in [each for _, each in here]:
            op = next(op for op, evaluators in self._evaluators.items() if evaluators.get(split) is evaluator)
            return [(op, evaluator)]
        kind = _kind(evaluator)
        return [(op, each) for op, each in here if each.together is self and _kind(each) == kind]

    def _measured(self, peers: Sequence[tuple[TrainOp, Evaluator]], interrupted: Callable[[], bool]) -> list[Values]:
        measuring = [evaluator.measuring(interrupted) for _, evaluator in peers]
        with contextlib.ExitStack() as stack:
            for _, evaluator in peers:
                stack.enter_context(evaluator.lent_weights())
            stack.enter_context(torch.no_grad())
            asked = [next(each, None) for each in measuring]
            found: list[Values] = [None] * len(peers)
            number = 0
            while all(each is not None for each in asked):
                totals = self._totals(peers, [each for each in asked if each is not None], number)
                number += 1
                for place, (each, total) in enumerate(zip(measuring, totals, strict=True)):
                    try:
                        asked[place] = each.send(total)
                    except StopIteration as end:
                        asked[place], found[place] = None, end.value
        return found

    def _totals(
        self, peers: Sequence[tuple[TrainOp, Evaluator]], asked: Sequence[Examples], number: int
    ) -> list[Sequence[Tensor]]:
        """Return the totals of a batch of each."""
        if len({(each.size, bool(each.number)) for each in asked}) > 1 or not asked[0].number:
            raise CannotCompile("parts differ in size, or have nothing that counts")
        found = [
            self._found(op, evaluator, examples, number) for (op, evaluator), examples in zip(peers, asked, strict=True)
        ]
        captured = found[0][0]
        if any(each is not captured for each, _ in found):
            raise CannotCompile("models are not alike")
        num_rows = self._num_rows = num_rows_for(len(peers), self._num_rows, WIDTH if self._is_compiled else 1)
        rows = [[*taken] for _, taken in found]
        rows += [rows[-1]] * (num_rows - len(rows))
        width = WIDTH if self._is_compiled else num_rows
        parts = [
            [torch.stack(each) for each in zip(*rows[start : start + width], strict=True)]
            for start in range(0, num_rows, width)
        ]
        graph = self._graph(captured, parts[0])
        totals = torch.cat([graph(each) for each in parts])
        shapes = captured.made["shapes"]
        split = zip(totals[: len(peers)].split([shape.numel() for shape in shapes], dim=1), shapes, strict=True)
        by_total = [each.unflatten(1, shape) if shape else each.squeeze(1) for each, shape in split]
        return list(zip(*by_total, strict=True))

    def _graph(self, captured: Captured, rows: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Tensor]:
        """Return the graph of a batch's totals, of so many rows."""
        key = captured, len(rows[0])
        if key not in self._graphs:
            all_rows = torch.func.vmap(lambda *given: captured.graph(*given)[0])

            def one(*given: Tensor) -> Tensor:
                with mappable():
                    return all_rows(*given)

            if self._is_compiled:
                text = text_of(captured.graph)
                stored = None if text is None else digest(("totals", machine(), text, kinds_of(rows)))
                run = compiled_once(stored, lambda: (lambda *given: [one(*given)], rows), rows[0].device)
                self._graphs[key] = lambda given: run([*given])[0]
            else:
                graph = simplified(traced(one, rows, is_apart=False), True)
                self._graphs[key] = lambda given: graph(*given)
        return self._graphs[key]

    def _found(
        self, op: TrainOp, evaluator: Evaluator, examples: Examples, number: int
    ) -> tuple[Captured, list[Tensor]]:
        """Return the graph of a batch's totals, and what it takes."""
        inputs, targets, size, _ = examples
        leaves = [leaf for tree in (inputs, targets) for leaf in tensors(tree)]
        known, key = self._taken.setdefault(op, {}), (evaluator, number)
        if key not in known:
            with evaluator.evaluation_mode(), evaluator.autocast():
                metrics = [*evaluator.metrics.items()]
                given = evaluator.model, evaluator.loss, evaluator.call, metrics, inputs, targets, size
                captured, taken = self._capture(*given)
                same, again = self._capture(*given)
                if "shapes" not in captured.made:
                    captured.made["shapes"] = [total.shape for total in evaluator.totals(examples)]
            if same is not captured or any(one is not other for one, other in zip(taken, again, strict=True)):
                raise CannotCompile("the model or the loss reads a number that is new at each call")
            places: dict[int, Tensor | int] = {id(each): each for each in taken}
            places |= {id(leaf): place for place, leaf in enumerate(leaves)}
            known[key] = captured, [places[id(each)] for each in taken]
        captured, taken = known[key]
        return captured, [leaves[each] if isinstance(each, int) else each.detach() for each in taken]


def _kind(evaluator: Evaluator) -> tuple[Any, ...]:
    return len(evaluator.part), evaluator.batch_size, evaluator.precision, [*evaluator.metrics]
