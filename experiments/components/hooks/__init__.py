"""The stock hooks, one file each, by name."""

from ...registry import Registry

registry = Registry("hook", __name__)
register_hook = registry.register
