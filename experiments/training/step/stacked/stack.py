"""Steps of several train ops, taken at once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from ....errors import UsageError
from ..compiled.cannot import CannotCompile
from ..compiled.feeds import may_take, rates_of
from ..compiled.rule_table import RULES
from ..steps import Steps
from .graph import Graphs, NotCompiledError
from .members import Members, Ready
from .row_steps import RowSteps

_LONGEST = 64  # batches that are drawn ahead
_LONG = 1e9  # seconds, which no step takes

Answer = bool | Exception


class Stack:
    """Takes steps of train ops at once, whose models and data have the same shapes.

    The bits of a member depend on nothing but the member: neither on how many there are, as long as there are rows for
    two, nor on their order. Those that stand furthest behind go first, until the others are reached.

    Args:
        is_compiled: whether graphs of losses and gradients are compiled, which takes a while once.

    Attributes:
        graphs: of losses and gradients.
    """

    def __init__(self, is_compiled: bool = False):
        self.graphs = Graphs(is_compiled)
        self._members = Members(is_compiled)
        self._parts: list[RowSteps] = []
        self._step_secs = _LONG  # of the latest

    def twin(self) -> Stack:
        """Return a stack of other train ops that shares what is known of graphs."""
        twin = copy.copy(self)
        twin._parts = []
        return twin

    def rest(self) -> None:
        """Forget all train ops: their runs have ended. What is known of graphs stays."""
        self._members.rest()
        self._parts.clear()

    def take(self, asked: Sequence[Steps]) -> list[tuple[Steps, Answer]]:
        """Take steps, and return for some of those that were asked for what `TrainOp.run_block` returns or raises.

        Args:
            asked: of train ops for which `why_not_stacked` knows no reason; each comes again until it is answered.
        """
        first = min(each.train_op.batch for each in asked)
        ahead = [each.train_op.batch for each in asked if each.train_op.batch > first]
        most = min(_LONGEST, min(ahead, default=math.inf) - first, max(1, self._room(asked)))
        answers: list[tuple[Steps, Answer]] = []
        ready: list[Ready] = []
        for each in asked:
            if each.train_op.batch == first:
                found = self._prepared(each, min(int(most), each.count))
                if isinstance(found, Ready):
                    ready.append(found)
                else:
                    answers.append((each, found))
        if ready:
            kind = ready[0].drawn.shape, ready[0].found.kind
            answers += self._taken([each for each in ready if (each.drawn.shape, each.found.kind) == kind])
        return answers

    def _room(self, asked: Sequence[Steps]) -> int:
        return int(min(_LONGEST, min(each.secs_left() for each in asked) / self._step_secs))

    def _prepared(self, asked: Steps, most: int) -> Ready | Answer:
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
            return Ready(asked, feeds, rates, drawn, self._members.look(op, drawn, asked.is_next))
        except CannotCompile as reason:
            return _refusal(reason)
        except Exception as error:  # noqa: BLE001 (it is the member's own)
            return error

    def _taken(self, ready: list[Ready]) -> list[tuple[Steps, Answer]]:
        """Take steps of members that are alike: as many at once as a graph has rows."""
        start, answers = time.perf_counter(), list[tuple[Steps, Answer]]()
        count = min(len(each.feeds) for each in ready)
        order = {rule: place for place, rule in enumerate(dict.fromkeys(each.found.rule for each in ready))}
        ready.sort(key=lambda each: order[each.found.rule])
        for each in ready:
            RULES[type(each.found.op.optimizer)].announce(each.found.op.optimizer, each.rates[:count])
        width = self.graphs.width(len(ready))
        for place, first in enumerate(range(0, len(ready), width)):
            if place == len(self._parts):
                self._parts.append(RowSteps(self.graphs))
            answers += self._part_taken(self._parts[place], ready[first : first + width], count)
        self._step_secs = (time.perf_counter() - start) / count
        return answers

    def _part_taken(self, part: RowSteps, ready: list[Ready], count: int) -> list[tuple[Steps, Answer]]:
        try:
            with torch.no_grad():
                losses, num_good = part.take(ready, count)
        except CannotCompile as reason:
            return [(each.asked, _refusal(reason)) for each in ready]
        except Exception as error:  # noqa: BLE001 (each of them is told what has ended it)
            return [(each.asked, error) for each in ready]
        return [(each.asked, self._concluded(each, num_good[row], losses[:, row])) for row, each in enumerate(ready)]

    def _concluded(self, ready: Ready, num_good: int, losses: Tensor) -> Answer:
        """Take in that steps of a member have been taken; one that was bad is evaluated once more, as any other."""
        op, found = ready.asked.train_op, ready.found
        by_group = list(zip(*ready.rates[:num_good], strict=True))
        for cell in found.cells:
            cell.end(op.optimizer, by_group[cell.place] if num_good else ())
        torch.autograd.graph.increment_version(found.layout.weights)
        try:
            if num_good:
                ready.asked.note(losses[:num_good], ready.drawn.sizes[:num_good], ready.feeds[:num_good])
            if num_good == len(losses):
                return True
            self._members.forget(op)
            return op.run_uncompiled(ready.feeds[num_good])
        except Exception as error:  # noqa: BLE001 (it is the member's own)
            return error


def _refusal(reason: CannotCompile) -> Exception:
    if isinstance(reason, NotCompiledError):
        return reason
    return UsageError(f"its steps cannot be taken in a batch of runs: {reason}")
