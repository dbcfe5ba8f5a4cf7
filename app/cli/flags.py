"""From flags to the body of a job; pure. The service judges whether it fits model and data."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.errors import Complaint, Invalid, Malformed
from app.jobs.request import JobRequest
from app.recipes.facts import DatasetOptions
from app.recipes.outputs import OUTPUT_KINDS
from app.recipes.steps import step_types

# A gradual schedule needs training to go with it; this many passes, unless --epochs says otherwise.
PRUNING_EPOCHS = 4


@dataclass(frozen=True)
class Wishes:
    """What was asked for on the command line; null, false and empty = not asked for."""

    prune: float | None
    epochs: int | None
    fine_tune: int | None
    distill: bool
    fold_batch_norm: bool
    conversions: Sequence[str]
    recipe: str | None
    seed: int | None
    max_accuracy_drop: float | None
    max_size_bytes: int | None
    max_latency_ms: float | None
    outputs: Sequence[str] | None
    control: bool | None

    @property
    def names_techniques(self) -> bool:
        return bool(
            self.fold_batch_norm or self.fine_tune or self.conversions or self.prune is not None
        )


CONVERSIONS: dict[str, dict[str, Any]] = {
    "int8": {"technique": "full_integer_quantization"},
    "int16x8": {"technique": "full_integer_quantization", "activation_bits": 16},
    "float16": {"technique": "float16_quantization"},
    "dynamic_range": {"technique": "dynamic_range_quantization"},
    "weight_only": {"technique": "weight_only_quantization"},
}
CONSTRAINTS = ("max_accuracy_drop", "max_size_bytes", "max_latency_ms")


def job_body(wishes: Wishes, has_data: bool) -> dict[str, Any]:
    """The job without its model and data: from a recipe file or from technique flags.

    Raises: Malformed if that is ambiguous or nothing, or the file cannot be read.
    """
    _require_one_meaning(wishes)
    if wishes.recipe:
        body = read_body(Path(wishes.recipe))
    else:
        body = {"recipe": steps_of(wishes, has_data)}
    return body | _settings(body, wishes)


def require_valid(body: Mapping[str, Any], uploaded: Collection[str]) -> None:
    """Find out here what is wrong with a job whatever its models and data are.

    uploaded: the fields that the ids of uploads will fill.
    Raises: Invalid with every complaint.
    """
    try:
        JobRequest.model_validate({**body, **dict.fromkeys(uploaded, "not uploaded yet")})
    except ValidationError as error:
        complaints = [_complaint(finding) for finding in error.errors()]
        first = complaints[0]
        raise Invalid(f"{first.pointer}: {first.detail}", errors=complaints) from error


def _complaint(finding: Any) -> Complaint:
    """One item of `ValidationError.errors()`; its place without the names of the union's kinds."""
    pointer = "".join(f"/{part}" for part in finding["loc"] if part not in step_types())
    message = str(finding["msg"]).removeprefix("Value error, ")
    given = finding["input"]
    ending = f"; given {given!r}" if isinstance(given, str | int | float) else ""
    return Complaint(pointer=pointer, detail=f"{message[:1].lower()}{message[1:]}{ending}")


def _require_one_meaning(wishes: Wishes) -> None:
    if len(wishes.conversions) > 1:
        raise Malformed(
            f"one file holds one kind of numbers; given {', '.join(wishes.conversions)}",
            hint="Choose one of --int8, --int16x8, --float16, --dynamic-range, --weight-only.",
        )
    if wishes.epochs is not None and wishes.prune is None:
        raise Malformed(
            "--epochs is the length of the training while pruning, and nothing is pruned",
            hint="Give --prune SPARSITY with it, or --fine-tune EPOCHS in its place.",
        )
    if wishes.recipe and wishes.names_techniques:
        raise Malformed(
            "--recipe says which techniques to use; technique flags beside it are ambiguous",
            hint="Put everything into the recipe file, or use flags alone.",
        )
    if not wishes.recipe and not wishes.names_techniques:
        raise Malformed(
            "nothing was asked for",
            hint="Give --recipe FILE, or one of --prune, --fine-tune, --fold-batch-norm, --int8, "
            "--int16x8, --float16, --dynamic-range, --weight-only.",
        )


