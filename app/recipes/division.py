"""How many rows a division sets aside; the plan counts with it, the engine divides by it."""


def rows_set_aside(rows: int, fraction: float) -> int:
    """`fraction` of the rows, rounded; none where one of the two sides would be empty."""
    count = round(rows * fraction)
    return count if 0 < count < rows else 0
