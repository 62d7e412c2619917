"""A registered model that is made to give something else than its outputs."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from optrun.experiments.components.models import registry as models


@dataclasses.dataclass
class Output:
    logits: torch.Tensor


FORMS = {
    "None": lambda outputs: None,
    "tuple": lambda outputs: (outputs, outputs),
    "list": lambda outputs: [outputs],
    "dict": lambda outputs: {"logits": outputs},
    "dataclass": Output,
    "text": lambda outputs: "scores",
    "number": lambda outputs: 1.0,
    "numpy": lambda outputs: outputs.detach().numpy(),
    "0-d": lambda outputs: outputs.sum(),
    "flat": lambda outputs: outputs.flatten(),
    "one dimension more": lambda outputs: outputs[None],
    "last too wide": lambda outputs: torch.cat([outputs, outputs], -1),
    "last too narrow": lambda outputs: outputs[..., :0],
    "batch too long": lambda outputs: torch.cat([outputs, outputs]),
    "batch too short": lambda outputs: outputs[:-1],
    "int64": lambda outputs: outputs.long(),
    "bool": lambda outputs: outputs > 0,
    "complex": lambda outputs: outputs.to(torch.complex64),
    "float64": lambda outputs: outputs.double(),
    "float16": lambda outputs: outputs.half(),
    "no gradient": lambda outputs: outputs.detach(),
    "sparse": lambda outputs: outputs.detach().to_sparse(),
    "meta": lambda outputs: outputs.to("meta"),
}
#: Arguments that make the larger models small.
SMALL = {
    "mlp": {"hidden": [4]},
    "gpt": {"width": 8, "depth": 1, "heads": 2},
    "lstm": {"width": 8, "depth": 1},
    "vit": {"width": 8, "depth": 1, "heads": 2},
    "autoencoder": {"hidden": [4, 2]},
    "resnet": {"depth": 8},
    "preact_resnet": {"depth": 8},
    "wide_resnet": {"depth": 10, "width": 1},
}


class Changed(nn.Module):
    """A registered model whose outputs are changed."""

    def __init__(self, input_shape, num_outputs, of: str, form: str = "", when: str = "always"):
        super().__init__()
        component = models.get(of)
        known = {"input_shape": input_shape, "num_outputs": num_outputs, "num_classes": num_outputs}
        wanted = {name: value for name, value in known.items() if name in component.signature.names()}
        self.inner = component.make(**wanted, **SMALL.get(of, {}))
        self.form, self.when = form, when

    def forward(self, inputs):
        outputs = self.inner(inputs)
        here = self.when == "always" or (self.when == "in training") == self.training
        return FORMS[self.form](outputs) if here else outputs
