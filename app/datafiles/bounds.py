"""How much a small file may become; the same for pictures and tables, in the spirit of archives."""

from app.datafiles.unreadable import UnreadableData

# Below the first figure a bomb does no harm; above the last nothing is unpacked.
HARMLESS_BYTES = 64 * 2**20
MAX_RATIO = 200
MAX_UNPACKED_BYTES = 8 * 2**30


def check_unpacked(unpacked_bytes: int, stored_bytes: int, *, hint: str) -> None:
    """Raises: UnreadableData where values take far more room than the file that holds them."""
    if unpacked_bytes > max(HARMLESS_BYTES, MAX_RATIO * stored_bytes):
        raise UnreadableData(
            f"{stored_bytes} bytes would unpack to {unpacked_bytes}, more than {MAX_RATIO} times "
            "as much",
            hint=hint,
        )
    check_total(unpacked_bytes, hint=hint)


def check_total(value_bytes: int, *, hint: str) -> None:
    """Raises: UnreadableData where values take more room than there is for a data set."""
    if value_bytes > MAX_UNPACKED_BYTES:
        raise UnreadableData(
            f"the values would take {value_bytes} bytes; at most {MAX_UNPACKED_BYTES} are read",
            hint=hint,
        )
