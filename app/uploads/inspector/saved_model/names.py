"""Names in a graph: those that TensorFlow gives, and no others."""

import re

from app.errors import RejectedUpload
from app.uploads.inspector.saved_model.wire import broken

MAX_NAME_LENGTH = 1_000
# What TensorFlow allows in names of nodes, functions and arguments; all of it can be shown.
NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._\\/>-]*")
# What Python calls a function without a name, which TensorFlow makes a part of its own.
NAMELESS = "<lambda>"
TENSOR = re.compile(r"\^?[A-Za-z0-9._][A-Za-z0-9._\\/>-]*(:[a-z][a-z0-9_]*)?(:[0-9]{1,5})?")
DEVICE = re.compile(
    r"(/job:localhost/replica:0/task:0)?(/(device:)?[CG]PU:(\*|[0-9]{1,2}))?", re.IGNORECASE
)


def checked_name(name: str, what: str) -> str:
    """Raises: RejectedUpload where a name is none that TensorFlow gives, or cannot be shown."""
    if len(name) > MAX_NAME_LENGTH or not NAME.fullmatch(name.replace(NAMELESS, "_")):
        raise RejectedUpload(
            f"the SavedModel has a {what} that is called {name[:80]!r}",
            hint=f"Names are letters, digits and . _ / > - \\, at most {MAX_NAME_LENGTH} of them.",
        )
    return name


def checked_tensor(name: str, what: str) -> str:
    """Raises: RejectedUpload."""
    if len(name) > 2 * MAX_NAME_LENGTH or not TENSOR.fullmatch(name):
        raise broken(what, f"it takes {name[:80]!r}, which is no name of a tensor")
    return name


def check_device(device: str, what: str) -> None:
    """Raises: RejectedUpload."""
    if not DEVICE.fullmatch(device):
        raise broken(what, "it is placed on a device that is not this machine's CPU or GPU")
