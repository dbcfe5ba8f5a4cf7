"""The rules for a Keras config, one after the other at every place in it."""

import math
from typing import Any

from app.recipes.keras.graph import Config
from app.uploads.inspector.keras.bodies import check_body, is_body
from app.uploads.inspector.keras.built import built_weights
from app.uploads.inspector.keras.compiled import check_compiled
from app.uploads.inspector.keras.lookups import (
    check_layer_name,
    check_lookup,
    check_vocabulary,
    is_layer,
    is_named,
)
from app.uploads.inspector.keras.names import is_operation
from app.uploads.inspector.keras.numbers import check_numbers
from app.uploads.inspector.keras.sizes import (
    PACKED,
    check_extents,
    check_shape,
    declared_weights,
)
from app.uploads.inspector.keras.walk import Spot, refused, spots
from app.uploads.inspector.keras.words import DTYPE, check_constant, check_words
from app.uploads.inspector.shown import shown

# Five times the deepest network of keras.applications.
MAX_LAYERS = 5_000
MAX_TEXT = 2_000
MAX_NUMBER = 2**64
FLOAT_POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy", "Policy"})
QUANTIZED_FROM = "_from_"


def check_config(config: Config, compile_config: Config | None, *, stored_values: int) -> None:
    """Refuse what must not be loaded.

    Args:
        config: a model's.
        compile_config: what it was compiled with. It is read here and never loaded, so it may name
            the author's own classes and functions, as Keras writes them.
        stored_values: how many weight values the file holds; the layers may declare no more.

    Raises: RejectedUpload naming the layer or object and where it stands.
    """
    for spot in spots(compile_config or {}):
        if is_named(spot.value):
            check_compiled(spot)
        _check_values(spot)
    found = list(spots(config))
    is_packed = any(_is_quantizing(spot.value) for spot in found if is_named(spot.value))
    shared = _Shared()
    total = _Total(stored_values * (PACKED if is_packed else 1))
    for spot in found:
        if is_named(spot.value):
            check_lookup(spot)
            check_constant(spot)
            shared.check(spot)
        if is_layer(spot.value):
            check_layer_name(spot, is_whole=spot.above is None)
            check_vocabulary(spot)
            check_words(spot)
            check_numbers(spot)
            total.add(spot)
            check_extents(spot)
        check_shape(spot)
        _check_values(spot)
    # After all that they hold: graphs are put together from what has been looked at.
    for spot in found:
        if is_body(spot.value):
            check_body(spot, total.most)


class _Shared:
    """What several places share: Keras makes it at the first and takes it at the others."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[object, ...]] = {}

    def check(self, spot: Spot) -> None:
        """Raises: RejectedUpload where another thing is written at one of the others."""
        found = spot.value
        if "shared_object_id" not in found:
            return
        inside = found["config"] if isinstance(found.get("config"), dict) else {}
        plain = {key: one for key, one in inside.items() if not isinstance(one, dict | list)}
        written = (found["class_name"], found.get("module"), plain)
        if self._first.setdefault(str(found["shared_object_id"]), written) != written:
            raise refused(
                spot,
                f"{shown(found['class_name'])} is said to be the object "
                f"{shown(found['shared_object_id'])}, which is another one where it stands first",
                "Save the model again with a current Keras; check that it loads.",
            )


class _Total:
    """What the layers of a model declare in all; one that several places share counts once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._layers = 0
        self._declared = 0
        self._built = 0
        self._counted: dict[tuple[str, str], int] = {}

    def add(self, spot: Spot) -> None:
        """Raises: RejectedUpload where layers or weights become too many."""
        self._layers += 1
        if self._layers > MAX_LAYERS:
            raise refused(
                spot,
                f"the model has more than {MAX_LAYERS} layers",
                "Larger models cannot be loaded here; leave out what is not used.",
            )
        declared, built = declared_weights(spot, self.most), built_weights(spot, self.most)
        shared = str(spot.value.get("shared_object_id", ""))
        self._declared += self._beyond(("", shared), declared) if shared else declared
        # Nested models may have a layer in common and not say so: it has one name in all of them.
        name = str(spot.value["config"].get("name"))
        self._built += self._beyond((str(spot.value["class_name"]), name), built)
        values = max(self._declared, self._built)
        if values > self.most:
            raise refused(
                spot,
                f"up to here the layers declare {values} weight values or more, but the "
                f"file stores {self.most} in all",
                "Configuration and weights do not belong together; save the model again.",
            )

    def _beyond(self, shared: tuple[str, str], values: int) -> int:
        """What these are more than was counted of it at another place."""
        counted = self._counted.get(shared, 0)
        self._counted[shared] = max(values, counted)
        return max(0, values - counted)


def is_quantized(config: Config) -> bool:
    """Whether Keras stored any layer in integers or 8-bit floats.

    Every kind of quantization has a dtype policy of its own, and new ones come with new versions.
    """
    return any(_is_quantizing(spot.value) for spot in spots(config) if is_named(spot.value))


def _is_quantizing(found: dict[str, Any]) -> bool:
    class_name, inside = str(found["class_name"]), found.get("config")
    if class_name.endswith("DTypePolicy") and class_name not in FLOAT_POLICIES:
        return True
    named = inside if isinstance(inside, dict) else {}
    # A policy may be written by its name alone: int8_from_float32.
    policy = named.get("name" if class_name in FLOAT_POLICIES else "dtype")
    return isinstance(policy, str) and QUANTIZED_FROM in policy


def _check_values(spot: Spot) -> None:
    """Texts no longer than names are, and numbers that are some, of one dict or list.

    Raises: RejectedUpload.
    """
    is_dict = isinstance(spot.value, dict)
    dtype = spot.value.get("dtype") if is_dict else None
    if isinstance(dtype, str) and not DTYPE.fullmatch(dtype):
        raise refused(spot, f"something has the type {shown(dtype)}; Keras knows none of that name")
    for value in (*spot.value, *spot.value.values()) if is_dict else spot.value:
        kind = type(value)
        if kind is str:
            _check_text(spot, value)
        elif kind is int and abs(value) >= MAX_NUMBER:
            raise refused(
                spot,
                f"the number {shown(value)} is larger than any that Keras takes",
                "Save the model with the numbers it is used with.",
            )
        elif kind is float and not math.isfinite(value) and not _may_be_infinite(spot, value):
            raise refused(
                spot,
                f"the number {shown(value)} is none that can be computed with",
                "Save the model with a finite number in its place.",
            )


def _may_be_infinite(spot: Spot, value: float) -> bool:
    """Operations take infinity: what masks a score, or the maximum norm. Layers do not."""
    if math.isnan(value):
        return False
    layer = spot
    while layer.above is not None and not is_layer(layer.value):
        layer = layer.above
    return is_named(layer.value) and is_operation(layer.value.get("module"))


def _check_text(spot: Spot, text: str) -> None:
    if len(text) > MAX_TEXT:
        raise refused(spot, f"a text of {len(text)} characters; {MAX_TEXT} are the most")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise refused(spot, f"the text {shown(text)} holds half a character")
