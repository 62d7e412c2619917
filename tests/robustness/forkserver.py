"""The server's side of `processes.ForkServer`: `python -m tests.robustness.forkserver`.

It reads one pickled `Case` after another from stdin, and answers each with its `Outcome` on stdout.
"""

from __future__ import annotations

import os
import pickle
import sys

from . import lives
from .processes import fork


def serve() -> None:
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whoever prints by mistake spoils no answer
    lives.warm_up()
    lives.warm_up_commands()
    while True:
        try:
            case = pickle.load(orders)
        except EOFError:
            return
        pickle.dump(fork(case), answers)
        answers.flush()


if __name__ == "__main__":
    serve()
