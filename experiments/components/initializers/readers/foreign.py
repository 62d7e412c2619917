"""Formats that are not read, told by their first bytes, so that an error is about the file that was given."""

from __future__ import annotations

import zipfile
from pathlib import Path

_FIRST = (
    (b"version https://git-lfs", "a pointer of Git LFS, and not the file itself: fetch it with `git lfs pull`"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them, which is not read: save its arrays with numpy.savez"),
    (b"\x93NUMPY", "one array of numpy without a name: save it by name with numpy.savez"),
    (b"GGUF", "a GGUF file, which is not read"),
    (b"\x1f\x8b", "a file packed by gzip: unpack it"),
    (b"BZh", "a file packed by bzip2: unpack it"),
    (b"\xfd7zXZ", "a file packed by xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstandard: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a file packed by 7-Zip: unpack it"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
)
#: Formats that have no first bytes of their own, by what their files are called.
_CALLED = {
    ".msgpack": "a file of flax (msgpack), which is not read: save its arrays with numpy.savez",
    ".onnx": "an ONNX program, which is not read",
    ".h5": "no HDF5 file, although it is called one",
}
_FOLDERS = (
    ("_CHECKPOINT_METADATA", "a checkpoint of orbax, which is not read: save its arrays with numpy.savez"),
    ("_METADATA", "a checkpoint of orbax, which is not read: save its arrays with numpy.savez"),
    ("checkpoint", "a checkpoint of TensorFlow, which is not read: save its variables with numpy.savez"),
    ("saved_model.pb", "a SavedModel of TensorFlow, which is not read: save its variables with numpy.savez"),
    ("tf_model.h5", "a folder with weights for TensorFlow alone, which are not read"),
    ("flax_model.msgpack", "a folder with weights for flax alone, which are not read"),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def foreign(head: bytes, suffix: str = "") -> str | None:
    """Return what a file is that begins so, in words; None where nothing is known against it.

    Args:
        head: its first bytes.
        suffix: of its name, which is asked last.
    """
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "a file of zeros, as an interrupted download leaves it"
    if head.lstrip().lower().startswith(_PAGES):
        return "a web page, and no weights: what was downloaded is the page of an error or of a sign-in"
    if len(head) > 262 and head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    known = next((what for first, what in _FIRST if head.startswith(first)), None)
    return known or (_CALLED.get(suffix) if not head.startswith(b"\x80") else None)


def foreign_folder(folder: Path) -> str | None:
    """Return what a folder is that another framework has written, in words; None where nothing is known."""
    return next((what for name, what in _FOLDERS if (folder / name).exists()), None)


def missing(path: Path) -> str:
    """Return what to say of a path that is no file."""
    if Path(f"{path}.index").is_file():
        return f"{path} is a checkpoint of TensorFlow, which is not read: save its variables with numpy.savez"
    return f"no file {path}"


def foreign_archive(path: Path, names: list[str]) -> str | None:
    """Return what a zip archive is that is neither torch's nor numpy's, in words; None for one of these.

    Raises:
        zipfile.BadZipFile: its list of contents is damaged.
    """
    tops = {name.partition("/")[2] or name for name in names}
    if "data.pkl" in tops and "constants.pkl" not in tops:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return None
    if "constants.pkl" in tops:
        return "a TorchScript program, which is code and not weights alone: save its state_dict() with torch.save"
    if any(name.rpartition("/")[2] == "archive_format" for name in names):
        return "a program of torch.export, which is not weights alone: save its state_dict with torch.save"
    if "model.weights.h5" in names:
        return "a Keras archive, which is not read: save its arrays with numpy.savez"
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"a zip archive of {listed}" if names else "an empty zip archive"


def names_in(path: Path) -> list[str]:
    """Return the names of the files in a zip archive."""
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()
