"""Why a data file cannot be read; the inspector refuses with it, the engine fails with it."""


class UnreadableData(Exception):
    """What was found, and what to do about it."""

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
