"""A user's own code, as the runs of these tests load it: it has state, and draws from global generators."""

from __future__ import annotations

import random

import numpy as np

from optrun.experiments import Hook


class Drawing(Hook):
    """Write what the global generators give, and how often it was asked, into the rows."""

    def __init__(self):
        self._count = 0

    def begin(self, session):
        self._session = session

    def after_run(self, ctx, values):
        self._count += 1
        if ctx.step % 2 == 0:
            drawn = {"python": random.random(), "numpy": float(np.random.random())}
            self._session.write_row(drawn=self._count, **drawn)

    def state_dict(self):
        return {"count": self._count}

    def load_state_dict(self, state):
        self._count = state["count"]
