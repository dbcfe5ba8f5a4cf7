"""The folder of one attempt: what goes in for the child, and what it leaves behind."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from app.blobs.store import BlobStore
from app.errors import DataNotUsable, EngineFault, JobError, ModelNotLoadable
from app.jobs.job import Job
from app.jobs.outcomes import NewArtifact
from app.jobs.request import JobRequest
from app.recipes.facts import ModelFormat
from app.uploads.formats import UploadKind
from worker.checkpoints import checkpoint_folder
from worker.engine.order import DatasetFile, ModelFile, Order, Result
from worker.workshop import Workshop

RESULT_LIMIT_BYTES = 64 << 20


@contextmanager
def job_folder(shop: Workshop, job: Job) -> Iterator[Path]:
    """The folder of this attempt, gone afterwards."""
    folder = shop.folder / f"{job.id}-{job.fence}"
    for part in ("in", "out", "scratch"):
        (folder / part).mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_order(shop: Workshop, job: Job, folder: Path) -> None:
    """Put the inputs and `order.json` into the folder.

    Raises: ModelNotLoadable, DataNotUsable where the bytes are gone.
    """
    request = JobRequest.model_validate(job.request)
    order = Order(
        job_id=job.id,
        model=_model_file(shop, job, request.model_id, folder),
        dataset=_dataset_file(shop, job, request.dataset_id, folder),
        others={
            named.model_id: _model_file(shop, job, named.model_id, folder)
            for named in request.other_models()
        },
        recipe=request.resolved_recipe(),
        outputs=request.outputs,
        constraints=request.constraints,
        control=request.control,
        checkpoints=checkpoint_folder(shop, job.id),
    )
    (folder / "order.json").write_text(order.model_dump_json())


def _model_file(shop: Workshop, job: Job, model_id: str, folder: Path) -> ModelFile:
    model = shop.uploads.get(job.tenant_id, model_id, UploadKind.MODEL)
    path = folder / "in" / f"{model_id}.{model.format}"
    # A model may be named more than once: as the teacher of two steps, say.
    if not path.exists() and not _put(shop.blobs.path(model.sha256), path):
        raise _gone(ModelNotLoadable, "model")
    return ModelFile(
        path=path, format=ModelFormat(model.format), name=model.name, sha256=model.sha256
    )


def _dataset_file(
    shop: Workshop, job: Job, dataset_id: str | None, folder: Path
) -> DatasetFile | None:
    if dataset_id is None:
        return None
    dataset = shop.uploads.get(job.tenant_id, dataset_id, UploadKind.DATASET)
    path = folder / "in" / f"dataset.{dataset.format}"
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
    # Keras goes by the suffix, and a blob has none. Across file systems a link is impossible.
    try:
        path.hardlink_to(blob)
    except FileNotFoundError:
        return False
    except OSError:
        shutil.copyfile(blob, path)
    return True


def _gone(error: type[JobError], what: str) -> JobError:
    return error(
        f"the {what}'s bytes are not in the store any more",
        hint=f"Upload the {what} again and give its new id to a new job.",
        stage="starting",
    )


def read_result(folder: Path) -> Result:
    """What the child left, which is not trusted: no link is followed, no pipe is waited for."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with os.fdopen(os.open(folder / "result.json", flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise EngineFault("the child said it was done, but its result is no plain file")
            return Result.model_validate_json(file.read(RESULT_LIMIT_BYTES))
    except (OSError, ValidationError) as error:
        raise EngineFault("the child said it was done, but left no readable result") from error


def keep_artifacts(blobs: BlobStore, folder: Path, result: Result) -> tuple[NewArtifact, ...]:
    """Put every file of the result into the blob store."""
    kept = []
    for made in result.artifacts:
        path = folder / made.path
        inside = path.resolve().is_relative_to(folder.resolve() / "out")
        if not inside or not stat.S_ISREG(path.lstat().st_mode):
            raise EngineFault(f"the artifact {made.kind} is not a plain file of the job's folder")
        blob = blobs.put_file(path)
        kept.append(
            NewArtifact(
                kind=made.kind,
                format=made.format,
                filename=made.filename,
                size_bytes=blob.size_bytes,
                sha256=blob.sha256,
            )
        )
    return tuple(kept)