def _settings(body: dict[str, Any], wishes: Wishes) -> dict[str, Any]:
    """What flags say beside or over a recipe file."""
    said: dict[str, Any] = {}
    if wishes.seed is not None:
        said["recipe"] = body["recipe"] | {"seed": wishes.seed}
    constraints = {
        name: value for name in CONSTRAINTS if (value := getattr(wishes, name)) is not None
    }
    if constraints:
        said["constraints"] = body.get("constraints", {}) | constraints
    if wishes.outputs:
        said["outputs"] = list(wishes.outputs)
    if wishes.control is not None:
        said["control"] = wishes.control
    return said


def steps_of(wishes: Wishes, has_data: bool) -> dict[str, Any]:
    """A recipe in the order that works: fold, prune, train, convert."""
    steps: list[dict[str, Any]] = []
    if wishes.fold_batch_norm:
        steps.append({"technique": "batch_norm_folding"})
    if wishes.prune is not None:
        steps.append(_pruning(wishes, wishes.prune, has_data))
    if wishes.fine_tune:
        steps.append({"technique": "fine_tuning", **_training(wishes, wishes.fine_tune)})
    steps += [dict(CONVERSIONS[name]) for name in wishes.conversions]
    return {"steps": steps}


def read_body(path: Path) -> dict[str, Any]:
    """A recipe, or a whole job without its ids, from a JSON file.

    Raises: Malformed.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Malformed(f"{path} is not JSON: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("recipe"), dict):
        return content
    if isinstance(content, dict) and "steps" in content:
        return {"recipe": content}
    raise Malformed(
        f"{path} holds neither a recipe nor a job",
        hint='A recipe is {"steps": [...]}; a job is {"recipe": {"steps": [...]}, ...}.',
    )


def number(text: str) -> float:
    """A number, or a quotient such as 1/255.

    Raises: ValueError.
    """
    value = float(Fraction(text)) if "/" in text else float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def size_bytes(text: str) -> int:
    """Bytes, plain or with a unit: 500000, 500kB, 0.5MB, 488KiB.

    Raises: ValueError.
    """
    units = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
    lowered = text.strip().lower()
    for unit, factor in units.items():
        if lowered.endswith(unit):
            return round(float(lowered.removesuffix(unit)) * factor)
    return int(lowered.removesuffix("b"))


def output_kinds(text: str) -> tuple[str, ...]:
    """Kinds of files, separated by commas.

    Raises: ValueError.
    """
    kinds = tuple(kind.strip() for kind in text.split(","))
    if not set(kinds) <= set(OUTPUT_KINDS):
        raise ValueError(f"unknown kind in {text}")
    return kinds


def dataset_options(given: Mapping[str, Any], has_data: bool) -> DatasetOptions:
    """How the data set is to be read.

    Raises: Malformed.
    """
    known = {name: value for name, value in given.items() if value is not None}
    if known and not has_data:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in known)
        raise Malformed(f"{named}: there is no data set to read so", hint="Give --data FILE.")
    try:
        return DatasetOptions(**known)
    except ValidationError as error:
        first = error.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise Malformed(f"{flag} is {first['input']!r}: {first['msg']}") from error


def _pruning(wishes: Wishes, sparsity: float, has_data: bool) -> dict[str, Any]:
    """Little by little while training, where there is data to train on; else all at once."""
    step: dict[str, Any] = {"technique": "magnitude_pruning", "sparsity": sparsity}
    epochs = PRUNING_EPOCHS if wishes.epochs is None else wishes.epochs
    if has_data and epochs > 0:
        step |= {"schedule": "polynomial", "recovery": _training(wishes, epochs)}
    return step


def _training(wishes: Wishes, epochs: int) -> dict[str, Any]:
    """Every training learns from the teacher, if there is one."""
    return {"epochs": epochs, **({"distill": True} if wishes.distill else {})}
