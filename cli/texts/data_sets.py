"""The files of data sets: where they are, their state, their downloads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...experiments.errors import DataError, NothingMatchedError, UsageError, unknown_name
from ...experiments.report.tables.table import aligned
from ...experiments.system import downloads
from ...experiments.system.public_files import PUBLIC_SETS, PublicFile
from ..terminal.console import cut
from ..terminal.downloading import size_text
from ..terminal.screen import columns
from ..terminal.streams import results


def listed(names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return each data set: what it is, where it is, and its files.

    Raises:
        UsageError: there is no such data set.
    """
    from ...experiments.components.data import registry

    _check(names, registry.names())
    return [_entry(registry.get(name)) for name in names or registry.names()]


def table_of(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Lay the list out: name, where, size, what it is."""
    rows = [[entry["name"], entry["where"], size_text(entry["bytes"]), entry["summary"]] for entry in entries]
    lines = aligned([row[:3] for row in rows], right=(2,))
    longest = max(map(len, lines))
    room = max(columns(results()) - longest - 2, 20)
    return [f"{line:<{longest}}  {cut(row[3], room)}".rstrip() for line, row in zip(lines, rows, strict=True)]


def get(names: Sequence[str]) -> list[dict[str, Any]]:
    """Download what is not here, verify all of it, and return what is here now.

    Raises:
        UsageError: no name, or one that nobody can download.
        DataError: a file cannot be had.
    """
    if not names:
        raise UsageError(f"which one? `optrun data get NAME` downloads: {', '.join(PUBLIC_SETS)}")
    _check_public(names)
    done = []
    for name in dict.fromkeys(names):
        paths = [downloads.fetch(file) for file in PUBLIC_SETS[name].files]
        done.append({"name": name, "files": [{"path": str(path), "state": "verified"} for path in paths]})
    return done


def verify(names: Sequence[str]) -> list[dict[str, Any]]:
    """Compare the SHA-256 of downloaded files with the published one; a file that is wrong or missing has a `problem`.

    Without names, data sets of which nothing is here are left out.

    Raises:
        UsageError: a name that nobody can download.
        NothingMatchedError: nothing is here.
    """
    _check_public(names)
    states = {name: [downloads.state_of(file) for file in public.files] for name, public in PUBLIC_SETS.items()}
    chosen = list(names) or [name for name in PUBLIC_SETS if set(states[name]) != {"missing"}]
    if not chosen:
        raise NothingMatchedError(f"nothing is downloaded in {downloads.data_dir()}: `optrun data get NAME` does it")
    return [{"name": name, "files": [_verified(file) for file in PUBLIC_SETS[name].files]} for name in chosen]


def _entry(component: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": component.name, "where": "made", "bytes": None, "files": []}
    if "public" in component.facts:
        files = PUBLIC_SETS[component.facts["public"]].files
        entry["files"] = [_described(file) for file in files]
        entry["where"] = _where([file["state"] for file in entry["files"]])
        entry["bytes"] = sum(file.size for file in files)
        entry["licence"] = PUBLIC_SETS[component.facts["public"]].licence
    elif "bundled" in component.facts:
        from ...experiments.components.data.tables import scikit_data_folder

        paths = [scikit_data_folder() / name for name in component.facts["bundled"]]
        entry["where"] = "bundled"
        entry["files"] = [{"path": str(path), "state": "present" if path.is_file() else "missing"} for path in paths]
        entry["bytes"] = sum(path.stat().st_size for path in paths if path.is_file())
    elif any(argument.name == "path" for argument in component.signature.arguments):
        entry["where"] = "yours" if component.name != "text" else "bundled"
    return {**entry, "summary": component.summary}


def _described(file: PublicFile) -> dict[str, Any]:
    return {
        "path": str(downloads.path_of(file)),
        "state": downloads.state_of(file),
        "bytes": file.size,
        "sha256": file.sha256,
        "url": file.urls[0],
    }


def _where(states: Sequence[str]) -> str:
    if set(states) == {"present"}:
        return "downloaded"
    for state in ("damaged", "partial"):
        if state in states:
            return state
    return "missing" if set(states) == {"missing"} else "partial"


def _verified(file: PublicFile) -> dict[str, Any]:
    path: Path = downloads.path_of(file)
    try:
        downloads.check(file)
    except DataError as error:
        state = downloads.state_of(file)
        return {"path": str(path), "state": "damaged" if state == "present" else state, "problem": str(error)}
    return {"path": str(path), "state": "verified"}


def _check(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise UsageError(unknown_name("data", name, known))


def _check_public(names: Sequence[str]) -> None:
    from ...experiments.components.data import registry

    _check(names, registry.names())
    for name in names:
        if name not in PUBLIC_SETS:
            raise UsageError(f"data '{name}' is no download; these are: {', '.join(PUBLIC_SETS)}")
