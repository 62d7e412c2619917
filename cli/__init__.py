"""The command line of optrun: the only part that knows a terminal."""

from __future__ import annotations


def main() -> None:
    """Run the command line; from the first line on, a signal ends it with 130 or 143."""
    from ..experiments.system import signals

    signals.install()
    import sys

    from .terminal import streams

    streams.prepare()
    from ..experiments.system.raised import guarded_process_end, keep_exit_code
    from .app import run

    with guarded_process_end():
        code = run(sys.argv[1:])
    keep_exit_code(code)
    sys.exit(code)
