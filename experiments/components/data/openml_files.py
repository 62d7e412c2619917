"""What scikit-learn's `fetch_openml` leaves in its data folder: descriptions in JSON, and the table as ARFF."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ...errors import DataError, FaultsError
from ...system.places import absolute
from .arff_table import ArffTable, arff_content, read_arff

log = logging.getLogger("optrun")

_DESCRIPTION, _FEATURES = "api/v1/json/data/{}", "api/v1/json/data/features/{}"


@dataclass(frozen=True)
class OpenmlFiles:
    """The files of one data set of OpenML's; nothing is downloaded.

    Args:
        data_id: its number.
        home: scikit-learn's data folder; None for the one that it uses.
    """

    data_id: int
    home: str | None = None

    def table(self) -> tuple[ArffTable, tuple[str, ...]]:
        """Return the table, whose index are the columns that OpenML says to leave out, and the names of its targets.

        Raises:
            FaultsError: a file is not there.
            DataError: one is damaged: no JSON, or the table has another MD5 than its description says.
        """
        about = self._json(_DESCRIPTION, "data_set_description")
        features = self._json(_FEATURES, "data_features").get("feature")
        path = self._table_path(about)
        if not path.is_file():
            raise self._absent(path)
        for flaw in (about[key] for key in ("error", "warning") if about.get(key)):
            log.warning("OpenML says of data set %d: %s", self.data_id, flaw)
        if about.get("status", "active") != "active":
            log.warning("OpenML's data set %d is not active, which it says of data with flaws", self.data_id)
        content = arff_content(str(path))
        found, expected = hashlib.md5(content, usedforsecurity=False).hexdigest(), about.get("md5_checksum")
        if found != expected:
            way_out = f"delete it, then {self._command()}"
            raise DataError(f"{path} has the MD5 {found}, and its description says {expected}: {way_out}")
        table = read_arff(str(path), content)
        try:
            return _described(table, [dict(feature) for feature in features or ()])
        except (KeyError, TypeError, ValueError) as error:
            described = self._path(_FEATURES.format(self.data_id))
            raise DataError(
                f"{described} does not describe {path}: {error!r}; delete it, then {self._command()}"
            ) from None

    def table_path(self) -> Path | None:
        """Return where the table is, or would be; None where its description cannot be read, which reading tells."""
        try:
            return self._table_path(self._json(_DESCRIPTION, "data_set_description"))
        except DataError:
            return None

    def _table_path(self, about: Mapping[str, Any]) -> Path:
        """Return where the table is: by its address, or as versions of scikit-learn before had it, by its number."""
        address = urlsplit(str(about.get("url", ""))).path.strip("/")
        names = [name for name in (address, f"data/v1/download/{about.get('file_id')}") if ".." not in name.split("/")]
        paths = [self._path(name) for name in names if name]
        if not paths:
            described = self._path(_DESCRIPTION.format(self.data_id))
            raise DataError(f"{described} names no file of it; delete it, then {self._command()}")
        return next((path for path in paths if path.is_file()), paths[0])

    def _json(self, name: str, key: str) -> dict[str, Any]:
        path = self._path(name.format(self.data_id))
        if not path.is_file():
            raise self._absent(path)
        try:
            found = json.loads(gzip.decompress(path.read_bytes()))[key]
        except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError) as error:
            raise DataError(f"{path} cannot be read: {error!r}; delete it, then {self._command()}") from error
        if not isinstance(found, dict):
            raise DataError(f"{path} cannot be read: {key} is no mapping; delete it, then {self._command()}")
        return found

    def _path(self, name: str) -> Path:
        return self._folder() / "openml" / "openml.org" / f"{name}.gz"

    def _folder(self) -> Path:
        """Return the data folder, which scikit-learn makes if it is asked where it is."""
        home = self.home if self.home is not None else os.environ.get("SCIKIT_LEARN_DATA", "~/scikit_learn_data")
        return absolute(os.path.expanduser(home))

    def _absent(self, path: Path) -> FaultsError:
        return FaultsError(("data_id", f"no file {path}: nothing is downloaded here; {self._command()}"))

    def _command(self) -> str:
        """Return the command that downloads it."""
        home = f", data_home={str(self._folder())!r}" if self.home is not None else ""
        call = f"fetch_openml(data_id={self.data_id}{home})"
        return f'fetch it by: python -c "from sklearn.datasets import fetch_openml; {call}"'


def _described(table: ArffTable, features: list[dict[str, str]]) -> tuple[ArffTable, tuple[str, ...]]:
    """Return a table under the names that OpenML has for its columns, and the names of its targets."""
    names = [str(feature["name"]) for feature in features]
    if len(names) != len(table.cells) or len(set(names)) != len(names):
        raise ValueError(f"it names {len(names)} columns, and the table has {len(table.cells)}")
    new = dict(zip(table.cells, names, strict=True))
    left_out = [each["name"] for each in features if "true" in (each["is_ignore"], each["is_row_identifier"])]
    renamed = replace(
        table,
        cells={new[name]: cells for name, cells in table.cells.items()},
        declared={new[name]: values for name, values in table.declared.items()},
        attributes={new[name]: replace(each, name=new[name]) for name, each in table.attributes.items()},
        odd={new[name]: rows for name, rows in table.odd.items()},
        index=tuple(left_out),
    )
    return renamed, tuple(each["name"] for each in features if each["is_target"] == "true")
