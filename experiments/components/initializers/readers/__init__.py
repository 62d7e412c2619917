"""Readers of weights: what a file or folder of named tensors holds, told by its content and not by its name alone.

`read` asks the first bytes which format it is, and gives what the reader of that format has found. Each format is one
module; what is inside of a container, such as a training checkpoint, is found by containers.py.
"""

from .contents import Contents
from .reading import SUFFIXES, digest, is_weights_folder, read

__all__ = ["SUFFIXES", "Contents", "digest", "is_weights_folder", "read"]
