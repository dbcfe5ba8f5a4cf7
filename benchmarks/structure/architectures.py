"""Which networks of `keras.applications` channels can be taken out of, and what stays and why.

Run: python -m benchmarks.structure.architectures > docs/architectures.md  (about 3 minutes)
"""

import gc
import inspect
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.groups import ChannelGraph
from worker.engine.surgery.channels.removal import removed
from worker.engine.surgery.kernels import Kernel, kernels

MAX_PARAMETERS = 30_000_000
# Known to have more, and not built: the largest takes 1.4 GB.
LARGER = frozenset(
    {
        "ConvNeXtBase",
        "ConvNeXtLarge",
        "ConvNeXtSmall",
        "ConvNeXtXLarge",
        "EfficientNetB5",
        "EfficientNetB6",
        "EfficientNetB7",
        "EfficientNetV2L",
        "EfficientNetV2M",
        "InceptionResNetV2",
        "NASNetLarge",
        "ResNet101",
        "ResNet101V2",
        "ResNet152",
        "ResNet152V2",
        "VGG16",
        "VGG19",
    }
)

HEAD = f"""# Networks that channels can be taken out of

Every network of `keras.applications` (Keras {keras.__version__}) with at most 30 M parameters,
written by `python -m benchmarks.structure.architectures`. A *group* is a set of layers that lose
the same channels ([decision 0012](decisions/0012-channel-graph.md)). *Can go*: share of the
channels made by kernels that are in a group; the 1,000 outputs stay, and count. *Half gone*:
parameters left when every group has lost half of its channels; the seconds are processor time for
the graph, and for the smaller model. None of these networks is refused; what stays is named with
its reason and the number of layers it holds back.
`tests/worker/engine/surgery/channels/test_applications.py` holds that each of them, without half
of its channels, computes in float64 what the original does with those at zero.

| network | parameters | groups | can go | half gone | graph s | surgery s | what stays |
|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Network:
    name: str
    model: keras.Model

    def row(self) -> str:
        """One line of the table."""
        start = time.process_time()
        graph = channel_graph(self.model)
        found = time.process_time()
        keep = {group.name: np.arange(group.count) % 2 == 0 for group in graph.groups}
        smaller = removed(self.model, graph, keep, {}).model
        done = time.process_time()
        cells = (
            self.name,
            f"{self.model.count_params():,}",
            str(len(graph.groups)),
            f"{100 * free_share(self.model, graph):.1f} %",
            f"{smaller.count_params():,}",
            f"{found - start:.2f}",
            f"{done - found:.1f}",
            stays(graph),
        )
        return f"| {' | '.join(cells)} |"


def networks() -> Iterator[Network]:
    """All there are, one at a time."""
    for name, build in inspect.getmembers(keras.applications, inspect.isfunction):
        if name in LARGER:
            continue
        network = Network(name, build(weights=None))
        if network.model.count_params() > MAX_PARAMETERS:
            raise SystemExit(f"{name} has {network.model.count_params():,} parameters: list it.")
        yield network
        del network
        keras.backend.clear_session()
        gc.collect()


def free_share(model: keras.Model, graph: ChannelGraph) -> float:
    """Share of the channels that kernels make which are in a group."""
    made = {
        kernel.name: int(kernel.variable.shape[-1])
        for kernel in kernels(model)
        # Depthwise kernels make no channels: theirs are those of their inputs.
        if isinstance(kernel, Kernel) and len(kernel.input_axes) == len(kernel.variable.shape) - 1
    }
    free: Counter[str] = Counter()
    for group in graph.groups:
        for part in group.slices:
            if part.role == "output" and part.weight in made:
                free[part.weight] += int((part.units >= 0).sum())
    return sum(free.values()) / sum(made.values())


def stays(graph: ChannelGraph) -> str:
    """Reasons with how many layers each holds back; what other layers are called is left out."""
    reasons = Counter(re.sub(r"'[^']*'", "a layer", frozen.reason) for frozen in graph.frozen)
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())


def main() -> None:
    print(HEAD)
    for network in networks():
        print(network.row(), flush=True)
    print(f"\nLarger than that, and not tried: {', '.join(sorted(LARGER))}.")


if __name__ == "__main__":
    main()
