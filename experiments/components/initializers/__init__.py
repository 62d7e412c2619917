"""Initial weights by name: functions `(model, *, …) -> None`, registered in this folder, or the user's own.

One is called when a run begins with nothing to restore, once, before the first step; a resumed run does not call it.
A component may be registered with the fact `fingerprint(args) -> str`: what it reads besides its arguments, as a hash,
so that results are not mistaken for those of another file under the same name.
"""

from ...registry import Registry

registry = Registry("init", __name__, given=1)
register_init = registry.register

__all__ = ["register_init", "registry"]
