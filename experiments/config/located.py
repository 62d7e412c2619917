"""Errors of constructors, told at the place in the configuration that asked for what was constructed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import OptrunError, UsageError
from .configuration import Config
from .problems import ConfigError


@contextmanager
def located(config: Config, path: str) -> Iterator[None]:
    """Turn what a constructor refuses within a `with` block into a ConfigError at the key `path`.

    A ConfigError, which has its place, and an OptrunError that is nobody's mistake pass through.
    """
    try:
        yield
    except ConfigError:
        raise
    except OptrunError as error:
        if error.exit_code != UsageError.exit_code:
            raise
        raise config.problem(path, str(error)) from error
    except (ValueError, TypeError, RuntimeError, LookupError) as error:
        raise config.problem(path, f"{type(error).__name__}: {error}") from error
