"""Which stored arrays belong to which layer of a Keras model: counts only, nothing is read."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from app.recipes.keras.graph import Config, is_model, layer_name
from app.uploads.inspector.keras.names import is_operation

# Beside the weights, files keep what training needs: that is not part of the model, nor of one
# inside of it that was compiled as well.
NOT_WEIGHTS = re.compile(
    r"^(layers/[^/]+/)*(optimizer|optimizer_weights|metrics|_?loss_tracker)/|(^|/)seed_generator/"
)

# The kernel of the layer that it wraps, which that layer keeps itself.
TWICE = re.compile(r"(^|/)spectral_normalization(_\d+)?/vars/0$")

# Registered under one name and defined under another, which its group has.
GROUPED_AS = {"GroupQueryAttention": "GroupedQueryAttention"}


def is_weight(path: str) -> bool:
    return not NOT_WEIGHTS.search(path)


def is_kept_twice(path: str) -> bool:
    return TWICE.search(path) is not None


def folder_sizes(sizes: Mapping[str, int]) -> Counter[str]:
    """Values below each group, from the values of each array: `{"a": 5, "a/b": 5}` of `a/b/0`."""
    folders: Counter[str] = Counter()
    for path, size in sizes.items():
        parts = path.split("/")
        for length in range(1, len(parts)):
            folders["/".join(parts[:length])] += size
    return folders


def counts_in_archive(
    config: Config, folders: Counter[str], container: str = "layers"
) -> Iterator[int]:
    """Values of each layer of a `.keras` file, in the order of `keras_config.layers`.

    Keras 3 names groups after classes, not layers: `layers/conv2d_1` is the second Conv2D of its
    model. The InputLayer of a Sequential and plain operations have no group.
    """
    for layer, group in _with_groups(config, container):
        if group is None:
            yield 0
        elif is_model(layer):
            yield from counts_in_archive(layer, folders, f"{group}/layers")
        else:
            yield folders[group]


def unowned_in_archive(config: Config, paths: Iterable[str]) -> str | None:
    """A weight array of a `.keras` file that belongs to no layer of the model.

    Files of Keras 2 name groups otherwise: there, none is known to belong to any.
    """
    groups = set(_groups(config, "layers"))
    owned, others = 0, []
    for path in paths:
        parts = path.split("/")
        ends = ("/".join(parts[:length]) for length in range(2, len(parts)))
        if any(end in groups for end in ends):
            owned += 1
        else:
            others.append(path)
    return min(others) if owned and others else None


def unowned_in_h5(config: Config, paths: Iterable[str]) -> str | None:
    """The same, of a `.h5` file."""
    groups = {("model_weights", layer_name(layer)) for layer in config["config"]["layers"]}
    others = (path for path in paths if tuple(path.split("/")[:2]) not in groups)
    return min(others, default=None)


def _groups(config: Config, container: str) -> Iterator[str]:
    """Of every layer that is no model, in the order of the layers; see `counts_in_archive`."""
    for layer, group in _with_groups(config, container):
        if group is None:
            continue
        if is_model(layer):
            yield from _groups(layer, f"{group}/layers")
        else:
            yield group


def _with_groups(config: Config, container: str) -> Iterator[tuple[Config, str | None]]:
    used: Counter[str] = Counter()
    for layer in config["config"]["layers"]:
        if _has_no_group(config, layer):
            yield layer, None
            continue
        plain = snake_case(GROUPED_AS.get(layer["class_name"], layer["class_name"]))
        yield layer, f"{container}/{plain}_{used[plain]}" if used[plain] else f"{container}/{plain}"
        used[plain] += 1


def counts_in_h5(config: Config, folders: Counter[str]) -> Iterator[int]:
    """Values of each layer of a `.h5` file, in the same order.

    Only layers of the top level have a group; those of nested models are told by no one.
    """
    for layer in config["config"]["layers"]:
        if is_model(layer):
            yield from counts_in_h5(layer, Counter())
        else:
            yield folders[f"model_weights/{layer_name(layer)}"]


def snake_case(class_name: str) -> str:
    """As `keras.src.utils.naming.to_snake_case`: `MaxPooling2D` is `max_pooling2d`."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def _has_no_group(model: Config, layer: Config) -> bool:
    is_hidden_input = model["class_name"] == "Sequential" and layer["class_name"] == "InputLayer"
    return is_hidden_input or is_operation(layer.get("module"))
