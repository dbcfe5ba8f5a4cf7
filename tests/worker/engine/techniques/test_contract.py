"""What every technique keeps to, found by walking the folders: nothing is listed here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import Cancelled
from app.recipes.recipe import Recipe
from app.recipes.steps import Transform, step_types
from tests.builders import (
    MODELS,
    context_for,
    conv_model,
    embedding_model,
    outputs_of,
    randomized,
    rows_for,
    step,
)
from worker.engine.context import StepContext, StepOutcome
from worker.engine.exporting.source import KerasSource
from worker.engine.surgery.weights import leaves, named_weights
from worker.engine.techniques import technique, techniques
from worker.engine.training.prediction import Predictor

TAGS = sorted(step_types())
TRANSFORMS = [tag for tag in TAGS if issubclass(step_types()[tag], Transform)]
CONVERSIONS = [tag for tag in TAGS if tag not in TRANSFORMS]


# Where the defaults ask for more than models of three layers have, or need: one layer less.
MODEST: dict[str, dict[str, Any]] = {
    "layer_removal": {"max_accuracy_drop": 1.0, "bridge": True},
    "entropy_penalized_training": {"epochs": 1},
}


def smallest(tag: str) -> Any:
    """The step with every default; a required number is taken from the middle of its range."""
    schema = step_types()[tag].model_json_schema()
    names = [name for name in schema["required"] if name != "technique"]
    return step(
        tag,
        **{
            name: (field["minimum"] + field.get("maximum", field.get("exclusiveMaximum"))) / 2
            for name, field in ((name, schema["properties"][name]) for name in names)
        },
        **MODEST.get(tag, {}),
    )


def applied(tag: str, model: Any, context: StepContext) -> StepOutcome:
    outcome = technique(tag).apply(smallest(tag), model, context)
    assert isinstance(outcome, StepOutcome)
    return outcome


def number_fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number a step takes, with its own schema: alone, or as one of several choices."""
    for name, field in schema.get("properties", {}).items():
        for choice in [field, *field.get("anyOf", [])]:
            is_listed = {"enum", "const"} & choice.keys()
            if choice.get("type") in ("number", "integer") and not is_listed:
                yield name, choice


def test_techniques_are_those_that_may_be_asked_for() -> None:
    assert sorted(techniques()) == TAGS


@pytest.mark.parametrize("tag", TAGS)
def test_step_survives_json(tag: str) -> None:
    recipe = Recipe(seed=3, steps=(smallest(tag),))

    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize("tag", TAGS)
def test_step_describes_every_field(tag: str) -> None:
    fields = step_types()[tag].model_fields

    assert [name for name in fields if not (fields[name].description or name == "technique")] == []


@pytest.mark.parametrize("tag", TAGS)
def test_step_bounds_every_number_from_below(tag: str) -> None:
    schema = step_types()[tag].model_json_schema()
    open_ended = [
        name
        for part in [schema, *schema.get("$defs", {}).values()]
        for name, field in number_fields(part)
        if not {"minimum", "exclusiveMinimum"} & field.keys()
    ]

    assert open_ended == []


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_leaves_the_given_model_as_it_was(tag: str, tmp_path: Path) -> None:
    model = randomized(conv_model())
    before = {name: weight.numpy() for name, weight in named_weights(model).items()}

    outcome = applied(tag, model, context_for(model, tmp_path))

    assert outcome.model is not model
    for name, weight in named_weights(model).items():
        np.testing.assert_array_equal(weight.numpy(), before[name], err_msg=name)


