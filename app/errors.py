"""The families of errors, each error with a stable code, and those that several rooms know.

What one room alone raises is declared there, as a child of one of these.

A family says who has to act (the caller, the operator, nobody); the code says what happened. HTTP
statuses live in `app/api/problems.py` alone. Outside HTTP, an error is a `Problem`: that is what a
failed job stores.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field


class Complaint(BaseModel):
    """One thing that is wrong, and where: a JSON pointer (RFC 6901) into what was sent."""

    model_config = ConfigDict(frozen=True)

    pointer: str
    detail: str
    # What to do; told as the hint of the problem that begins with this complaint.
    hint: str | None = Field(None, exclude=True)


class Problem(BaseModel):
    """An error as data, as a failed job or upload stores it (RFC 9457 without its HTTP part)."""

    model_config = ConfigDict(frozen=True)

    code: str
    title: str
    detail: str
    stage: str | None
    errors: tuple[Complaint, ...]
    retryable: bool
    hint: str | None
    # Problems that were stored before this was told have none.
    layer: str | None = None


class ProblemView(BaseModel):
    """A problem as the API answers it (RFC 9457): for a program (`code`, `errors`) and a person."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="Stable name of this kind of problem.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of what this happened to.")
    code: str
    stage: str | None = Field(description="How far a job or an upload had come.")
    errors: tuple[Complaint, ...] = Field(
        description="Each thing that is wrong. A pointer leads into the body that was sent; "
        "/query/<name>, /path/<name> and /header/<name> stand for what is not in it."
    )
    retryable: bool = Field(description="The same request may succeed later.")
    hint: str | None
    layer: str | None = Field(None, description="Of the model, where one layer stands in the way.")
    request_id: str | None


class PenjingError(Exception):
    """The root: carries a stable `code`, says what was given and what is allowed."""

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong inside Penjing"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        hint: str | None = None,
        stage: str | None = None,
        layer: str | None = None,
        errors: Iterable[Complaint] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.stage = stage
        self.layer = layer
        self.errors: Sequence[Complaint] = tuple(errors)

    def at_stage(self, stage: str) -> Self:
        """Name the stage where it happened, unless a deeper place already did."""
        self.stage = self.stage or stage
        return self

    def as_problem(self) -> Problem:
        return Problem(
            code=self.code,
            title=self.title,
            detail=self.detail,
            stage=self.stage,
            errors=tuple(self.errors),
            retryable=self.retryable,
            hint=self.hint,
            layer=self.layer,
        )


# The caller sent something that cannot be read at all.


class Malformed(PenjingError):
    code = "malformed"
    title = "The request could not be read"


# The caller asked for something that is readable but cannot be done.


class Invalid(PenjingError):
    code = "invalid"
    title = "The request cannot be carried out as it is"


class IdempotencyKeyReused(Invalid):
    code = "idempotency_key_reused"
    title = "This Idempotency-Key came with another request before"


class RejectedUpload(Invalid):
    code = "rejected_upload"
    title = "The file was read and refused"


class Forbidden(PenjingError):
    code = "forbidden"
    title = "This is not allowed"


# It is not there (or not yours), or something stands in the way.


class NotFound(PenjingError):
    code = "not_found"
    title = "There is nothing under this id"


class Conflict(PenjingError):
    code = "conflict"
    title = "The present state does not allow this"


class InUse(Conflict):
    code = "in_use"
    title = "An active job still uses this"


class IllegalTransition(Conflict):
    code = "illegal_transition"
    title = "The job's state does not allow this"


class RequestInFlight(Conflict):
    code = "request_in_flight"
    title = "The same request is being handled right now"
    retryable = True


class NotReady(Conflict):
    code = "not_ready"
    title = "This is not finished yet"
    retryable = True


class UnsupportedFormat(PenjingError):
    code = "unsupported_format"
    title = "This kind of file is not supported"


class TooLarge(PenjingError):
    code = "too_large"
    title = "More bytes than allowed"


class RangeNotSatisfiable(PenjingError):
    code = "range_not_satisfiable"
    title = "The file has no such bytes"


# The service is not able to, right now.


class Unavailable(PenjingError):
    code = "unavailable"
    title = "The service cannot do this at the moment"
    retryable = True


class StoreUnwritable(Unavailable):
    code = "store_unwritable"
    title = "The blob store cannot be written"


class StorageFull(PenjingError):
    code = "storage_full"
    title = "There is no room left to store this"
    retryable = True


# A job did not come to its end. These are what `job.error` names.


class JobError(PenjingError):
    code = "job_failed"
    title = "The job failed"


class ModelNotLoadable(JobError):
    code = "model_not_loadable"
    title = "The model could not be loaded"


class DataNotUsable(JobError):
    code = "data_not_usable"
    title = "The data set does not fit the model"


class StepFailed(JobError):
    code = "step_failed"
    title = "A step of the recipe could not be carried out"


class LayerEmptied(StepFailed):
    code = "layer_emptied"
    title = "A layer would be left without any channel"


class LayerNotRemovable(StepFailed):
    code = "layer_not_removable"
    title = "A layer cannot be taken out of the model"


class OptimizerNotWrappable(StepFailed):
    code = "optimizer_not_wrappable"
    title = "Gradients of this optimizer cannot be coded"


class ReplicaLost(JobError):
    code = "replica_lost"
    title = "A process that trained beside the others did not come to its end"


class TrainingDiverged(JobError):
    code = "training_diverged"
    title = "Training ran into NaN or infinite loss"


class ExportFailed(JobError):
    code = "export_failed"
    title = "No requested file could be written and verified"


class MeasuringFailed(JobError):
    code = "measuring_failed"
    title = "An exported file could not be measured"


class ChildCrashed(JobError):
    code = "child_crashed"
    title = "The process doing the work died"


class OutOfMemory(JobError):
    code = "out_of_memory"
    title = "The process doing the work ran out of memory"


class EngineFault(JobError):
    code = "engine_fault"
    title = "The engine hit an unexpected error"


class WorkerLost(JobError):
    code = "worker_lost"
    title = "The workers that took this job were lost, each time"


class RunTimeExceeded(JobError):
    code = "run_time_exceeded"
    title = "The job ran longer than its limit"


class QueueTimeExceeded(JobError):
    code = "queue_time_exceeded"
    title = "No worker took the job within its limit"
    retryable = True


class Cancelled(JobError):
    code = "cancelled"
    title = "The job was cancelled"
