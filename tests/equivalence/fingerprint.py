"""What a folder of runs holds, part by part, as text that two versions of the code must agree on."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import scrubbing
from safetensors import safe_open

_PAGE_PARTS = re.compile(r"<style>.*?</style>|<script>.*?</script>|<meta http-equiv[^>]*>", re.DOTALL)
_PAGE_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)
#: Of env.json, what the code decides; the rest describes the machine.
_ENVIRONMENT = ("device", "threads", "precision", "code", "commit")
_SECTIONS = {"model": "weights", "optimizer": "optimizer state"}


def fingerprint(folder: Path) -> dict[str, str]:
    """Return what a case's folder holds, as text by part.

    Args:
        folder: in which commands were run.
    """
    parts: defaultdict[str, list[str]] = defaultdict(list)
    names = []
    for path in sorted(folder.rglob("*")):
        shown = scrubbing.text(str(path.relative_to(folder)), folder)
        if path.is_dir() or shown.split("/")[0] in ("home", ".streams") or path.suffix == ".pyc":
            continue
        if ".cache" in path.parts:
            shown = "runs/.cache/<key>"
        names.append(shown)
        for part, words in _read(path, folder):
            parts[part].append(f"== {shown}\n{words}\n")
    # Sorted again: run folders are named by keys, and may come in another order.
    return {"files": "\n".join(sorted(names)), **{part: "".join(sorted(texts)) for part, texts in parts.items()}}


def _read(path: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the parts that one file belongs to, with what it says about each."""
    if path.suffix == ".safetensors":
        yield from _checkpoint(path)
    elif path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        yield "rows", "\n".join(json.dumps({**row, "time": None}) for row in rows)
    elif path.name == "metrics.csv":
        with path.open(newline="") as file:
            table = [{**row, "time": None} for row in csv.DictReader(file)]
        yield "rows", "\n".join(json.dumps(row) for row in table)
    elif path.name == "env.json":
        env = json.loads(path.read_text())
        kept = {name: env.get(name) for name in _ENVIRONMENT} | {"arguments": env["command"][1:], "keys": list(env)}
        yield "environment", _json(kept, folder)
    elif path.name == "comparison.json":
        yield "comparison.json", f"{path.parent.name}\n{_json(json.loads(path.read_text()), folder)}"
    elif path.suffix == ".json":
        known = ("summary.json", "status.json", "origins.json", "pairing.json")
        part = path.name if path.name in known else "exported files"
        yield part, _json(json.loads(path.read_text()), folder)
    elif path.suffix == ".html":
        page = path.read_text()
        for data in _PAGE_DATA.findall(page):
            yield "page", _json(json.loads(data), folder)
        yield "page", scrubbing.text(_PAGE_PARTS.sub("", _PAGE_DATA.sub("", page)), folder)
    elif path.suffix in (".png", ".gif", ".npz"):
        yield "pictures", hashlib.sha256(path.read_bytes()).hexdigest()
    elif "tfevents" not in path.name and not path.name.startswith("."):
        kind = {".svg": "pictures", ".txt": "log"}.get(path.suffix, "exported files")
        yield ("config" if path.name == "config.yaml" else kind), scrubbing.text(path.read_text(), folder)


def _checkpoint(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the hash of each tensor under its section, and what else a checkpoint says."""
    sections: defaultdict[str, list[str]] = defaultdict(list)
    with safe_open(path, "pt") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name).contiguous()
            content = hashlib.sha256(tensor.flatten().view(_bytes()).numpy().tobytes()).hexdigest()
            line = f"{name} {tensor.dtype} {list(tensor.shape)} {content}"
            sections[_SECTIONS.get(name.partition("/")[0], "other state")].append(line)
        text = (file.metadata() or {}).get("optrun")
    for part, lines in sections.items():
        yield part, "\n".join(lines)
    if text is None:
        return
    described = json.loads(text)
    described.pop("sha256", None)  # of what is compared here, and of times
    facts = described.get("facts", {})
    for timed in ("rows", "spent"):
        facts.pop(timed, None)
    state = facts.get("state", {})
    if "optimizer" in state:
        yield "optimizer state", json.dumps(state.pop("optimizer"), indent=1)
    yield "checkpoint facts", json.dumps(described, indent=1)


def _bytes() -> Any:
    import torch

    return torch.uint8


def _json(data: Any, folder: Path) -> str:
    return scrubbing.text(json.dumps(scrubbing.document(data), indent=1, ensure_ascii=False), folder)
