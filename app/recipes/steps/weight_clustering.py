"""Parameters of weight clustering."""

from collections.abc import Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.errors import Complaint
from app.recipes.steps.base import Given, LayerTransform
from app.recipes.steps.recovery import Recovery


class WeightClustering(LayerTransform):
    """Let the weights of a kernel share a few values, found by k-means; shapes stay as they are.

    A file that stores the number of a weight's value in place of the weight is small: `packed`
    does, others become small once they are compressed. It makes no runtime faster. With `recovery`
    the shared values are trained, which wins back most of the accuracy; biases train beside them.
    Kernels and embedding tables are clustered.
    """

    technique: Literal["weight_clustering"] = "weight_clustering"
    paper: ClassVar[str | None] = "Deep Compression: Han et al. 2016, arXiv:1510.00149, section 3"

    number_of_clusters: int = Field(
        16,
        ge=2,
        le=256,
        description="How many values at most, zero included; a number of 8 bits tells 256 apart.",
    )
    granularity: Literal["per_tensor", "per_channel"] = Field(
        "per_tensor",
        description="One list of values for each kernel, or for each of its output channels: "
        "closer to the weights, and a longer file.",
    )
    centroid_init: Literal["linear", "density", "kmeans++"] = Field(
        "linear",
        description="Where k-means starts: evenly from the smallest weight to the largest, which "
        "serves the few large weights; evenly by rank; or far apart by chance.",
    )
    preserve_sparsity: bool = Field(
        True,
        description="Weights that are zero are one of the clusters, which nothing else joins and "
        "training does not move. false: pruned weights are clustered like any other.",
    )
    biases: bool = Field(
        False, description="Cluster biases too, each layer's among themselves; they are few."
    )
    train_centroids: bool | None = Field(
        None,
        description="Recovery trains the shared values, each by the sum of its members' gradients; "
        "false: it trains only what is not clustered. null = true where there is a recovery.",
    )
    recovery: Recovery | None = Field(
        None,
        description="Training in which every weight stays in its cluster; train_centroids: true "
        "without one gets the default.",
    )

    @model_validator(mode="before")
    @classmethod
    def _trained_centroids_need_a_recovery(cls, data: object) -> object:
        """What the recipe says is what runs."""
        if not isinstance(data, dict) or data.get("recovery") is not None:
            return data
        return {**data, "recovery": {}} if data.get("train_centroids") is True else data

    @model_validator(mode="after")
    def _every_parameter_has_an_effect(self) -> Self:
        if self.train_centroids is False and self.recovery is None:
            raise ValueError(
                "train_centroids: false has no effect without a recovery; leave it out or give one"
            )
        return self

    @property
    def trains_centroids(self) -> bool:
        return self.recovery is not None and self.train_centroids is not False

    @property
    def is_per_channel(self) -> bool:
        return self.granularity == "per_channel"

    def training(self) -> Recovery | None:
        return self.recovery

    def complaints(self, given: Given) -> Iterator[Complaint]:
        """More clusters than the largest of the chosen layers has parameters."""
        counts = [layer.parameter_count for layer in given.model.layers if self.selects(layer.name)]
        known = [count for count in counts if count is not None]
        if len(known) < len(counts) or not any(known):
            return
        if max(known) <= self.number_of_clusters:
            yield Complaint(
                pointer="/number_of_clusters",
                detail=f"no chosen layer has more than {max(known)} parameters, so "
                f"{self.number_of_clusters} clusters would share nothing: it must be below",
            )
