"""How a job ends that takes more than it may, beside `OutOfMemory` and `RunTimeExceeded`."""

from app.errors import JobError

ASK_FOR_LESS = (
    "Ask for fewer outputs, or let the operator raise PENJING_JOB_OUTPUT_BYTES, and "
    "PENJING_JOB_DISK_BYTES where that is less."
)


class TooManyProcesses(JobError):
    code = "too_many_processes"
    title = "The job started more processes and threads than it may have"


class DiskLimitExceeded(JobError):
    code = "disk_limit_exceeded"
    title = "The job took more room on disk than it may have"


class OutputLimitExceeded(JobError):
    code = "output_limit_exceeded"
    title = "The job gave more out than it may"
