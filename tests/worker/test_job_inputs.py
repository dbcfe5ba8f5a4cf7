"""What goes into a job's folder: the very bytes of the store, which stay as they are."""

from dataclasses import replace

from tests.worker.conftest import Desk
from worker.engine.order import ORDER, Order
from worker.job_folder import JobFolder
from worker.job_inputs import write_order


def test_folder_holds_a_read_only_blob_and_goes_with_the_job(desk: Desk) -> None:
    job = desk.submit()
    [blob] = desk.shop.blobs.root.glob("??/*")
    blob.chmod(0o444)

    folder = JobFolder.made_in(desk.shop.folder)
    write_order(desk.shop, job, folder)
    (model,) = folder.inputs.glob("*.keras")
    assert model.samefile(blob)
    assert model.stat().st_mode & 0o777 == 0o444

    folder.remove()
    assert not folder.path.exists()
    assert blob.read_bytes() == b"not a model"


def test_order_holds_the_teacher_once_and_says_so_in_the_steps_that_leave_it_open(
    desk: Desk,
) -> None:
    job, teacher = desk.submit(), desk.submit().model_id
    fine_tuning = {"technique": "fine_tuning", "distill": True}
    request = job.request | {
        "teacher_model_id": teacher,
        "recipe": {"steps": [fine_tuning, fine_tuning | {"teacher_model_ids": [teacher]}]},
    }

    folder = JobFolder.made_in(desk.shop.folder)
    write_order(desk.shop, replace(job, request=request), folder)
    order = Order.model_validate_json((folder.path / ORDER).read_text())

    assert list(order.others) == [teacher]
    assert order.others[teacher].path.read_bytes() == b"not a model"
    assert [step.teacher_model_ids for step in order.recipe.steps] == [(teacher,)] * 2
