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
    """`inspection` is null until it is ready, `problem` unless it was rejected."""

    id: str
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

    def model_facts(self) -> ModelFacts:
        """What is known of a model.

        Raises: NotReady, RejectedUpload.
        """
        return ModelFacts.model_validate(self._finished_inspection())

    def dataset_facts(self) -> DatasetFacts:
        """What is known of a data set.

        Raises: NotReady, RejectedUpload.
        """
        return DatasetFacts.model_validate(self._finished_inspection())

    def _finished_inspection(self) -> dict[str, Any]:
        if self.problem is not None:
            raise RejectedUpload(
                f"{self.id} was refused when it was inspected: {self.problem.detail}",
                hint=self.problem.hint,
            )
        if self.inspection is None:
            raise NotReady(f"{self.id} is still being inspected", hint="Ask again in a moment.")
        return self.inspection
