"""What a call can fail with: a problem the service named, or no (sound) answer at all."""

import httpx
from pydantic import ValidationError

from app.errors import PenjingError, Problem, ProblemView, Unavailable


class ApiProblem(PenjingError):
    """The service answered with problem details: `problem` has all of its fields.

    `retry_after_s`: when to ask again, where it is busy and says so.
    """

    def __init__(self, problem: ProblemView, retry_after_s: float | None = None) -> None:
        super().__init__(
            problem.detail,
            hint=problem.hint,
            stage=problem.stage,
            layer=problem.layer,
            errors=problem.errors,
        )
        self.problem = problem
        self.retry_after_s = retry_after_s

    def as_problem(self) -> Problem:
        return Problem.model_validate(self.problem.model_dump())


class ServiceUnreachable(Unavailable):
    code = "service_unreachable"
    title = "The service does not answer"


class DownloadCorrupt(Unavailable):
    code = "download_corrupt"
    title = "What arrived is not what was sent"


def problem_of(response: httpx.Response) -> ProblemView:
    """The problem a response holds; one made from its status if something else answered."""
    try:
        return ProblemView.model_validate_json(response.content)
    except ValidationError:
        return ProblemView(
            type="about:blank",
            title=response.reason_phrase or "No problem details",
            status=response.status_code,
            detail=f"{response.request.method} {response.request.url.path} was answered with "
            f"status {response.status_code} and no problem details; is this a Penjing service?",
            instance=response.request.url.path,
            code=f"http_{response.status_code}",
            stage=None,
            errors=(),
            retryable=response.status_code >= 500,
            hint=None,
            request_id=None,
        )
