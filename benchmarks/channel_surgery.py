"""What taking half the channels out costs: MobileNetV2, and how time grows with layers.

Run: python -m benchmarks.channel_surgery  (half a minute)
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from benchmarks.common import print_table
from worker.engine.surgery.channels.graph import channel_graph
from worker.engine.surgery.channels.removal import removed

MAX_SECONDS, MAX_BYTES, MAX_GROWTH = 60, 2 * 2**30, 3.0
KIBIBYTE = 1024


def main() -> None:
    network = keras.applications.MobileNetV2((96, 96, 3), weights=None)
    seconds, smaller = measured(halved, network)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE
    before, after = network.count_params(), smaller.count_params()
    short, long = residual_network(blocks=100), residual_network(blocks=200)
    graph_s = [measured(channel_graph, model)[0] for model in (short, long)]
    surgery_s = [measured(halved, model)[0] for model in (short, long)]
    sizes = f"{len(short.layers)} and {len(long.layers)} layers"
    print_table(
        "Half of all channels taken out, processor time",
        [
            ("MobileNetV2 96x96, surgery", f"{seconds:.1f} s", f"{MAX_SECONDS} s"),
            ("... its parameters", f"{before:,} -> {after:,}", ""),
            ("... peak memory of the process", f"{peak_bytes / 2**30:.2f} GiB", "2 GiB"),
            (f"graph, {sizes}", growth(graph_s), f"below {MAX_GROWTH:g}x"),
            (f"whole surgery, {sizes}", growth(surgery_s), f"below {MAX_GROWTH:g}x"),
        ],
    )
    if seconds > MAX_SECONDS or peak_bytes > MAX_BYTES or graph_s[1] > MAX_GROWTH * graph_s[0]:
        raise SystemExit("a figure is not reached")


def halved(model: keras.Model) -> keras.Model:
    graph = channel_graph(model)
    keep = {group.name: np.arange(group.count) % 2 == 0 for group in graph.groups}
    return removed(model, graph, keep, {}).model


def residual_network(*, blocks: int) -> keras.Model:
    """Blocks of four layers, all added to one stream: its channels are one from end to end."""
    picture = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(32, 3, padding="same")(picture)
    for _ in range(blocks):
        y = keras.layers.Conv2D(32, 3, padding="same")(x)
        y = keras.layers.ReLU()(keras.layers.BatchNormalization()(y))
        x = keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(picture, keras.layers.Dense(10)(x))


def measured(work: Callable[[keras.Model], Any], model: keras.Model) -> tuple[float, Any]:
    """Processor time of a piece of work on a model, and what it returns."""
    start = time.process_time()
    done = work(model)
    return time.process_time() - start, done


def growth(seconds: list[float]) -> str:
    first, second = seconds
    return f"{first:.2f} s -> {second:.2f} s, {second / first:.1f}x"


if __name__ == "__main__":
    main()
