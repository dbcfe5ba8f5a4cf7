"""How gradients are coded in a training, and how many processes exchange them; pure."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Rounding = Literal["nearest", "stochastic", "sign", "ternary", "top_k"]
Granularity = Literal["per_tensor", "per_channel"]

# Each of these roundings has a number of bits of its own.
FIXED_BITS: dict[str, int] = {"sign": 1, "ternary": 2}
TOP_K_SHARE = 0.01
MAX_WORKERS = 8


class GradientQuantization(BaseModel):
    """Every gradient is coded in few bits before the optimizer reads it.

    With `workers` above 1 each batch is divided over so many processes of the job, which exchange
    the coded gradients and nothing else; the optimizer reads the mean of what they decode to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    num_bits: int = Field(
        8,
        ge=1,
        le=8,
        description="Bits of a symbol: 1 = plus or minus one scale; b > 1 = the 2^b - 1 levels "
        "from -(2^(b-1) - 1) to 2^(b-1) - 1 times the scale. sign has 1, ternary 2.",
    )
    rounding: Rounding = Field(
        "nearest",
        description="nearest level; stochastic = up or down by chance so that the mean is right "
        "(QSGD, Alistarh et al. 2017, arXiv:1610.02132, eq. 3, with the largest value as norm); "
        "sign times the mean magnitude (Bernstein et al. 2018, arXiv:1802.04434; Karimireddy et "
        "al. 2019, arXiv:1901.09847); ternary = stochastic on -1, 0, 1 after clipping at 2.5 "
        "standard deviations (TernGrad, Wen et al. 2017, arXiv:1705.07878); top_k = the largest "
        "alone, rounded to nearest, with their places (Lin et al. 2018, arXiv:1712.01887).",
    )
    granularity: Granularity = Field(
        "per_tensor",
        description="One scale for each gradient, or for each output channel of it.",
    )
    scale: Literal["least_error", "largest"] = Field(
        "least_error",
        description="nearest with 2 bits or more: the outermost level lies at the largest "
        "magnitude, or at the one of eight, each half the one before, that leaves the least "
        "squared error.",
    )
    error_feedback: bool = Field(
        True,
        description="Add what coding left out of a gradient to the next one (EF-SGD, Karimireddy "
        "et al. 2019, arXiv:1901.09847, algorithm 1). Few bits lose accuracy without it.",
    )
    top_k_share: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="top_k: share of each gradient's coordinates that is sent; null = 0.01.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=MAX_WORKERS,
        description="Processes that each train on their part of every batch. A process takes about "
        "0.5 GB.",
    )
    compare_with_float32: bool = Field(
        True,
        description="Also train from the same start with the same seed and float32 gradients in "
        "one process, and report both; takes as long again.",
    )

    @model_validator(mode="before")
    @classmethod
    def _roundings_have_their_bits(cls, data: object) -> object:
        """What is left out follows from the rounding; what the recipe says is what runs."""
        if not isinstance(data, dict):
            return data
        rounding = data.get("rounding")
        bits = FIXED_BITS.get(rounding) if isinstance(rounding, str) else None
        filled: dict[str, float] = {}
        if bits is not None and "num_bits" not in data:
            filled["num_bits"] = bits
        if rounding == "top_k" and data.get("top_k_share") is None:
            filled["top_k_share"] = TOP_K_SHARE
        return {**data, **filled}

    @model_validator(mode="after")
    def _parameters_have_an_effect(self) -> Self:
        bits = FIXED_BITS.get(self.rounding)
        if bits is not None and self.num_bits != bits:
            raise ValueError(
                f"num_bits has no effect on {self.rounding}, which has {bits}; given "
                f"{self.num_bits}. Leave it out, or choose rounding nearest or stochastic"
            )
        if self.top_k_share is not None and self.rounding != "top_k":
            raise ValueError(f"top_k_share has no effect on {self.rounding}; leave it out")
        if self.scale != "least_error" and (self.rounding != "nearest" or self.num_bits == 1):
            raise ValueError(
                f"scale has no effect on {self.rounding} of {self.num_bits} bits; leave it out"
            )
        if self.granularity == "per_channel" and self.rounding == "top_k":
            raise ValueError(
                "granularity per_channel has no effect on top_k: what is sent of a gradient lies "
                "in few channels, and has one scale. Leave it out"
            )
        return self
