"""What becomes of files that do not hold."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from app.errors import ExportFailed
from app.recipes.facts import TensorSpec
from app.recipes.outputs import OutputKind
from tests.builders import never_cancelled, outputs_of
from worker.engine.exporting.files import ExportedFile
from worker.engine.exporting.rungs import Rung, Rungs
from worker.engine.exporting.source import Converted, KerasSource
from worker.engine.exports import Exports, Offer
from worker.engine.measuring.messages import FileResult
from worker.engine.proving.bench import Bench, Measured, Names
from worker.engine.proving.trial import Proven, Side, Trial
from worker.engine.subject import Subject

NO_RUNGS: Rungs = {}


def nothing_to_convert() -> None:
    """The last way: the model as it is."""


class BenchThatRefuses:
    """A bench on which files of some kinds cannot be run; the others compute what they should."""

    scratch: Path

    def __init__(
        self, *kinds: OutputKind, only_baseline: bool = False, variant: str | None = None
    ) -> None:
        self.kinds = kinds
        self.only_baseline = only_baseline
        self.variant = variant
        self.pairs: list[tuple[OutputKind, OutputKind]] = []

    def measure(
        self,
        files: Sequence[ExportedFile],
        pair: tuple[ExportedFile, ExportedFile],
        subject: Subject,
        names: Names,
        check_cancelled: Callable[[], None],
    ) -> list[Measured]:
        self.pairs.append((pair[0].kind, pair[1].kind))
        rows = next(subject.measured_batches(256))
        outputs = outputs_of(subject.model, rows)
        measured = []
        for index, file in enumerate(files):
            is_refused = file.kind in self.kinds and (index == 0 or not self.only_baseline)
            is_refused = is_refused or file.variant == self.variant
            result = FileResult("it crashed" if is_refused else None, "", None, None)
            measured.append(Measured(file, result, [] if is_refused else outputs))
        return measured


@pytest.fixture
def prove(conv_source: KerasSource, tmp_path: Path) -> Callable[..., tuple[Proven, Exports]]:
    """Proves tflite and saved_model files of an unchanged model on the given bench.

    Those of the kind `lost` could not be written after the baseline was.
    """
    subject = Subject(
        model=conv_source.model,
        content=b"",
        inputs=(TensorSpec(name="picture", shape=(6, 6, 1), dtype="float32"),),
        heads=(),
        data=None,
        tasks=(),
        seed=1,
    )

    def proven(
        bench: BenchThatRefuses, lost: OutputKind | None = None, rungs: Rungs = NO_RUNGS
    ) -> tuple[Proven, Exports]:
        exports = Exports.asked_for(("tflite", "saved_model"))
        side = Side(conv_source, conv_source.model)
        baseline = exports.write_baseline(conv_source, tmp_path)
        if lost:
            exports.drop(lost, "it could not be written")
        offer = Offer(exports, conv_source, tmp_path, rungs)
        files = offer.write_all()
        bench.scratch = tmp_path
        trial = Trial(subject, cast(Bench, bench), exports, never_cancelled)
        return trial.prove(baseline, side, files, side, offer), exports

    return proven


def test_prove_keeps_every_file_that_holds(prove: Any) -> None:
    proven, exports = prove(BenchThatRefuses())
    assert [one.file.kind for one in proven.optimized] == ["tflite", "saved_model"]
    assert exports.warnings == []


def test_prove_drops_a_file_that_cannot_be_run_with_its_reason(prove: Any) -> None:
    bench = BenchThatRefuses("saved_model")
    proven, exports = prove(bench)
    assert [one.file.kind for one in proven.optimized] == ["tflite"]
    assert exports.warnings == ["No saved_model file is offered: it cannot be run: it crashed."]


@pytest.mark.parametrize("only_baseline", [False, True])
def test_prove_compares_the_next_kind_when_the_first_does_not_hold(
    prove: Any, *, only_baseline: bool
) -> None:
    bench = BenchThatRefuses("tflite", only_baseline=only_baseline)
    proven, exports = prove(bench)
    assert proven.baseline.file.kind == proven.optimized[0].file.kind == "saved_model"
    assert bench.pairs == [("tflite", "tflite"), ("saved_model", "saved_model")]
    assert len(exports.warnings) == 1


def int8_of(conv_files: dict[str, bytes]) -> Converted:
    return Converted(conv_files["int8"], "int8")


def test_prove_offers_the_next_best_variant_when_the_first_does_not_hold(
    prove: Any, conv_files: dict[str, bytes]
) -> None:
    first = Rung("full_integer_quantization", partial(int8_of, conv_files))
    last = Rung("float32", nothing_to_convert)
    bench = BenchThatRefuses(variant="int8")
    proven, exports = prove(bench, rungs={"tflite": [first, last]})
    assert [(one.file.kind, one.file.variant) for one in proven.optimized] == [
        ("tflite", "float32"),
        ("saved_model", "float32"),
    ]
    assert bench.pairs == [("tflite", "tflite"), ("tflite", "tflite")]
    (warning,) = exports.warnings
    assert warning == (
        "full_integer_quantization gave no tflite file that holds: it cannot be run: it crashed. "
        "Tried next: float32."
    )


def test_prove_writes_the_baseline_anew_when_its_kind_was_lost_since(prove: Any) -> None:
    bench = BenchThatRefuses()
    proven, _ = prove(bench, lost="tflite")
    assert bench.pairs == [("saved_model", "saved_model")]
    assert proven.baseline.file.kind == proven.optimized[0].file.kind == "saved_model"


def test_prove_fails_when_no_file_holds(prove: Any) -> None:
    with pytest.raises(ExportFailed, match="it crashed"):
        prove(BenchThatRefuses("tflite", "saved_model"))
