"""What goes into a job's folder: the very bytes of the store, which stay as they are."""

from pathlib import Path

from tests.worker.conftest import Desk
from worker.folder import job_folder, write_order


def test_folder_holds_a_read_only_blob_and_goes_with_the_job(desk: Desk) -> None:
    job = desk.submit()
    [blob] = desk.shop.blobs.root.glob("??/*")
    blob.chmod(0o444)

    with job_folder(desk.shop, job) as folder:
        write_order(desk.shop, job, folder)
        (model,) = (folder / "in").iterdir()
        assert model.samefile(blob)
        assert model.stat().st_mode & 0o777 == 0o444

    assert not Path(folder).exists()
    assert blob.read_bytes() == b"not a model"
