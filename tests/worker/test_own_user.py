"""Jobs of a worker that root started: each child has a user of its own, and gets through to it all.

The interpreter of these tests may be closed to other users, so the system's plays the engine.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import confinement
from app.accounts.principal import DEFAULT_TENANT
from app.confinement import IMPORT_ROOT
from app.jobs.job import JobState
from tests.worker.conftest import Desk, a_desk
from tests.worker.test_box_probe import SYSTEM_PYTHON, reachable
from worker.checkpoints import checkpoint_folder
from worker.compiled_code import CompiledCode
from worker.selftest import self_test
from worker.tasks import carry_out

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or not reachable(SYSTEM_PYTHON),
    reason="needs root, and a Python and a folder of sources that others can read",
)

LIBRARIES = "import json; from app.confinement import libraries; print(json.dumps(libraries()))"
# Says in its artifact who it is and what it was given; the first attempt is killed after a save.
SCRIPT = """
order = json.loads((folder / "in" / "order.json").read_text())
kept = Path(order["checkpoints"]) / "training-1.npz"
if not kept.exists():
    kept.write_bytes(b"half")
    kept.chmod(0o600)
    os.kill(os.getpid(), signal.SIGKILL)
(folder / "scratch" / "deep" / "closed").mkdir(parents=True, mode=0)
model = Path(order["model"]["path"])
found = {
    "user": os.getuid(),
    "box": json.loads(os.environ["PENJING_BOX"])["user"],
    "model": model.read_text(),
    "kept": kept.read_text(),
    "links": model.stat().st_nlink,
}
artifact.write_text(json.dumps(found))
leave()
"""


@pytest.fixture
def system_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boxes run under it, and find its libraries."""
    asked = subprocess.run(
        [SYSTEM_PYTHON, "-c", LIBRARIES], env={"PYTHONPATH": str(IMPORT_ROOT)}, cwd="/",
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    libraries = tuple(json.loads(asked.stdout))
    monkeypatch.setattr("sys.executable", str(SYSTEM_PYTHON))
    for module in ("app.confinement", "worker.selftest"):
        monkeypatch.setattr(f"{module}.libraries", lambda: libraries)


@pytest.fixture(params=[0o022, 0o077], ids=["umask 022", "umask 077"])
def desk(request: pytest.FixtureRequest, system_python: None) -> Iterator[Desk]:
    # Not pytest's own folder: that one is closed to other users.
    home = Path(tempfile.mkdtemp(prefix="own-user-"))
    home.chmod(0o711)
    (home / "child.py").touch(mode=0o644)
    before = os.umask(request.param)
    try:
        with a_desk(home, confinement.command) as desk:
            yield desk
    finally:
        os.umask(before)
        shutil.rmtree(home)


def test_child_has_a_user_of_its_own_and_reaches_all_that_is_given_to_it(
    desk: Desk, request: pytest.FixtureRequest
) -> None:
    job = desk.do(SCRIPT)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    first = checkpoint_folder(desk.shop, job.id).stat().st_uid

    carry_out(desk.shop, job.id)

    done = desk.shop.jobs.get(DEFAULT_TENANT, job.id)
    assert (done.state, done.error) == (JobState.SUCCEEDED, None)
    [artifact] = desk.shop.jobs.artifacts(DEFAULT_TENANT, job.id)
    found = json.loads(desk.shop.blobs.path(artifact.sha256).read_text())
    assert found.pop("user") not in (0, first)
    # What every user may read has a second name in the folder; the rest is copied.
    links = 2 if request.node.callspec.id == "umask 022" else 1
    assert found == {"box": "own", "model": "not a model", "kept": "half", "links": links}
    assert first != 0
    assert list(desk.shop.folder.iterdir()) == []
    assert not checkpoint_folder(desk.shop, job.id).exists()


def test_self_test_says_so_where_the_jobs_will_be(desk: Desk) -> None:
    report = self_test(desk.shop.folder)

    assert (report.failed, report.user, report.closed) == ((), "own", "")


@pytest.mark.parametrize("is_home", [True, False], ids=["home", "what jobs read"])
def test_self_test_names_what_keeps_jobs_from_users_of_their_own(desk: Desk, is_home: bool) -> None:
    closed = desk.shop.folder / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "inside").chmod(0o755)

    report = self_test(closed) if is_home else self_test(desk.shop.folder, (f"{closed}/inside",))

    assert (report.failed, report.user) == ((), "root")
    assert report.closed == str(closed)
    assert f"{closed} is closed to it: let others go through" in report.in_words()


def test_compiled_code_is_reached_whatever_the_umask_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "__pycache__").mkdir(mode=0o700)
    monkeypatch.setattr("worker.engine.coding.kept.FOLDER", tmp_path)
    code = CompiledCode.kept_below(tmp_path / "home")
    code.folder.chmod(0o700)

    assert CompiledCode.kept_below(tmp_path / "home") == code

    assert code.folder.parent == tmp_path / "__pycache__"
    assert code.folder.parent.stat().st_mode & 0o777 == 0o711
    assert code.folder.stat().st_mode & 0o777 == 0o755
