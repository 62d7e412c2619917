"""The pairs of a comparison: runs of one seed, that started alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .fingerprints import PairingError, check_pairing, of_stream, words
from .ledger import Ledger


def check_pairs(ledger: Ledger, expected: Sequence[str], are_made_here: bool) -> None:
    """Hold the fingerprints of each seed's runs against each other, and keep what was found.

    Args:
        ledger: of the comparison, whose evaluation has ended.
        expected: what must be equal.
        are_made_here: whether all runs are the comparison's own; else nothing is proved.

    Raises:
        PairingError: runs that should have started alike did not.
    """
    seeds: dict[int, dict[str, Any]] = {}
    for task in ledger.tasks:
        if task.role == "evaluate" and task.run is not None:
            found = task.run.dir.read_json("pairing.json")
            if found is not None:  # a run that was not made by a comparison has none
                seeds.setdefault(task.seed, {})[task.entry] = {**found, **of_stream(task.run.summary or {})}
    pairing = ledger.data["pairing"]
    for seed, fingerprints in seeds.items():
        try:
            pairing["seeds"][str(seed)] = check_pairing(fingerprints, expected, seed)
        except PairingError as error:  # so that nobody who reads the runs later takes them for pairs
            pairing["mismatch"] = str(error)
            ledger.write()
            raise
    if any("first_batches" in found for found in pairing["seeds"].values()):  # what was read is known only now
        pairing["same"] = words(min(pairing["seeds"].values(), key=len))
    pairing["checked"] = bool(seeds) and are_made_here
