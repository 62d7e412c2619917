"""Gates on the command line: read before the first run, decided after the last, annotated where a workflow runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...experiments.errors import UsageError
from ...experiments.report.statistics import evaluate_gate, parse_gate
from ...experiments.report.statistics.gate import BOUND
from ...experiments.report.tables.entry_rows import final_metrics


def check_gates(texts: Sequence[str], plan: dict[str, Any]) -> list[Any]:
    """Read the gates against the plan, so that a wrong one costs no run.

    Raises:
        UsageError: one is no gate, names an entry that is not there, or a pair that will not be compared.
    """
    names, baseline = [entry["name"] for entry in plan["entries"]], plan["protocol"].get("baseline")
    gates = [parse_gate(text, names, plan.get("metrics", ())) for text in texts]
    for gate in gates:
        if gate.relation != BOUND and baseline is not None and baseline not in (gate.a, gate.b):
            raise UsageError(
                f"gate '{gate.text}': with --baseline {baseline} each entry is compared with {baseline} alone"
            )
    return gates


def decide_gates(gates: Sequence[Any], results: Any) -> list[Any]:
    """Decide each gate by the finished runs; every p is the one that is printed.

    Raises:
        UsageError: a bound on something that the runs do not measure.
    """
    group = results.group
    measured = final_metrics(group)
    for gate in gates:
        parse_gate(gate.text, group.names, measured)
    values = {gate.metric: group.values(gate.metric) for gate in gates if gate.relation == BOUND}
    return [evaluate_gate(gate, results.analysis, values) for gate in gates]
