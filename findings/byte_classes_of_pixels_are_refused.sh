#!/usr/bin/env bash
# torch 2.13.0, torch.nn.functional.cross_entropy: class numbers of type uint8 are taken for examples, not for pixels.
#
# A good guess: which types a target may have does not depend on its number of dimensions. Masks are read from pictures
# as uint8, and a classifier on uint8 labels trains; so should a segmentation net on uint8 masks.
# Behaviour: with targets of shape (N,) both int64 and uint8 train. With targets of shape (N, H, W), uint8 is refused, by
# a message that names neither targets nor loss; and the message for other types says that uint8 ("Byte") would do.
#
# Output seen (torch 2.13.0, CPU, Python 3.11):
#   (4,)      uint8: trains
#   (4, 2, 2) uint8: RuntimeError: expected scalar type Long but found Byte
#   (4,)      int16: RuntimeError: expected target dtype to be Long or Byte, but got Short
#   (4, 2, 2) int16: RuntimeError: expected target dtype to be Long or Byte, but got Short
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.0
cat > "$work/look.py" <<'PYTHON'
import torch
from torch.nn.functional import cross_entropy


def outcome(shape, dtype):
    """What comes of one step on outputs for 3 classes and targets that are all 0."""
    outputs = torch.zeros(shape[0], 3, *shape[1:], requires_grad=True)
    try:
        cross_entropy(outputs, torch.zeros(shape, dtype=dtype)).backward()
    except RuntimeError as error:
        return f"RuntimeError: {str(error).splitlines()[0]}"
    return "trains"


found = {(shape, dtype): outcome(shape, dtype) for dtype in (torch.uint8, torch.int16) for shape in ((4,), (4, 2, 2))}
for (shape, dtype), what in found.items():
    print(f"{str(shape):<9} {str(dtype).removeprefix('torch.')}: {what}")
assert found[(4,), torch.uint8] == "trains"
assert "expected scalar type Long but found Byte" in found[(4, 2, 2), torch.uint8], "masks of bytes are taken now"
assert all("Long or Byte" in found[shape, torch.int16] for shape in ((4,), (4, 2, 2)))
PYTHON
"$work/venv/bin/python" "$work/look.py"
