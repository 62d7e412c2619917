"""The server's side of `processes.ForkServer`: `python -m tests.robustness.forkserver WARM FRESH`.

It is two processes, since nothing can be forgotten again: one has imported only what optrun itself imports, so that its
children start optrun anew, without the seconds that torch takes; the other has trained and run commands as well.

Each takes orders through the socket of that descriptor. With each byte come the descriptors of a file with a pickled
`Case`, of a pipe for the child's number and its `Outcome`, and of the child's streams, if it has any.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import socket
import sys
from dataclasses import replace

from .processes import Case, fork


def main() -> None:
    warm, fresh = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    import pydantic
    import torch._dynamo

    assert pydantic.BaseModel, torch._dynamo
    gc.freeze()  # else a child's first collection touches, and so copies, all memory
    if os.fork() == 0:
        fresh.close()
        from . import lives

        lives.warm_up()
        lives.warm_up_commands()
        serve(warm)
        os._exit(0)
    warm.close()
    serve(fresh)


def serve(orders: socket.socket) -> None:
    while True:
        descriptors = socket.recv_fds(orders, 1, 5)[1]
        reap(0 if not descriptors else os.WNOHANG)
        if not descriptors:
            return
        if os.fork() == 0:
            orders.close()
            _keep(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def reap(options: int) -> None:
    """Wait for keepers that have ended; for all, if `options` is 0. So their time counts as the server's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _keep(order: int, answers: int, *streams: int) -> None:
    """Do one case, in a process of its own, so that many can run at a time."""
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
    main()
