"""A data folder as scikit-learn's `fetch_openml` leaves it, written by hand: it is the truth that nobody downloads."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_home(
    home: Path,
    data_id: int,
    content: str | bytes,
    features: Sequence[Mapping[str, str]],
    num_rows: int,
    place: str | None = None,
    **about: Any,
) -> Path:
    """Write a table of OpenML's into a data folder, and return the folder.

    Args:
        home: the folder.
        data_id: the number of the data set.
        content: the ARFF file.
        features: `feature(…)` of each column.
        num_rows: of the table.
        place: of the file, as the path of its address; by default as OpenML has it.
        about: more of the description.
    """
    content = content.encode() if isinstance(content, str) else content
    place = place or f"data/v1/download/{data_id + 1000}/table.arff"
    described = {
        "id": str(data_id),
        "name": "table",
        "version": "1",
        "format": "ARFF",
        "description": "a table",
        "url": f"https://openml.invalid/{place}",
        "file_id": str(data_id + 1000),
        "md5_checksum": hashlib.md5(content).hexdigest(),
        "status": "active",
        **about,
    }
    listed = [{"index": str(number), **each} for number, each in enumerate(features)]
    qualities = [{"name": "NumberOfInstances", "value": str(float(num_rows))}]
    put(home, f"api/v1/json/data/{data_id}", json.dumps({"data_set_description": described}).encode())
    put(home, f"api/v1/json/data/features/{data_id}", json.dumps({"data_features": {"feature": listed}}).encode())
    put(home, f"api/v1/json/data/qualities/{data_id}", json.dumps({"data_qualities": {"quality": qualities}}).encode())
    put(home, place, content)
    return home


def put(home: Path, name: str, content: bytes) -> None:
    path = home / "openml" / "openml.org" / f"{name}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content))


def feature(name: str, kind: str = "numeric", **flags: bool) -> dict[str, str]:
    """Return what OpenML says of a column; `flags` are `is_target`, `is_ignore` and `is_row_identifier`."""
    off = dict.fromkeys(("is_target", "is_ignore", "is_row_identifier"), "false")
    on = {flag: str(value).lower() for flag, value in flags.items()}
    return {"name": name, "data_type": kind, "number_of_missing_values": "0", **off, **on}
