"""From flags to the body of a job."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.cli.flags import (
    PRUNING_EPOCHS,
    Wishes,
    dataset_options,
    job_body,
    number,
    output_kinds,
    require_valid,
    size_bytes,
)
from app.errors import Invalid, Malformed
from app.jobs.request import JobRequest

NOTHING = Wishes(
    prune=None,
    epochs=None,
    fine_tune=None,
    distill=False,
    fold_batch_norm=False,
    conversions=(),
    recipe=None,
    seed=None,
    max_accuracy_drop=None,
    max_size_bytes=None,
    max_latency_ms=None,
    outputs=None,
    control=None,
)


def steps(wishes: Wishes, *, has_data: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job_body(wishes, has_data)["recipe"]["steps"]
    return found


def test_steps_are_in_the_order_that_works() -> None:
    everything = replace(
        NOTHING, conversions=("int8",), fine_tune=3, prune=0.9, fold_batch_norm=True
    )
    assert [step["technique"] for step in steps(everything)] == [
        "batch_norm_folding",
        "magnitude_pruning",
        "fine_tuning",
        "full_integer_quantization",
    ]


def test_pruning_is_gradual_when_there_is_data_to_train_on() -> None:
    assert steps(replace(NOTHING, prune=0.9)) == [
        {
            "technique": "magnitude_pruning",
            "sparsity": 0.9,
            "schedule": "polynomial",
            "recovery": {"epochs": PRUNING_EPOCHS},
        }
    ]


@pytest.mark.parametrize(("epochs", "has_data"), [(0, True), (None, False)])
def test_pruning_is_at_once_when_nothing_is_trained(epochs: int | None, has_data: bool) -> None:
    wishes = replace(NOTHING, prune=0.9, epochs=epochs)
    assert steps(wishes, has_data=has_data) == [{"technique": "magnitude_pruning", "sparsity": 0.9}]


def test_every_training_learns_from_the_teacher() -> None:
    taught = steps(replace(NOTHING, prune=0.9, fine_tune=3, distill=True))
    assert taught[0]["recovery"] == {"epochs": PRUNING_EPOCHS, "distill": True}
    assert taught[1] == {"technique": "fine_tuning", "epochs": 3, "distill": True}


def test_teacher_is_refused_before_it_is_uploaded_when_nothing_trains() -> None:
    body = job_body(replace(NOTHING, conversions=("int8",), distill=True), has_data=True)
    with pytest.raises(Invalid, match="/teacher_model_id: has no effect"):
        require_valid(body, {"model_id", "teacher_model_id"})


@pytest.mark.parametrize("conversion", ["int8", "int16x8", "float16", "dynamic_range"])
def test_every_conversion_makes_a_job_the_service_takes(conversion: str) -> None:
    wishes = replace(
        NOTHING, prune=0.5, conversions=(conversion,), seed=3, max_accuracy_drop=0.01, control=True
    )
    request = JobRequest.model_validate(job_body(wishes, has_data=True) | {"model_id": "mdl_1"})
    assert request.recipe.conversion is not None
    assert request.recipe.seed == 3
    assert request.constraints.max_accuracy_drop == 0.01
    assert request.control


def test_flags_win_over_the_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    body = {
        "recipe": {"seed": 1, "steps": [{"technique": "float16_quantization"}]},
        "constraints": {"max_accuracy_drop": 0.1, "max_latency_ms": 5},
        "outputs": ["keras"],
    }
    path.write_text(json.dumps(body))
    wishes = replace(NOTHING, recipe=str(path), seed=9, max_accuracy_drop=0.01, outputs=("tflite",))
    assert job_body(wishes, has_data=False) == {
        "recipe": {"seed": 9, "steps": [{"technique": "float16_quantization"}]},
        "constraints": {"max_accuracy_drop": 0.01, "max_latency_ms": 5},
        "outputs": ["tflite"],
    }


def test_recipe_file_may_hold_a_recipe_alone(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text('{"steps": [{"technique": "batch_norm_folding"}]}')
    assert job_body(replace(NOTHING, recipe=str(path)), has_data=False) == {
        "recipe": {"steps": [{"technique": "batch_norm_folding"}]}
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "is not JSON"), ("[]", "neither a recipe nor a job"), ('{"recipe": 3}', "neither")],
)
def test_recipe_file_is_refused_when_it_holds_something_else(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(content)
    with pytest.raises(Malformed, match=complaint):
        job_body(replace(NOTHING, recipe=str(path)), has_data=False)


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        (NOTHING, "nothing was asked for"),
        (replace(NOTHING, epochs=3), "nothing is pruned"),
        (replace(NOTHING, conversions=("int8", "float16")), "one kind of numbers"),
        (replace(NOTHING, recipe="r.json", prune=0.5), "ambiguous"),
    ],
)
def test_flags_are_refused_when_they_mean_nothing_or_two_things(
    wishes: Wishes, complaint: str
) -> None:
    with pytest.raises(Malformed, match=complaint):
        job_body(wishes, has_data=True)


def test_dataset_options_hold_only_what_was_given() -> None:
    given = {"scale": 0.5, "offset": None, "label": None}
    options = dataset_options(given, has_data=True)
    assert options.model_dump(exclude_unset=True) == {"scale": 0.5}


def test_dataset_options_are_refused_when_there_is_no_data() -> None:
    with pytest.raises(Malformed, match="--test-fraction: there is no data set"):
        dataset_options({"test_fraction": 0.5}, has_data=False)


def test_dataset_options_are_refused_when_out_of_range() -> None:
    with pytest.raises(Malformed, match=r"--test-fraction is 1\.5"):
        dataset_options({"test_fraction": 1.5}, has_data=True)


@pytest.mark.parametrize(("text", "value"), [("0.5", 0.5), ("1/255", 1 / 255), ("-3", -3.0)])
def test_number_is_read(text: str, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "nan", "inf", "1/2/3", "half"])
def test_number_is_refused_when_it_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"convert|literal|finite"):
        number(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("500000", 500_000), ("500kB", 500_000), ("1.5MiB", 1_572_864), ("12 B", 12)],
)
def test_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert size_bytes(text) == size


def test_outputs_are_refused_when_unknown() -> None:
    assert output_kinds("keras, tflite") == ("keras", "tflite")
    with pytest.raises(ValueError, match="pdf"):
        output_kinds("keras,pdf")
