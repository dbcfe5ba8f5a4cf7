"""Where a report's figures come from: what went in, with what, and on which machine."""

import hashlib
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.reports.report import Provenance
from worker.engine.order import Artifact, Order
from worker.engine.proving.bench import THREADS

PACKAGES = {
    "tensorflow": ("tensorflow-cpu", "tensorflow"),
    "keras": ("keras",),
    "ai_edge_litert": ("ai-edge-litert",),
    "litert_quantizer": ("litert-quantizer",),
    "tf2onnx": ("tf2onnx",),
    "onnxruntime": ("onnxruntime",),
    "numpy": ("numpy",),
    "penjing": ("penjing",),
}
CPU_INFO = Path("/proc/cpuinfo")


def provenance(order: Order, folder: Path, artifacts: Sequence[Artifact]) -> Provenance:
    """Digests, seed, resolved recipe, versions and CPU of one job."""
    return Provenance(
        model_sha256=order.model.sha256,
        dataset_sha256=order.dataset.sha256 if order.dataset else None,
        other_models_sha256={model_id: file.sha256 for model_id, file in order.others.items()},
        artifacts_sha256={one.filename: sha256_of(folder / one.path) for one in artifacts},
        seed=order.recipe.seed,
        recipe=order.recipe.model_dump(mode="json"),
        versions=versions(),
        cpu=cpu_name(),
        cpu_count=os.cpu_count() or 1,
        threads=THREADS,
    )


def versions() -> dict[str, str]:
    """Of everything that had a hand in the figures."""
    found = {"python": platform.python_version()}
    for name, distributions in PACKAGES.items():
        found[name] = next(filter(None, map(_version, distributions)), "unknown")
    return found


def cpu_name(cpu_info: Path = CPU_INFO) -> str:
    """The processor's model, as the system names it."""
    if cpu_info.exists():
        for line in cpu_info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
