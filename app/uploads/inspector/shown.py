"""How a piece of a file is shown in a refusal."""

MAX_SHOWN = 80


def shown(value: object) -> str:
    """In quotes as Python has it: control and direction characters escaped, cut where long."""
    text = repr(value[:MAX_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= 2 * MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
