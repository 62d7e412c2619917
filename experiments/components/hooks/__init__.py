"""The stock hooks, one file each, by name."""

from ...registry import Registry

registry = Registry("hook", __name__, base=f"{__name__}.hook:Hook")
register_hook = registry.register