# A change of nothing: pruning by 0, training at a rate too small to be seen, going back to the
# weights that the model has.
HARMLESS: dict[str, dict[str, Any]] = {
    "activation_quantization": {"exclude": [".*"]},
    "channel_pruning": {"pruning_ratio": 0.0},
    "magnitude_pruning": {"sparsity": 0.0},
    "distillation": {"learning_rate": 1e-9, "epochs": 1},
    "activation_replacement": {"recovery": None},
    "fine_tuning": {"learning_rate": 1e-9, "epochs": 1},
    "quantization_aware_training": {"exclude": [".*"], "learning_rate": 1e-9, "epochs": 1},
    "initialization": {"scheme": "pretrained"},
    "layer_removal": {"max_accuracy_drop": 0.0, "exclude": [".*"]},
    "weight_clustering": {"number_of_clusters": 256},
    "entropy_penalized_training": {
        "learning_rate": 1e-9,
        "rate_weight": 1e-9,
        "epochs": 1,
        "initial_step": 1e-6,
        "smallest_step": 1e-6,
    },
}
# Every weight that is put on a grid moves, at 8 bits too.
NEVER_HARMLESS = {"weight_quantization"}


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("tag", [tag for tag in TRANSFORMS if tag not in NEVER_HARMLESS])
def test_apply_changes_no_output_when_it_changes_nothing(
    tag: str, kind: str, tmp_path: Path
) -> None:
    model = randomized(MODELS[kind]())
    harmless = step(tag, **HARMLESS.get(tag, {}))
    if harmless.training() and kind == "conv":
        model.get_layer("norm").trainable = False

    changed = technique(tag).apply(harmless, model, context_for(model, tmp_path)).model

    inputs = rows_for(model, 4)
    for now, was in zip(outputs_of(changed, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_allclose(now, was, atol=1e-5)


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_keeps_the_signature(tag: str, tmp_path: Path) -> None:
    model = conv_model()

    changed = applied(tag, model, context_for(model, tmp_path)).model

    for ours, theirs in ((changed.inputs, model.inputs), (changed.outputs, model.outputs)):
        assert [(t.shape, t.dtype) for t in ours] == [(t.shape, t.dtype) for t in theirs]
    assert [t.name for t in changed.inputs] == [t.name for t in model.inputs]
    assert changed.output_names == model.output_names


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_gives_the_same_weights_for_the_same_seed(tag: str, tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)

    first, again = (applied(tag, model, context).model.get_weights() for _ in range(2))

    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_reports_progress(tag: str, tmp_path: Path) -> None:
    model = conv_model()
    heard: list[float] = []
    context = replace(
        context_for(model, tmp_path),
        report_progress=lambda fraction, message, **metrics: heard.append(fraction),
    )

    applied(tag, model, context)

    assert heard
    assert all(0 <= fraction <= 1 for fraction in heard)


def cancelled() -> None:
    raise Cancelled("the job was asked to stop")


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_stops_when_cancelled(tag: str, tmp_path: Path) -> None:
    model = conv_model()
    context = replace(context_for(model, tmp_path), check_cancelled=cancelled)

    with pytest.raises(Cancelled):
        applied(tag, model, context)


@pytest.mark.parametrize("tag", CONVERSIONS)
def test_convert_stops_when_cancelled(tag: str, tmp_path: Path) -> None:
    model = conv_model()
    context = replace(context_for(model, tmp_path), check_cancelled=cancelled)

    with pytest.raises(Cancelled):
        technique(tag).convert(smallest(tag), KerasSource(model, tmp_path, {}), context)


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_gives_a_model_that_runs(tag: str, tmp_path: Path) -> None:
    model = randomized(conv_model())
    context = context_for(model, tmp_path)
    assert context.data is not None

    changed = applied(tag, model, context).model

    (output,) = Predictor(changed, context.data.test.columns)(rows_for(model, 2))
    assert np.isfinite(output).all()


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_names_skipped_layers_of_the_model_with_a_reason(tag: str, tmp_path: Path) -> None:
    model = embedding_model()
    names = {leaf.layer.name for leaf in leaves(model)}

    skipped = applied(tag, model, context_for(model, tmp_path)).skipped

    assert all(skip.layer in names and skip.reason for skip in skipped)


@pytest.mark.parametrize("tag", TRANSFORMS)
def test_apply_gives_masks_of_weights_the_model_has(tag: str, tmp_path: Path) -> None:
    model = conv_model()

    outcome = applied(tag, model, context_for(model, tmp_path))

    weights = named_weights(outcome.model)
    for name, mask in outcome.masks.items():
        assert mask.shape == tuple(weights[name].shape)
