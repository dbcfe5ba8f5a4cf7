"""What a report says of its origin."""

import hashlib
import platform
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from worker.engine.reporting.provenance import cpu_name, sha256_of, versions


def test_versions_are_those_of_the_running_libraries() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["keras"] == keras.__version__
    assert found["tensorflow"] == tf.__version__
    assert found["numpy"] == np.__version__
    assert "unknown" not in found.values()


def test_cpu_name_is_read_from_what_the_kernel_says(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Example CPU @ 2.00GHz\n")
    assert cpu_name(info) == "Example CPU @ 2.00GHz"


def test_cpu_name_is_never_empty_when_the_kernel_says_nothing(tmp_path: Path) -> None:
    assert cpu_name(tmp_path / "missing")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"penjing")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"penjing").hexdigest()
