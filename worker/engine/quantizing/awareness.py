"""What a quantization-aware training rounds: kernels, and activations in ranges that it finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import keras

from app.recipes.steps.quantization_aware_training import QuantizationAwareTraining
from app.reports.report import SkippedLayer
from worker.engine.context import Masks, StepContext
from worker.engine.loading.models import packed_inputs
from worker.engine.quantizing.chosen_points import chosen_points
from worker.engine.quantizing.fake_quant import Range, Ranges
from worker.engine.quantizing.levels import Codebook, Levels
from worker.engine.quantizing.points import Point, is_output, left_float, points_of
from worker.engine.quantizing.ranged import with_layers_at
from worker.engine.quantizing.trained_ranges import TrainedRange, Watched, range_layers
from worker.engine.quantizing.trained_shares import RoundedShares, Together
from worker.engine.quantizing.trained_weights import RoundedWeights, rounded
from worker.engine.surgery.kernels import Kernel, kernels
from worker.engine.surgery.wiring import Structure
from worker.engine.training.interventions import Reparametrization

# Training rows that ranges start from, and how many go through the model at once.
ROWS = 256
BATCH = 64
CLUSTERS_STAY = (
    "weight_bits {bits} holds for no clustered kernel: these keep their shared values (so many), "
    "each on an int8 number: {found}. For fewer values, ask weight_clustering for fewer clusters."
)


@dataclass(frozen=True)
class Plan:
    """What is rounded in a model, and what is not, with the reason.

    `fixed`: ranges that runtimes fix for outputs of the model; a training does without them, for a
    loss is not to see probabilities rounded. `books`: of clustered weights among those chosen.
    """

    model: keras.Model
    points: tuple[Point, ...]
    fixed: Ranges
    kernels: tuple[str, ...]
    books: Mapping[str, Codebook]
    skipped: tuple[SkippedLayer, ...]

    @classmethod
    def of(cls, step: QuantizationAwareTraining, model: keras.Model, context: StepContext) -> Self:
        """Of a model without fake quantization."""
        levels = Structure.of(model).levels
        points = chosen_points(levels, points_of(model), step.selects)
        outer = levels[0]
        ends = {
            point.name: Range(*point.limits, num_bits=step.activation_bits)
            for point in points
            if point.limits and point.level == outer.path and is_output(outer, point.ref)
        }
        in_float = {found.layer: found.reason for found in left_float(model)}
        skipped = dict(in_float)
        chosen: list[Kernel] = []
        for kernel in kernels(model):
            reason = in_float.get(kernel.layer_name)
            if not step.selects(kernel.layer_name):
                reason = "not chosen by the recipe"
            elif not isinstance(kernel, Kernel):
                reason = reason or kernel.reason
            if reason:
                skipped[kernel.layer_name] = reason
            elif isinstance(kernel, Kernel):
                chosen.append(kernel)
        return cls(
            model=model,
            points=tuple(point for point in points if point.name not in ends),
            fixed=ends,
            kernels=tuple(kernel.name for kernel in chosen),
            books={
                kernel.name: found
                for kernel in chosen
                if isinstance(found := context.levels.get(kernel.name), Codebook)
            },
            skipped=tuple(SkippedLayer(layer=name, reason=why) for name, why in skipped.items()),
        )

    def range_layers(
        self, step: QuantizationAwareTraining, context: StepContext
    ) -> dict[str, TrainedRange]:
        """A layer for every point, its range starting with what some training rows need."""
        watched = {
            point.name: Watched(name=f"watched_{index}") for index, point in enumerate(self.points)
        }
        _run(with_layers_at(self.model, watched), context)
        starts = {
            point.name: Range(*point.limits, num_bits=step.activation_bits)
            if point.limits
            else watched[point.name].found(step.activation_bits)
            for point in self.points
        }
        return range_layers(self.points, starts, step.ranges)

    def facts(self, found: Ranges) -> dict[str, Any]:
        """The ranges that came out, as plain JSON."""
        return {"ranges": {name: [one.minimum, one.maximum] for name, one in found.items()}}


@dataclass(frozen=True)
class Weights:
    """The kernels of a model in training. `masks_of_others`: zeros that nothing here holds."""

    model: keras.Model
    rounded: RoundedWeights
    shares: RoundedShares
    masks_of_others: Masks
    num_bits: int

    @classmethod
    def of(
        cls, step: QuantizationAwareTraining, model: keras.Model, plan: Plan, context: StepContext
    ) -> Self:
        """Of the model that is trained, which has the weights of the planned one."""
        own = [
            rounded(
                kernel,
                num_bits=step.weight_bits,
                per_channel=step.granularity == "per_channel",
                method=step.method,
                masks=context.masks,
            )
            for kernel in kernels(model)
            if isinstance(kernel, Kernel)
            and kernel.name in plan.kernels
            and kernel.name not in plan.books
        ]
        masks = {name: mask for name, mask in context.masks.items() if name not in plan.kernels}
        shares = RoundedShares(model, plan.books)
        return cls(model, RoundedWeights(own), shares, masks, step.weight_bits)

    @property
    def together(self) -> Reparametrization | None:
        """Null where nothing is rounded."""
        parts = [part for part in (self.rounded, self.shares) if part.replaced]
        return Together(parts) if parts else None

    def levels(self) -> dict[str, Levels]:
        """Where the kernels lie now, by stable weight name."""
        return {**self.rounded.grids(), **self.shares.books()}

    def warnings(self) -> tuple[str, ...]:
        """What of the weights is not as it was asked for."""
        books = self.shares.books()
        if not books or self.num_bits == 8:
            return ()
        found = ", ".join(f"{name} ({book.centroids.shape[-1]})" for name, book in books.items())
        return (CLUSTERS_STAY.format(bits=self.num_bits, found=found),)

    def facts(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "weight_bits": dict.fromkeys(self.rounded.grids(), self.num_bits),
            "clustered": list(self.shares.books()),
        }


def _run(model: keras.Model, context: StepContext) -> None:
    """Some training rows through the model, at inference.

    Raises: ValueError if there is no data; the recipe was checked for that.
    """
    if context.data is None:
        raise ValueError("quantization-aware training needs rows, but the job has no data set")
    rows = context.data.train.sample(ROWS, seed=context.seed)
    count = len(next(iter(rows.values())))
    for start in range(0, count, BATCH):
        context.check_cancelled()
        batch = [values[start : start + BATCH] for values in rows.values()]
        model(packed_inputs(model, batch), training=False)
