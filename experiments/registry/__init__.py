"""Registries: names to components, their arguments with types and ranges, and the user's own code."""

from __future__ import annotations

from .component import Component
from .registry import Registry

__all__ = ["Component", "Registry"]
