"""Numbers of JSON that are whole, however they are written."""

# The parts of a request lie less deep; what lies deeper is refused as it is.
MOST_DEPTH = 16
# From here on a float may be another number than was written.
MOST_EXACT = 2**53


def with_whole_numbers(given: object, depth: int = MOST_DEPTH) -> object:
    """The same with 5 for 5.0: JSON has one kind of number, JSON Schema's `integer` takes both."""
    if isinstance(given, float) and given.is_integer() and abs(given) <= MOST_EXACT:
        return int(given)
    if depth and isinstance(given, dict):
        return {key: with_whole_numbers(value, depth - 1) for key, value in given.items()}
    if depth and isinstance(given, list):
        return [with_whole_numbers(value, depth - 1) for value in given]
    return given
