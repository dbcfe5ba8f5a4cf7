"""What goes into a job's folder for the child: its inputs and its order."""

import os
import shutil
import stat
from pathlib import Path

from app.errors import DataNotUsable, JobError, ModelNotLoadable
from app.jobs.job import Job
from app.jobs.request import JobRequest
from app.recipes.facts import ModelFormat
from app.uploads.formats import UploadKind
from worker.checkpoints import checkpoint_folder
from worker.engine.order import ORDER, DatasetFile, ModelFile, Order
from worker.job_folder import JobFolder
from worker.workshop import Workshop

READABLE_BY_ALL = 0o444


def write_order(shop: Workshop, job: Job, folder: JobFolder) -> None:
    """Put the inputs and the order into the folder.

    Raises: ModelNotLoadable, DataNotUsable where the bytes are gone.
    """
    request = JobRequest.model_validate(job.request)
    inputs = folder.inputs
    order = Order(
        job_id=job.id,
        model=_model_file(shop, job, request.model_id, inputs),
        dataset=_dataset_file(shop, job, request.dataset_id, inputs),
        others={
            named.model_id: _model_file(shop, job, named.model_id, inputs)
            for named in request.other_models()
        },
        recipe=request.resolved_recipe(),
        outputs=request.outputs,
        constraints=request.constraints,
        control=request.control,
        checkpoints=checkpoint_folder(shop, job.id),
    )
    path = folder.path / ORDER
    path.write_text(order.model_dump_json())
    path.chmod(READABLE_BY_ALL)


def _model_file(shop: Workshop, job: Job, model_id: str, inputs: Path) -> ModelFile:
    model = shop.uploads.get(job.tenant_id, model_id, UploadKind.MODEL)
    path = inputs / f"{model_id}.{model.format}"
    # A model may be named more than once: as the teacher of two steps, say.
    if not path.exists() and not _put(shop.blobs.path(model.sha256), path):
        raise _gone(ModelNotLoadable, "model")
    return ModelFile(
        path=path, format=ModelFormat(model.format), name=model.name, sha256=model.sha256
    )


def _dataset_file(
    shop: Workshop, job: Job, dataset_id: str | None, inputs: Path
) -> DatasetFile | None:
    if dataset_id is None:
        return None
    dataset = shop.uploads.get(job.tenant_id, dataset_id, UploadKind.DATASET)
    path = inputs / f"dataset.{dataset.format}"
    if not _put(shop.blobs.path(dataset.sha256), path):
        raise _gone(DataNotUsable, "data set")
    return DatasetFile.model_validate(
        {
            "path": path,
            "format": dataset.format,
            "sha256": dataset.sha256,
            "options": dataset.options,
        }
    )


def _put(blob: Path, path: Path) -> bool:
    """Give the blob a second name; False where there is no such blob."""
    # Keras goes by the suffix, and a blob has none. Across file systems a link is impossible, and
    # a child with a user of its own cannot read what only the worker may.
    try:
        if os.geteuid() == 0 and not blob.stat().st_mode & stat.S_IROTH:
            return _copied(blob, path)
        path.hardlink_to(blob)
    except FileNotFoundError:
        return False
    except OSError:
        return _copied(blob, path)
    return True


def _copied(blob: Path, path: Path) -> bool:
    shutil.copyfile(blob, path)
    path.chmod(READABLE_BY_ALL)
    return True


def _gone(error: type[JobError], what: str) -> JobError:
    return error(
        f"the {what}'s bytes are not in the store any more",
        hint=f"Upload the {what} again and give its new id to a new job.",
        stage="starting",
    )
