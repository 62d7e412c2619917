"""Handwritten digits, the data set that comes with scikit-learn."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch

from ...errors import DataError
from . import register_data
from .dataset import Dataset
from .tables import read_bundled

# Of the 1797 x 65 bytes: 64 pixels and the digit in each row.
_SHA256 = "68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2"
_MEAN, _STD = 0.305, 0.376  # over all pixels, on the scale 0 to 1


@register_data(
    "digits",
    source="Alpaydin and Kaynak, 1998, UCI repository, doi:10.24432/C50P49, CC BY 4.0",
    bundled=("digits.csv.gz",),
    unit_targets=lambda args: args["scaling"] == "standard",
)
def digits(scaling: Literal["standard", "unit"] = "standard", targets: Literal["class", "image"] = "class") -> Dataset:
    """1797 handwritten digits of 8x8 pixels, in 10 classes, without any download.

        standard: (p / 16 - 0.305) / 0.376   unit: p / 16   (pixels p from 0 to 16)

    Args:
        scaling: `standard` for mean 0 and standard deviation 1 over all images, by constants; `unit` for 0 to 1.
        targets: `class` for the digit; `image` for the image itself as 64 values, which auto-encoders learn.

    Raises:
        DataError: scikit-learn's copy is missing or changed.

    Source: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998;
    the copy in scikit-learn.
    """
    rows = read_bundled("digits", ("digits.csv.gz",)).astype(np.uint8)
    if hashlib.sha256(rows.tobytes()).hexdigest() != _SHA256:
        raise DataError("scikit-learn's digits are not the published ones: reinstall scikit-learn")
    inputs = torch.from_numpy(rows[:, :64].astype(np.float32)).reshape(-1, 1, 8, 8) / 16
    if scaling == "standard":
        inputs = (inputs - _MEAN) / _STD
    what = "1797 handwritten digits, 8x8 pixels"
    origin = "(UCI, scikit-learn's copy)"
    if targets == "image":
        return Dataset(inputs, inputs.flatten(1), "values", 64, description=f"{what}, to be reproduced {origin}")
    return Dataset(
        inputs=inputs,
        targets=torch.from_numpy(rows[:, 64].astype(np.int64)),
        task="classes",
        num_outputs=10,
        class_names=tuple("0123456789"),
        description=f"{what}, 10 classes {origin}",
    )
