"""The models and the data set that a job names, as inspection understood them."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import Complaint, Invalid, NotFound, NotReady, RejectedUpload
from app.jobs.request import JobRequest
from app.recipes.facts import ModelFacts
from app.recipes.steps.base import Given
from app.uploads.formats import UploadKind
from app.uploads.store import UploadStore


def read_facts(uploads: UploadStore, tenant_id: str, request: JobRequest) -> Given | None:
    """Returns: None where one of them was not inspected.

    Raises: Invalid with a pointer to the id that cannot be used, NotReady.
    """
    with _blamed_on("/model_id"):
        model = uploads.get(tenant_id, request.model_id, UploadKind.MODEL).model_facts()
    dataset = None
    if request.dataset_id is not None:
        with _blamed_on("/dataset_id"):
            dataset = uploads.get(tenant_id, request.dataset_id, UploadKind.DATASET).dataset_facts()
    others: dict[str, ModelFacts | None] = {}
    pointers: dict[str, str] = {}
    for pointer, model_id in request.other_models():
        pointers.setdefault(model_id, pointer)
        with _blamed_on(pointer):
            others[model_id] = uploads.get(tenant_id, model_id, UploadKind.MODEL).model_facts()
    known = {model_id: facts for model_id, facts in others.items() if facts is not None}
    is_data_unknown = request.dataset_id is not None and dataset is None
    if model is None or is_data_unknown or len(known) < len(others):
        return None
    return Given(model, dataset, known, pointers)


@contextmanager
def _blamed_on(pointer: str) -> Iterator[None]:
    """Inside a body, an id that leads nowhere is a wrong value, not a missing page."""
    try:
        yield
    except (NotFound, RejectedUpload, NotReady) as error:
        complaint = Complaint(pointer=pointer, detail=error.detail)
        kind = NotReady if isinstance(error, NotReady) else Invalid
        raise kind(error.detail, hint=error.hint, errors=[complaint]) from error
