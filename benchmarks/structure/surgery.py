"""What taking channels out costs: processor time and memory on MobileNetV2, time against depth.

    python -m benchmarks.structure.surgery

MobileNetV2 (96x96) has random weights: time, memory and speed do not depend on them.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import bench, print_table

PRUNING = {"technique": "channel_pruning", "pruning_ratio": 0.5, "importance": "l1"}
BLOCKS = (25, 50, 100, 200)
LAYERS_OF_BLOCK = 4
ALONE = "alone"


def mobilenet(target: Path) -> Path:
    import keras

    keras.utils.set_random_seed(0)
    keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=10).save(target)
    return target


def alone(path: Path) -> None:
    """In a process of its own: processor time of the surgery and peak memory, as JSON."""
    from app.recipes.facts import ModelFormat
    from worker.engine.loading.models import load_model

    model = load_model(path, ModelFormat.KERAS)
    seconds = {"mobilenet": _seconds(model)}
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds |= {str(blocks): _seconds(_chain(blocks)) for blocks in BLOCKS}
    print(json.dumps({"seconds": seconds, "peak_mib": peak_kib / 1024}))


def _seconds(model: Any) -> float:
    from app.recipes.recipe import Recipe
    from worker.engine.context import StepContext
    from worker.engine.loading.models import OtherModels
    from worker.engine.techniques import technique

    step = Recipe.model_validate({"steps": [PRUNING]}).steps[0]
    context = StepContext(
        seed=0,
        data=None,
        tasks=(),
        masks={},
        report_progress=lambda fraction, message, **metrics: None,
        check_cancelled=lambda: None,
        baseline=model,
        load_model=OtherModels({}),
        scratch=Path(),
    )
    started = time.process_time()
    technique(step.technique).apply(step, model, context)
    return time.process_time() - started


def _chain(blocks: int) -> Any:
    """Residual blocks in a row: convolution, normalization, activation, addition."""
    import keras

    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(image)
    for _ in range(blocks):
        y = keras.layers.Conv2D(8, 1)(x)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        x = keras.layers.Add()([x, y])
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x)))


def measured_alone(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.structure.surgery", ALONE, str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(told.splitlines()[-1])
    return found


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        path = mobilenet(Path(folder) / "mobilenet.keras")
        found = measured_alone(path)
        with bench() as service:
            client = service.client
            model = client.upload_model(path)
            job = client.wait(
                client.submit(
                    {
                        "model_id": model.id,
                        "recipe": {"steps": [PRUNING]},
                        "outputs": ["tflite"],
                    }
                ).id
            )
            report = client.report(job.id)
    seconds, speedup = found["seconds"], report.delta.speedup or 0.0
    print_table(
        "channel_pruning at 50 % of MobileNetV2, 96x96",
        [
            ("surgery, s", f"{seconds['mobilenet']:.1f}", "60"),
            ("peak memory of its process, MiB", f"{found['peak_mib']:.0f}", "2,048"),
            ("tflite: times faster", f"{speedup:.2f}", "at least 2.5"),
            ("parameters left", f"{_left(report):.1%}", ""),
        ],
    )
    print_table(
        "seconds of processor time, surgery of a chain of residual blocks",
        [
            (f"{LAYERS_OF_BLOCK * blocks} layers", f"{seconds[str(blocks)]:.2f}", "")
            for blocks in BLOCKS
        ],
    )
    holds = seconds["mobilenet"] < 60 and found["peak_mib"] < 2048 and speedup >= 2.5
    return 0 if holds else 1


def _left(report: Any) -> float:
    left: float = report.optimized.parameter_count / report.baseline.parameter_count
    return left


if __name__ == "__main__":
    if sys.argv[1:2] == [ALONE]:
        alone(Path(sys.argv[2]))
        sys.exit(0)
    sys.exit(main())
