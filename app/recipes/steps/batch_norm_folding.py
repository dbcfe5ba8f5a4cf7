"""Parameters of batch-norm folding: none."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from app.recipes.facts import ModelFacts
from app.recipes.steps.base import LayerTransform, Skip


class BatchNormFolding(LayerTransform):
    """Fold each BatchNormalization into the convolution or dense layer before it.

    Exact at inference: kernel' = kernel * gamma / sqrt(variance + epsilon), and the bias likewise.
    Give it before quantization, after training. `include`/`exclude` choose BatchNormalization
    layers.
    """

    technique: Literal["batch_norm_folding"] = "batch_norm_folding"
    paper: ClassVar[str | None] = "Jacob et al. 2018, arXiv:1712.05877, section 3.2"
    changes_structure: ClassVar[bool] = True

    def skips(self, model: ModelFacts) -> Iterator[Skip]:
        if not any(layer.class_name == "BatchNormalization" for layer in model.layers):
            yield Skip(self.technique, "the model has no BatchNormalization layer")
