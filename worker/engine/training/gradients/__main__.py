"""A process that trains beside others; it dies with the one that leads.

python -m worker.engine.training.gradients <folder> <rank> <pid of the one that leads>
"""

import signal
import sys
from pathlib import Path

from app.processes import die_with_parent


def main() -> None:
    folder, rank, leader_pid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    die_with_parent(leader_pid, signal.SIGKILL)
    # Takes seconds and hundreds of megabytes, which nobody wants of a leader that is gone.
    from worker.engine.training.gradients.replica import take_part

    take_part(folder, rank)


if __name__ == "__main__":
    main()
