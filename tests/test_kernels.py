"""The tool that boots other kernels: where it cannot, it says why; what it finds, it judges."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.security.kernels import is_as_due, verdict

FOUND: dict[str, Any] = {
    "holds": True,
    "lacking": [],
    "failures": [],
    "kernel_abi": 7,
    "user": "own",
}


def test_tool_says_what_it_needs(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.security.kernels"],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0
    assert ended.stdout.startswith("Skipped: it needs apt, mmdebstrap, e2fsprogs, cpio, qemu-")


@pytest.mark.parametrize(
    ("found", "said", "is_due"),
    [
        ({}, "held", True),
        ({"kernel_abi": 2}, "held", False),
        ({"kernel_abi": 2, "lacking": ["TCP"]}, "degraded", True),
        ({"lacking": ["TCP"]}, "degraded", False),
        ({"user": "root", "lacking": ["processes"]}, "degraded", True),
        ({"kernel_abi": 0, "holds": False}, "refused", True),
        ({"holds": False}, "refused", False),
        ({"kernel_abi": 0}, "held", False),
        ({"failures": ["connect_over_tcp"]}, "held", False),
    ],
)
def test_tool_asks_for_what_the_kernel_allows(
    found: dict[str, Any], said: str, *, is_due: bool
) -> None:
    answer = FOUND | found
    assert (verdict(answer), is_as_due(answer)) == (said, is_due)
