"""Small networks, one for each way in which channels can hang together, with what can go."""

from tests.worker.engine.surgery.channels.nets import connections, rows, sequences
from tests.worker.engine.surgery.channels.nets.common import Counts, Net

# Name -> the function that builds it, and how many units each of its groups has.
NETS: dict[str, tuple[Net, Counts]] = {**rows.NETS, **connections.NETS, **sequences.NETS}
