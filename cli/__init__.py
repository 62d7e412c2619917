"""The command line of optrun: the only part that knows a terminal."""

from __future__ import annotations


def main() -> None:
    """Run the command line; from the first line on, a signal ends it with 130 or 143."""
    from ..experiments.system import signals

    signals.install()
    import os
    import sys

    from .terminal import streams

    streams.prepare()
    from ..experiments.system import forks
    from ..experiments.system.raised import guarded_process_end, keep_exit_code
    from .app import run

    own = os.getpid()
    try:
        with guarded_process_end():
            code = run(sys.argv[1:])
    except SystemExit as error:
        if os.getpid() != own:
            forks.end(error.code)
        raise
    if os.getpid() != own:  # the user's code has forked it, and let it come here
        forks.end(code)
    streams.give_up_results()
    keep_exit_code(code)
    sys.exit(code)
