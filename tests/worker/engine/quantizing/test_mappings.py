"""What numbers become with few bits, as arrays and as nodes of a Keras model."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from worker.engine.quantizing.calibration.ranges import Limits
from worker.engine.quantizing.mappings import Linear, Lookup, Mapping, MuLaw, mapping_within

MAPPINGS: dict[str, Mapping] = {
    "linear": Linear(-1.0, 2.0, 8),
    "linear 16": Linear(0.0, 3.0, 16),
    "mu_law": MuLaw(2.0, is_signed=True, num_bits=6, mu=255.0),
    "mu_law unsigned": MuLaw(2.0, is_signed=False, num_bits=4, mu=20.0),
    "power_of_two": Lookup.powers_of_two(2.0, is_signed=True, num_bits=4),
    "power_of_two unsigned": Lookup.powers_of_two(3.0, is_signed=False, num_bits=5),
    "codebook": Lookup(np.array([-1.3, -0.2, 0.0, 0.7, 1.9])),
    "codebook of one": Lookup(np.array([0.0])),
}


def values() -> Any:
    drawn = np.random.default_rng(2).normal(0.0, 1.5, (8, 5, 3)).astype("float32")
    drawn[0, 0] = 0.0
    return drawn


def model_of(mapping: Mapping) -> Any:
    given = keras.Input((5, 3), name="given")
    return keras.Model(given, mapping.placed(given, "rounded"))


@pytest.mark.parametrize("name", MAPPINGS)
def test_nodes_do_what_arrays_do_after_saving_and_loading(name: str, tmp_path: Path) -> None:
    mapping = MAPPINGS[name]
    model_of(mapping).save(tmp_path / "model.keras")

    loaded = keras.saving.load_model(tmp_path / "model.keras")

    np.testing.assert_allclose(loaded(values()), mapping.rounded(values()), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", MAPPINGS)
def test_zero_stays_exactly_zero(name: str) -> None:
    assert not np.asarray(model_of(MAPPINGS[name])(values()))[0, 0].any()
    assert not MAPPINGS[name].rounded(np.zeros(3, np.float32)).any()


@pytest.mark.parametrize("name", MAPPINGS)
def test_rounding_what_was_rounded_changes_nothing(name: str) -> None:
    once = MAPPINGS[name].rounded(values())

    np.testing.assert_allclose(MAPPINGS[name].rounded(once), once, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", sorted(set(MAPPINGS) - {"linear", "linear 16"}))
def test_gradients_pass_as_if_nothing_was_rounded(name: str) -> None:
    given = tf.constant(values())
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = tf.reduce_sum(model_of(MAPPINGS[name])(given) * 3.0)

    np.testing.assert_array_equal(tape.gradient(total, given), np.full((8, 5, 3), 3.0))


@pytest.mark.parametrize(
    ("num_bits", "low", "high"), [(4, -1.0, 2.0), (8, 0.0, 1.0), (8, -3.0, 0.0), (12, -1.0, 1.0)]
)
def test_linear_is_what_an_integer_runtime_computes(num_bits: int, low: float, high: float) -> None:
    mapping = Linear(low, high, num_bits)
    scale = (high - low) / (2**num_bits - 1)
    zero_point = np.floor(-low / scale + 0.5)

    numbers = mapping.rounded(values()) / scale + zero_point

    np.testing.assert_allclose(numbers, np.rint(numbers), atol=1e-4)
    assert numbers.min() > -1e-4
    assert numbers.max() < 2**num_bits - 1 + 1e-4


def test_powers_of_two_are_powers_of_two_or_zero() -> None:
    mapping = Lookup.powers_of_two(5.0, is_signed=True, num_bits=4)

    # 5 is nearer to 4 than to 8 on a logarithmic scale; 2^3 - 1 powers of each sign.
    powers = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4]
    np.testing.assert_array_equal(mapping.levels, [-p for p in reversed(powers)] + [0.0] + powers)
    np.testing.assert_array_equal(
        mapping.rounded(np.array([0.03, 0.04, 0.7, -1.6, 100.0])), [0, 1 / 16, 0.5, -2, 4]
    )


def test_powers_of_two_stop_where_float32_does() -> None:
    levels = Lookup.powers_of_two(1.0, is_signed=False, num_bits=8).levels

    assert levels[1] == 2.0**-126
    assert len(levels) == 128


def test_mu_law_inverts_itself() -> None:
    mapping = MuLaw(2.0, is_signed=True, num_bits=8, mu=255.0)
    inside = np.linspace(-2.0, 2.0, 101)

    np.testing.assert_allclose(mapping.expanded(mapping.compressed(inside)), inside, atol=1e-12)
    # ITU-T G.711: at 1/255 of the limit, ln 2 / ln 256 = an eighth of the scale.
    assert mapping.compressed(np.array([2.0 / 255]))[0] == pytest.approx(1 / 8)


def test_mu_law_has_all_levels_of_its_bits() -> None:
    fine = np.linspace(-2.0, 2.0, 20_001)

    assert len(np.unique(MuLaw(2.0, True, 4, 255.0).rounded(fine))) == 15
    assert len(np.unique(MuLaw(2.0, False, 4, 255.0).rounded(fine))) == 16


@pytest.mark.parametrize("kind", ["linear", "mu_law", "power_of_two"])
def test_a_tensor_that_is_always_zero_stays_zero(kind: str) -> None:
    mapping = mapping_within(kind, Limits(0.0, 0.0), num_bits=4, mu=255.0)

    assert not mapping.rounded(values()).any()
