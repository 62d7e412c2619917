"""What worker processes need of this one: the components that a script or a notebook has registered or handed over.

A worker finds by itself what this program brings, plug-ins, entry points and `./file.py:Name`. A module that registered
a component when it was imported is imported there too. What no import would give, because a notebook's cell or the
script itself made it, is sent by value.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..components.registries import REGISTRIES
from ..config import Config
from ..errors import UsageError
from ..registry import Component
from ..registry.handed import hold
from ..registry.user_code import is_code_reference

_FOUND_ANYWAY = (f"{__name__.partition('.')[0]}.", "optrun_user_")  # ours, and files that configurations name


@dataclass(frozen=True)
class Shipment:
    """Components for other processes.

    Args:
        modules: to be imported, since that registers some.
        by_value: the others, pickled.
    """

    modules: tuple[str, ...] = ()
    by_value: bytes = b""

    def unpack(self) -> None:
        """Register everything in this process, as it is in the one that sent it."""
        for module in self.modules:
            importlib.import_module(module)
        for component in pickle.loads(self.by_value) if self.by_value else ():
            if is_code_reference(component.name):
                hold(component.name, component.build)
                continue
            flavor = component.flavor if component.variants else None
            decorate = REGISTRIES[component.kind].register(
                component.name, flavor=flavor, source=component.source, **component.facts
            )
            decorate(component.build)


def pack(configs: Iterable[Config]) -> Shipment:
    """Pack the components that configurations name and that other processes could not find.

    Raises:
        UsageError: one of them cannot be sent.
    """
    found: dict[tuple[str, str, str], Component] = {}
    for config in configs:
        for part in config.components():
            component = part.component
            is_found = _module(component).startswith(_FOUND_ANYWAY) and not is_code_reference(component.name)
            if component.code is None and not is_found:
                found[component.kind, component.name, component.flavor] = component
    mine = [each for each in found.values() if each.is_of_a_program or is_code_reference(each.name)]
    others = dict.fromkeys(_module(component) for component in found.values() if component not in mine)
    return Shipment(tuple(others), _dumps(mine) if mine else b"")


@contextmanager
def main_left_out() -> Iterator[None]:
    """Let processes that are started meanwhile not run the user's script, which they do not need.

    A script without `if __name__ == "__main__"` would start them again, and one from stdin has no file to run.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _module(component: Component) -> str:
    return getattr(component.build, "__module__", None) or ""


def _dumps(components: list[Component]) -> bytes:
    import cloudpickle

    for component in components:
        try:
            cloudpickle.dumps(component)
        except Exception as error:
            raise UsageError(
                f"{component.kind} '{component.name}' cannot be sent to the processes that train: {error}. Put it into "
                "a file, and name it ./file.py:Name"
            ) from error
    return cloudpickle.dumps(components)
