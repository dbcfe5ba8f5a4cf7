"""A Keras optimizer around another one, which reads gradients as they are after coding."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from app.errors import OptimizerNotWrappable
from app.recipes.gradients import GradientQuantization
from worker.engine.training.gradients.rounding import Coded, GradientCoder, coder_of

# Symbols are counted in one step of so many: that costs as much as coding itself.
SAMPLE_EVERY = 16
PARAMETERS = ("num_bits", "rounding", "granularity", "scale", "error_feedback", "top_k_share")


@keras.saving.register_keras_serializable(package="penjing")
class GradientQuantizingOptimizer(keras.optimizers.Optimizer):
    """Codes every gradient in few bits and gives the wrapped optimizer what that decodes to.

    Works wherever a Keras optimizer does: `compile`, `fit`, `apply`, saving and loading. Gradients
    of embeddings (IndexedSlices) are coded as dense ones, for what is not looked up has a gradient
    of 0 and feedback of its own; None stays None. Clipping, weight decay and averages are the
    wrapped optimizer's, and come after decoding. A LossScaleOptimizer goes around this one: inside,
    what feedback remembers would change its unit with the scale.

    With several replicas, each calls `encode` on its own gradients and all call `apply_messages`
    on the messages of all; `rank` then gives each its own chances.

    Raises: OptimizerNotWrappable; ValueError for parameters out of range or without effect.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        *,
        seed: int = 0,
        rank: int = 0,
        name: str | None = None,
        **parameters: Any,
    ) -> None:
        _check_wrappable(inner_optimizer)
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.seed = seed
        self.rank = rank
        self.options = GradientQuantization(
            **{"compare_with_float32": False, **_known(parameters)}  # not a matter of optimizers
        )
        self._coders: list[GradientCoder] = []
        self._residuals: list[Any] = []
        # Of the gradients last traced: which of them are not None, and who codes these.
        self._coded_at: list[int] = []
        self._used_coders: list[GradientCoder] = []

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        self._coders = [coder_of(variable, self.options) for variable in variables]
        if self.options.error_feedback:
            self._residuals = [
                self.add_variable(one.shape, dtype="float32", name=f"residual_{index}")
                for index, one in enumerate(variables)
            ]
        symbols = max((coder.symbol_count for coder in self._coders), default=1)
        self._symbol_counts = self.add_variable((symbols,), dtype="int64", name="symbol_counts")
        self._sampled_steps = self.add_variable((), dtype="int64", name="sampled_steps")
        self.inner_optimizer.build(variables)
        super().build(list(variables))

    @property
    def variables(self) -> list[Any]:
        return [*self.own_variables, *self.inner_optimizer.variables]

    @property
    def own_variables(self) -> list[Any]:
        """Those that differ between replicas: what feedback remembers, and counts."""
        return list(super().variables)

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Code, decode, update."""
        variables = self._built_for(trainable_variables)
        self._updated(self._feedback(grads, variables)[1], variables)

    def encode(self, grads: Sequence[Any], trainable_variables: Sequence[Any]) -> Any:
        """The message of these gradients: uint8, [bytes]; what it leaves out is remembered."""
        variables = self._built_for(trainable_variables)
        coded, _ = self._feedback(grads, variables)
        present = [one for one in coded if one is not None]
        coders = self._used_coders
        return tf.concat(
            [coder.message(one) for coder, one in zip(coders, present, strict=True)], axis=0
        )

    def apply_messages(
        self, messages: Any, weights: Any, trainable_variables: Sequence[Any]
    ) -> None:
        """Update by the weighted sum of what was encoded, in the order of the messages.

        messages: uint8, [replicas, bytes], as `encode` made them here; weights: float32,
        [replicas].
        """
        variables = list(trainable_variables)
        decoded: list[Any] = [None] * len(variables)
        start = 0
        for place, coder in zip(self._coded_at, self._used_coders, strict=True):
            end = start + coder.message_bytes
            total = tf.zeros(coder.shape)
            for replica in range(messages.shape[0]):
                part = coder.values(coder.read(messages[replica, start:end]))
                total += weights[replica] * part
            decoded[place] = tf.cast(total, variables[place].dtype)
            start = end
        self._updated(decoded, variables)

    @property
    def message_bytes(self) -> int:
        """Of the gradients of one step, once a step was traced."""
        return sum(coder.message_bytes for coder in self._used_coders)

    @property
    def coordinates(self) -> int:
        """Gradients of one step before coding, once a step was traced."""
        return sum(math.prod(coder.shape) for coder in self._used_coders)

    @property
    def symbol_counts(self) -> Any:
        """How often each symbol came in the steps that were sampled, [symbols]."""
        return self._symbol_counts.numpy()

    @property
    def sampled_steps(self) -> int:
        return int(self._sampled_steps.numpy())

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    def scale_loss(self, loss: Any) -> Any:
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inner_optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "seed": self.seed,
            "rank": self.rank,
            **{name: getattr(self.options, name) for name in PARAMETERS},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        given = dict(config)
        inner = keras.saving.deserialize_keras_object(
            given.pop("inner_optimizer"), custom_objects=custom_objects
        )
        return cls(inner, **given)

    def _built_for(self, variables: Sequence[Any] | None) -> list[Any]:
        if not self.built:
            self.build(list(variables or ()))
        return list(variables) if variables is not None else list(self._trainable_variables)

    def _feedback(
        self, grads: Sequence[Any], variables: Sequence[Any]
    ) -> tuple[list[Coded | None], list[Any]]:
        """Each gradient coded, None where it is not, and what the optimizer reads of each.

        p = g + e; coded = Q(p); e' = p - decoded (Karimireddy et al. 2019, algorithm 1).
        """
        coded: list[Coded | None] = []
        decoded: list[Any] = []
        for gradient, variable in zip(grads, variables, strict=True):
            if gradient is None or getattr(variable, "overwrite_with_gradient", False):
                coded.append(None)
                decoded.append(gradient)
                continue
            index, coder = self._get_variable_index(variable), self._coder(variable)
            wanted = tf.cast(tf.convert_to_tensor(gradient), tf.float32)
            if self._residuals:
                wanted += self._residuals[index].value
            symbols = coder.coded(wanted, self._chance(index))
            values = coder.values(symbols)
            if self._residuals:
                self._residuals[index].assign(wanted - values)
            coded.append(symbols)
            decoded.append(tf.cast(values, variable.dtype))
        self._coded_at = [place for place, one in enumerate(coded) if one is not None]
        self._used_coders = [self._coder(variables[place]) for place in self._coded_at]
        self._count([one for one in coded if one is not None])
        self._iterations.assign_add(1)
        return coded, decoded

    def _count(self, coded: Sequence[Coded]) -> None:
        """Add to the statistics, in one step of `SAMPLE_EVERY`."""
        if not coded:
            return
        is_sampled = tf.equal(self._iterations.value % SAMPLE_EVERY, 0)
        bins = self._symbol_counts.shape[0]
        symbols = tf.concat([one.symbols for one in coded], axis=0)
        found = tf.cond(
            is_sampled,
            lambda: tf.math.unsorted_segment_sum(tf.ones_like(symbols), symbols, bins),
            lambda: tf.zeros(bins, tf.int32),
        )
        self._symbol_counts.assign_add(tf.cast(found, tf.int64))
        self._sampled_steps.assign_add(tf.cast(is_sampled, tf.int64))

    def _updated(self, decoded: Sequence[Any], variables: Sequence[Any]) -> None:
        self.inner_optimizer.apply(decoded, variables)

    def _chance(self, index: int) -> Any:
        """A seed for one gradient of this step and replica: int64, [2]."""
        # Far apart: replicas of one seed must not share their chances with those of the next.
        own = np.int64((self.seed * 1_000_003 + self.rank) % (1 << 62))
        seed = tf.stack([tf.constant(own), tf.cast(self._iterations.value, tf.int64)])
        return tf.random.experimental.stateless_fold_in(seed, index)

    def _coder(self, variable: Any) -> GradientCoder:
        return self._coders[self._get_variable_index(variable)]


def _known(parameters: dict[str, Any]) -> dict[str, Any]:
    unknown = parameters.keys() - set(PARAMETERS)
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PARAMETERS)}")
    return parameters


def _check_wrappable(inner: Any) -> None:
    given = type(inner).__name__
    if isinstance(inner, keras.optimizers.LossScaleOptimizer):
        raise OptimizerNotWrappable(
            f"a {given} cannot be wrapped: it gives gradients in a unit that changes, and infinite "
            "ones",
            hint="Wrap the optimizer inside it: "
            "LossScaleOptimizer(GradientQuantizingOptimizer(optimizer)).",
        )
    if isinstance(inner, GradientQuantizingOptimizer):
        raise OptimizerNotWrappable(
            f"a {given} cannot be wrapped: its gradients are coded already",
            hint="Wrap an optimizer once.",
        )
    if not isinstance(inner, keras.optimizers.Optimizer):
        raise OptimizerNotWrappable(
            f"{inner!r} cannot be wrapped: it is no keras.optimizers.Optimizer",
            hint="Give an instance, such as keras.optimizers.Adam().",
        )
