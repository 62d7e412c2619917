"""The server's side of `processes.ForkServer`: `python -m tests.robustness.forkserver DESCRIPTOR`.

With each byte that comes through the socket come the descriptors of a file with a pickled `Case`, of a pipe for the
child's number and its `Outcome`, and of the child's streams, if it has any.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from dataclasses import replace

from . import lives
from .processes import Case, fork


def serve(orders: socket.socket) -> None:
    lives.warm_up()
    lives.warm_up_commands()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        descriptors = socket.recv_fds(orders, 1, 5)[1]
        if not descriptors:
            return
        if os.fork() == 0:
            orders.close()
            _keep(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _keep(order: int, answers: int, *streams: int) -> None:
    """Do one case, in a process of its own, so that many can run at a time."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with open(order, "rb") as file:
            case: Case = pickle.load(file)
        os.set_inheritable(answers, False)
        with open(answers, "wb", buffering=0) as out:
            found = fork(replace(case, streams=streams or None), began=lambda pid: _send(out, pid))
            _send(out, found)
    finally:
        os._exit(0)


def _send(out, what: object) -> None:
    content = pickle.dumps(what)
    while content:
        content = content[out.write(content) :]


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
