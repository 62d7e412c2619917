"""Steps of a train op by compiled graphs: batches are drawn ahead, rates worked out ahead, counters set afterwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .compiled.blocks import CompiledBlocks
from .compiled.cannot import CannotCompile
from .compiled.feeds import may_take, rates_of
from .compiled.reasons import why_eager
from .compiled.worth import why_not_worth
from .drawn_ahead import Drawn, draw_ahead

if TYPE_CHECKING:
    from .train_op import TrainOp

log = logging.getLogger("optrun")

Feed = Mapping[str, Any]
_LONGEST = 64  # batches that are drawn ahead
_MOST_SHAPES = 4  # of batches
_LONG = 1e9  # seconds, which no step takes
_OFF = "train.compile is false"


class CompiledSteps:
    """Takes the steps of a train op by compiled graphs, as far as there are some for them.

    Whether a step is compiled depends on the configuration and on what is fed for it, never on how steps are cut into
    blocks. A batch that a graph refuses is evaluated once more as in an uncompiled step, which says what was wrong.

    Args:
        op: whose steps they are.

    Attributes:
        why_not: why none is compiled, in words; None where they are.
        blocks: takes them; None where none is compiled.
        found: why not, where that only showed on the way.
    """

    def __init__(self, op: TrainOp):
        self._op = op
        self.why_not = self._reason() if op.options.compile else _OFF
        self.found: str | None = None
        self._earlier_secs = 0.0  # of compiling, by blocks that are no more
        self._shapes: list[str] = []  # of the batches so far
        self.blocks = CompiledBlocks(op) if self.why_not is None else None
        self._step_secs = _LONG  # of the latest

    def _reason(self) -> str | None:
        op, options = self._op, self._op.options
        reason = why_eager(op)
        return why_not_worth(op, options.num_steps) if reason is None and options.compile == "auto" else reason

    def go_on(self, was_compiled: bool, found: str | None = None) -> None:
        """Do as the run has begun, whatever `auto` would choose now.

        Args:
            was_compiled: whether its steps were.
            found: why not, where that only showed on the way.
        """
        if found is not None:
            self.stop(found, is_found=True)
        if self._op.options.compile != "auto" or self.found is not None or was_compiled == (self.blocks is not None):
            return
        if not was_compiled:
            self.stop("the run has begun uncompiled")
        elif (reason := why_eager(self._op)) is None:
            self.blocks, self.why_not = CompiledBlocks(self._op), None
        else:
            log.warning("train.compile: steps were compiled when the run began, and are not from here on: %s", reason)

    def stop(self, reason: str, *, is_found: bool = False) -> None:
        """Take all further steps uncompiled.

        Args:
            reason: in words.
            is_found: whether that only showed on the way, so that a resumed run has to know it.
        """
        if self.blocks is None:
            return
        self._earlier_secs = self.compiling_secs
        self.blocks, self.why_not = None, reason
        if is_found:
            self.found = reason
            log.warning("train.compile: steps are not compiled: %s", reason)

    @property
    def compiling_secs(self) -> float:
        """Return how long steps have waited for compiled graphs so far."""
        return self._earlier_secs + (0.0 if self.blocks is None else self.blocks.compiling_secs)

    def state_dict(self) -> dict[str, Any]:
        """Return what decides whether later steps are compiled: shapes of batches, and what was found out."""
        chosen = {"chosen": self.blocks is not None} if self._op.options.compile == "auto" else {}
        if not chosen and not self._shapes and self.found is None:
            return {}
        return {"shapes": self._shapes, "why_not": self.found, **chosen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._shapes = list(state.get("shapes", []))
        if (reason := state.get("why_not")) is not None:
            self.stop(reason, is_found=True)
        if "chosen" in state:
            self.go_on(state["chosen"])

    def takes(self, feed: Feed) -> bool:
        """Return True if a step with such a feed is compiled."""
        return self.blocks is not None and may_take(self._op, feed)

    def run(self, count: int, feed_at: Callable[[int], Feed], secs_left: Callable[[], float]) -> bool:
        """Take steps; see `TrainOp.run_block`."""
        op, last = self._op, self._op.global_step + count
        if self.blocks is not None:
            self.blocks.begin()
        while op.global_step < last:
            feed = feed_at(op.global_step)
            if not self.takes(feed):
                is_applied = op.run_uncompiled(feed)
                if self.blocks is not None:
                    self.blocks.begin()
            else:
                room = min(_LONGEST, secs_left() / self._step_secs)
                is_applied = self._run_ahead(feed, min(last - op.global_step, max(1, int(room))), feed_at)
            if not is_applied:
                return False
            if secs_left() <= 0:
                break
        return True

    def _run_ahead(self, feed: Feed, most: int, feed_at: Callable[[int], Feed]) -> bool:
        op, start = self._op, time.perf_counter()
        drawn = self.draw(most)
        if drawn is None:
            return op.run_uncompiled(feed)
        op.set_hyperparameters(feed)
        feeds, rates = [feed], [rates_of(op, feed)]
        for step in range(op.global_step + 1, op.global_step + len(drawn.sizes)):
            try:
                feed = feed_at(step)
            except Exception:  # noqa: BLE001 (it comes again when that step is the next)
                break
            if not self.takes(feed) or feed.keys() != feeds[0].keys():
                break
            feeds.append(feed)
            rates.append(rates_of(op, feed))
        if len(feeds) < len(drawn.sizes):
            drawn = self.draw(len(feeds))
            assert drawn is not None
        return self._take(drawn, feeds, torch.tensor(rates, dtype=torch.float64), start)

    def _take(self, drawn: Drawn, feeds: Sequence[Feed], rates: Tensor, start: float) -> bool:
        op, blocks = self._op, self.blocks
        assert blocks is not None
        try:
            losses, good = blocks.run(drawn.inputs, drawn.targets, rates)
        except CannotCompile as reason:
            self.stop(str(reason), is_found=True)
            return op.run_uncompiled(feeds[0])
        num_good = len(feeds) if bool(good[-1]) else int(good.sum())
        self._step_secs = (time.perf_counter() - start) / len(feeds)
        if num_good:
            op.note_compiled(losses[num_good - 1], drawn.sizes[:num_good], feeds[num_good - 1])
        if num_good == len(feeds):
            return True
        blocks.begin()  # an uncompiled step changes what it likes
        return op.run_uncompiled(feeds[num_good])

    def draw(self, most: int) -> Drawn | None:
        """Return the next batches, as many of one shape as there are, at most so many; None if there is no graph.

        Raises:
            EndOfData: there is none.
        """
        drawn = draw_ahead(self._op, most)
        if drawn.shape is None:
            self.stop("a batch has more in it than tensors", is_found=True)
            return None
        return drawn if self._has_room(drawn.shape) else None

    def _has_room(self, shape: str) -> bool:
        """Return True unless batches come in too many shapes, each of which has graphs of its own."""
        if shape not in self._shapes:
            if len(self._shapes) == _MOST_SHAPES:
                self.stop(f"batches come in more than {_MOST_SHAPES} shapes", is_found=True)
                return False
            self._shapes.append(shape)
        return True
