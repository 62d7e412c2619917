"""A web server on this machine that can misbehave, and small public files in their published forms."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from optrun.experiments.system.public_files import PUBLIC_SETS, PublicFile, PublicSet

CLASSES_10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Server:
    """Serves `files` by path. `cuts` are the bytes after which the next answers break off; `asked` is what came in.

    Args:
        ranges: whether it honours Range, as some servers do not.
    """

    def __init__(self, ranges: bool = True):
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.answers: list[int] = []  # status codes of the next answers, instead of the file
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = ranges
        self.url = ""

    def publish(self, name: str, content: bytes, folder: str = "things") -> PublicFile:
        self.files[f"/{name}"] = content
        return PublicFile(folder, name, len(content), hashlib.sha256(content).hexdigest(), (f"{self.url}/{name}",))


@contextmanager
def serving(ranges: bool = True) -> Iterator[Server]:
    state = Server(ranges)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            content = state.files.get(self.path)
            if state.answers or content is None:
                self.send_error(state.answers.pop(0) if state.answers else 404)
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0  # type: ignore[index]
            if start >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            rest = content[start:]
            self.wfile.write(rest[: state.cuts.pop(0)] if state.cuts else rest)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def cifar_rows(num: int, num_labels: int, num_classes: int, seed: int) -> np.ndarray:
    """Return rows of the binary form: labels, then 3072 bytes."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, 256, (num, num_labels + 3072), dtype=np.uint8)
    rows[:, :num_labels] = generator.integers(0, num_classes, (num, num_labels))
    return rows


def tar_of(members: dict[str, bytes], folder: str = "cifar-10-batches-bin", **odd: tarfile.TarInfo) -> bytes:
    """Return a .tar.gz of plain members, then odd ones."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in odd.values():
            archive.addfile(info)
    return buffer.getvalue()


def idx_of(array: np.ndarray) -> bytes:
    """Return an array of bytes in MNIST's form, gzipped."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes(), mtime=0)


def publish(monkeypatch: pytest.MonkeyPatch, server: Server, name: str, contents: dict[str, bytes]) -> None:
    """Put files in the place of those of a public data set."""
    files = tuple(server.publish(file, content, name) for file, content in contents.items())
    monkeypatch.setitem(PUBLIC_SETS, name, PublicSet(files, "none"))


def small(monkeypatch: pytest.MonkeyPatch, function: str, **args: Any) -> None:
    """Let a reader expect fewer rows than the published files have."""
    from optrun.experiments.components.data import images  # here, since processes that tests start need no torch

    whole: Callable[..., Any] = getattr(images, function)
    monkeypatch.setattr(images, function, lambda *given: whole(*given, **args))


def publish_cifar10(monkeypatch: pytest.MonkeyPatch, server: Server) -> list[np.ndarray]:
    """Publish five training files and a test file of 4 rows each; return their rows."""
    rows = [cifar_rows(4, 1, 10, seed) for seed in range(6)]
    rows[0][0, :] = np.arange(3073) % 10  # a picture that can be looked at
    members = {f"data_batch_{number}.bin": rows[number - 1].tobytes() for number in range(1, 6)}
    members |= {"test_batch.bin": rows[5].tobytes(), "batches.meta.txt": ("\n".join(CLASSES_10) + "\n\n").encode()}
    members |= {"readme.html": b"<p>"}
    publish(monkeypatch, server, "cifar10", {"cifar-10-binary.tar.gz": tar_of(members)})
    small(monkeypatch, "_decode_cifar", num_rows=4)
    return rows
