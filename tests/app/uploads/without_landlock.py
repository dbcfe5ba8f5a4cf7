"""This machine as if its kernel had no Landlock: `python -m tests.app.uploads.without_landlock`.

The box and the self-test are the real ones; they are told that the newest edition is none.
"""

import sys
from collections.abc import Sequence
from functools import partial

from app.confinement import BoxOrder, Confinement, boxed, libraries
from worker import selftest


def command(confinement: Confinement, program: Sequence[str], parent_pid: int) -> list[str]:
    """In the place of `app.confinement.command`."""
    return boxed(BoxOrder(confinement, parent_pid, libraries(), newest_abi=0), program)


if __name__ == "__main__":
    selftest.self_test = partial(selftest.self_test, newest_abi=0)
    selftest.main(sys.argv[1:])
