"""The process of a replica, before it is one."""

import subprocess
import sys
from pathlib import Path

from worker.engine.training.gradients.team import MODULE


def test_a_replica_whose_leader_is_gone_ends_before_it_loads_anything(tmp_path: Path) -> None:
    nobody = str(1 << 30)
    command = [sys.executable, "-X", "importtime", "-m", MODULE, str(tmp_path), "1", nobody]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 128 + 9
    for heavy in ("tensorflow", "keras", "numpy"):
        assert heavy not in ended.stderr
    assert list(tmp_path.iterdir()) == []
