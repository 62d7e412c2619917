"""Steps of several train ops, taken at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....components.data.tree import tensors
from ....errors import UsageError
from ..compiled.cannot import CannotCompile
from ..compiled.feeds import may_take, rates_of
from ..compiled.noise import draw_noise
from ..compiled.rule_table import RULES
from ..drawn_ahead import Drawn
from ..step_options import StepOptions
from ..steps import Steps
from .graph import graph_of_rows
from .members import Found, Members
from .rows import Rows, beside, num_rows_for

_LONGEST = 64  # batches that are drawn ahead
_LONG = 1e9  # seconds, which no step takes

Answer = bool | Exception


@dataclass
class _Ready:
    """A member whose next steps are ready to be taken.

    Args:
        asked: for them.
        feeds: of each.
        rates: of each, by parameter group.
        drawn: the batches.
        found: what the steps depend on.
    """

    asked: Steps
    feeds: list[Mapping[str, Any]]
    rates: list[list[float]]
    drawn: Drawn
    found: Found


class Stack:
    """Takes steps of train ops at once, whose models and data have the same shapes.

    The bits of a member depend on nothing but the member: neither on how many there are, as long as there are rows for
    two, nor on their order. Those that stand furthest behind go first, until the others are reached.

    Args:
        is_compiled: whether the graph of losses and gradients is compiled, which takes a while once.
    """

    def __init__(self, is_compiled: bool = False):
        self._is_compiled = is_compiled
        self._members = Members(is_compiled)
        self._rows: Rows | None = None
        self._num_rows = 0
        self._graphs: dict[Any, Callable[..., Sequence[Tensor]]] = {}
        self._step_secs = _LONG  # of the latest

    def take(self, asked: Sequence[Steps]) -> list[tuple[Steps, Answer]]:
        """Take steps, and return for some of those that were asked for what `TrainOp.run_block` returns or raises.

        Args:
            asked: of train ops for which `why_not_stacked` knows no reason; each comes again until it is answered.
        """
        first = min(each.train_op.batch for each in asked)
        ahead = [each.train_op.batch for each in asked if each.train_op.batch > first]
        most = min(_LONGEST, min(ahead, default=math.inf) - first, max(1, self._room(asked)))
        answers: list[tuple[Steps, Answer]] = []
        ready: list[_Ready] = []
        for each in asked:
            if each.train_op.batch == first:
                found = self._prepared(each, min(int(most), each.count))
                if isinstance(found, _Ready):
                    ready.append(found)
                else:
                    answers.append((each, found))
        if ready:
            kind = ready[0].drawn.shape, ready[0].found.kind()
            answers += self._taken([each for each in ready if (each.drawn.shape, each.found.kind()) == kind])
        return answers

    def _room(self, asked: Sequence[Steps]) -> int:
        return int(min(_LONGEST, min(each.secs_left() for each in asked) / self._step_secs))

    def _prepared(self, asked: Steps, most: int) -> _Ready | Answer:
        """Return a member that is ready, or what has become of its next step where that is none of a stack."""
        op = asked.train_op
        try:
            feed = asked.feed_at(op.global_step)
            if not may_take(op, feed):
                self._members.forget(op)
                return op.run_uncompiled(feed)
            op.set_hyperparameters(feed)
            drawn = self._members.draw(op, most, asked.is_next)
            feeds, rates = [feed], [rates_of(op, feed)]
            for step in range(op.global_step + 1, op.global_step + len(drawn.sizes)):
                try:
                    feed = asked.feed_at(step)
                except Exception:  # noqa: BLE001 (it comes again when that step is the next)
                    break
                if not may_take(op, feed) or feed.keys() != feeds[0].keys():
                    break
                feeds.append(feed)
                rates.append(rates_of(op, feed))
            return _Ready(asked, feeds, rates, drawn, self._members.look(op, drawn, asked.is_next))
        except CannotCompile as reason:
            return _refusal(reason)
        except Exception as error:  # noqa: BLE001 (it is the member's own)
            return error

    def _taken(self, ready: list[_Ready]) -> list[tuple[Steps, Answer]]:
        """Take steps of members that are alike."""
        start = time.perf_counter()
        count = min(len(each.feeds) for each in ready)
        order = {rule: place for place, rule in enumerate(dict.fromkeys(each.found.rule() for each in ready))}
        ready.sort(key=lambda each: order[each.found.rule()])
        found = [each.found for each in ready]
        self._num_rows = num_rows_for(len(found), self._num_rows)
        if self._rows is None or not self._rows.are_still(found, self._num_rows):
            self._rows = Rows(found, self._num_rows)
        rows = self._rows
        for each in ready:
            RULES[type(each.found.op.optimizer)].announce(each.found.op.optimizer, each.rates[:count])
        try:
            with torch.no_grad():
                losses, num_good = self._steps(rows, ready, count, found[0].op.options)
        except CannotCompile as reason:
            return [(each.asked, _refusal(reason)) for each in ready]
        except Exception as error:  # noqa: BLE001 (each of them is told what has ended it)
            return [(each.asked, error) for each in ready]
        self._step_secs = (time.perf_counter() - start) / count
        return [(each.asked, self._concluded(each, num_good[row], losses[:, row])) for row, each in enumerate(ready)]

    def _steps(self, rows: Rows, ready: Sequence[_Ready], count: int, options: StepOptions) -> tuple[Tensor, list[int]]:
        """Take steps until one is bad for some member; return losses, shape (steps, rows), and how many were good.

        loss, gradients = graph(tensors of all rows)
        good = loss and gradients are finite and loss <= loss_above         (with a gate)
        weights, state = rule(clipped gradients) in rows that are good, else as they were
        """
        layout = ready[0].found.layout
        found, has_gate = [each.found for each in ready], options.on_nan is not None
        own: list[Any] = [*rows.taken(found)]
        changed = [own[place] for place in layout.gradients.outline.changed]
        batches = [
            (place, self._batches(ready, index, count)) for index, place in enumerate(layout.batch) if place is not None
        ]
        noise = self._noise(ready, count)
        rates = [[*zip(*each.rates[:count], strict=True)] for each in ready]
        moves = [move for _, each in rows.groups for move in each]
        for members, each in rows.groups:
            for move in each:
                move.begin(found[members], rates[members])
        losses: list[Tensor] = []
        graph: Callable[..., Sequence[Tensor]] | None = None
        for step in range(count):
            for place, leaf in batches:
                own[place] = leaf[step]
            before = [each.clone() for each in changed] if has_gate else []
            if graph is None:
                graph = self._graph(ready[0].found, own, noise[step])
            loss, *gradients = graph(*own, *noise[step])
            torch._foreach_copy_(rows.gradient_of, gradients)
            losses.append(loss)
            good = _good(loss, rows.gradients, options) if has_gate else None
            is_good = [True] if good is None else good.tolist()
            if all(is_good):
                good = None
            for tensor, old in zip(changed, before, strict=False):
                if good is not None:
                    tensor.copy_(torch.where(beside(good, tensor), tensor, old))
            _clip(rows, options)
            for move in moves:
                move(step, good)
            if good is not None:
                return torch.stack(losses), [step + flag for flag in is_good]
        return torch.stack(losses), [count] * len(rows.gradients)

    def _graph(self, found: Found, own: Sequence[Tensor], noise: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
        """Return the graph of losses and gradients of all rows."""
        gradients = found.layout.gradients
        key = gradients, len(own[found.layout.gradients.outline.weights[0]])
        if key not in self._graphs:
            self._graphs[key] = graph_of_rows(gradients, found.taken, [*own, *noise], self._is_compiled)
        return self._graphs[key]

    def _batches(self, ready: Sequence[_Ready], index: int, count: int) -> Tensor:
        """Return a tensor of the batches of all rows, shape (steps, rows, ...)."""
        leaves = [
            [leaf for tree in (each.drawn.inputs, each.drawn.targets) for leaf in tensors(tree)] for each in ready
        ]
        return torch.stack(self._with_twins([each[index][:count] for each in leaves]), dim=1)

    def _noise(self, ready: Sequence[_Ready], count: int) -> list[list[Tensor]]:
        """Return the noise of each step, each tensor of all rows."""
        noise = ready[0].found.layout.gradients.outline.noise
        if not noise:
            return [[]] * count
        drawn = self._with_twins([draw_noise(each.found.op, noise, range(count)) for each in ready])
        joined = [torch.stack(each) for each in zip(*drawn, strict=True)]
        return [joined[step * len(noise) : (step + 1) * len(noise)] for step in range(count)]

    def _with_twins(self, members: list[Any]) -> list[Any]:
        """Return something of all members, and for the further rows that of the last one."""
        return [*members, *[members[-1]] * (self._num_rows - len(members))]

    def _concluded(self, ready: _Ready, num_good: int, losses: Tensor) -> Answer:
        """Take in that steps of a member have been taken; one that was bad is evaluated once more, as any other."""
        op, found = ready.asked.train_op, ready.found
        by_group = list(zip(*ready.rates[:num_good], strict=True))
        for cell in found.cells:
            cell.end(op.optimizer, by_group[cell.place] if num_good else ())
        torch.autograd.graph.increment_version(found.layout.weights)
        if num_good:
            op.note_compiled(losses[num_good - 1], ready.drawn.sizes[:num_good], ready.feeds[num_good - 1])
        if num_good == len(losses):
            return True
        self._members.forget(op)
        try:
            return op.run_uncompiled(ready.feeds[num_good])
        except Exception as error:  # noqa: BLE001 (it is the member's own)
            return error


def _refusal(reason: CannotCompile) -> UsageError:
    return UsageError(f"its steps cannot be taken in a batch of runs: {reason}")


def _good(losses: Tensor, gradients: Tensor, options: StepOptions) -> Tensor:
    """Return which rows have a loss and gradients that may be applied.

    A sum is finite only if all that is summed is. Where it overflows though all is finite, the member is looked at once
    more by itself.
    """
    good = torch.isfinite(losses + gradients.sum(1))
    return good if options.loss_above is None else good & (losses.double() <= options.loss_above)


def _clip(rows: Rows, options: StepOptions) -> None:
    """Clip gradients by norm, then by value, each row by itself."""
    if options.clip_norm is not None:
        norms = [torch.linalg.vector_norm(each.flatten(1), dim=1) for each in rows.gradient_of]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        rows.gradients.mul_((options.clip_norm / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1))
    if options.clip_value is not None:
        rows.gradients.clamp_(-options.clip_value, options.clip_value)
