"""What a killed attempt left is there for the next one, and goes when the job has ended."""

from pathlib import Path

from app.accounts.principal import DEFAULT_TENANT
from app.jobs.job import JobState
from tests.worker.conftest import Desk
from worker.checkpoints import checkpoint_folder, sweep_checkpoints
from worker.tasks import carry_out

# Killed in its first attempt, right after a save; the next one offers what it finds.
KILLED_ONCE = """
kept = Path(json.loads((folder / "in" / "order.json").read_text())["checkpoints"])
if not (kept / "training-1.npz").exists():
    (kept / "training-1.npz").write_bytes(b"half a training")
    os.kill(os.getpid(), signal.SIGKILL)
artifact.write_bytes((kept / "training-1.npz").read_bytes())
leave()
"""


def test_next_attempt_finds_what_a_killed_one_left(desk: Desk) -> None:
    job = desk.do(KILLED_ONCE)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)

    carry_out(desk.shop, job.id)

    done = desk.shop.jobs.get(DEFAULT_TENANT, job.id)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    [artifact] = desk.shop.jobs.artifacts(DEFAULT_TENANT, job.id)
    assert desk.shop.blobs.path(artifact.sha256).read_bytes() == b"half a training"
    assert not checkpoint_folder(desk.shop, job.id).exists()


def test_sweep_keeps_what_may_still_be_gone_on_with(desk: Desk, tmp_path: Path) -> None:
    ended = desk.do("artifact.write_bytes(b'x'); leave()")
    waiting = desk.submit()
    folders = [
        checkpoint_folder(desk.shop, job_id) for job_id in (waiting.id, ended.id, "job_unknown")
    ]
    for folder in folders:
        folder.mkdir(parents=True)

    sweep_checkpoints(desk.shop)

    assert [folder.exists() for folder in folders] == [True, False, False]
