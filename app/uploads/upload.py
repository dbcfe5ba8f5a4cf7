"""An uploaded model or data set, as its row says."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.errors import NotReady, Problem, RejectedUpload
from app.recipes.facts import DatasetFacts, DatasetOptions, ModelFacts
from app.uploads.formats import UploadKind


class UploadStatus(StrEnum):
    INSPECTING = "inspecting"
    READY = "ready"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Upload:
    """`inspection` is null until it is ready, `problem` unless it was rejected.

    Where uploads are not inspected, `inspection` stays null.
    """

    id: str
    tenant_id: str
    kind: UploadKind
    name: str
    format: str
    size_bytes: int
    sha256: str
    status: UploadStatus
    options: DatasetOptions
    inspection: dict[str, Any] | None
    problem: Problem | None
    created_at: datetime

    def model_facts(self) -> ModelFacts | None:
        """What is known of a model; None where it was not inspected.

        Raises: NotReady, RejectedUpload.
        """
        found = self._finished_inspection()
        return ModelFacts.model_validate(found) if found else None

    def dataset_facts(self) -> DatasetFacts | None:
        """What is known of a data set; None where it was not inspected.

        Raises: NotReady, RejectedUpload.
        """
        found = self._finished_inspection()
        return DatasetFacts.model_validate(found) if found else None

    def _finished_inspection(self) -> dict[str, Any] | None:
        if self.problem is not None:
            raise RejectedUpload(
                f"{self.id} was refused when it was inspected: {self.problem.detail}",
                hint=self.problem.hint,
            )
        if self.status is UploadStatus.INSPECTING:
            raise NotReady(f"{self.id} is still being inspected", hint="Ask again in a moment.")
        return self.inspection
