"""Each of optrun's own optimizers, schedules, losses and metrics has an example that gives what it says."""

from __future__ import annotations

import doctest
import io

import pytest

from optrun.experiments.components.registries import REGISTRIES
from optrun.experiments.registry import Component


def own_components() -> list[Component]:
    """Return every flavor of every component that is neither another package's nor a plug-in's."""
    found = []
    for kind in ("optimizer", "schedule", "loss", "metric"):
        registry = REGISTRIES[kind]
        names = [name for name in registry.names() if not name.startswith(tuple(registry.extras))]
        for component in map(registry.get, names):
            found += component.variants.values() or [component]
    return [component for component in found if component.build.__module__.startswith("optrun.")]


def label(component: Component) -> str:
    return f"{component.kind}/{component.name}{component.flavor and '-'}{component.flavor}"


@pytest.mark.parametrize("component", own_components(), ids=label)
def test_each_has_an_example_that_gives_what_it_says_in_a_fresh_python(component: Component) -> None:
    example = doctest.DocTestParser().get_doctest(component.doc, {}, label(component), None, 0)
    assert any(line.want for line in example.examples), "its docstring has no `>>>` with a result"
    source = "".join(line.source for line in example.examples)
    assert f'"{component.name}"' in source, "the example is not one of this component"
    is_first = component.flavor in list(component.variants)[:1]  # what the name alone means
    assert not component.flavor or is_first == ("flavor=" not in source), "the example is one of another flavor"
    said = io.StringIO()
    outcome = doctest.DocTestRunner(verbose=False).run(example, out=said.write)
    assert outcome.failed == 0, said.getvalue()
