"""The statistics of honest figures: interval of a share, paired test of two models; pure."""

import math
import sys

Z_95 = 1.959963984540054
SMALLEST = math.log(sys.float_info.min)


def wilson_interval(successes: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927): good near 0 and 1 and for few trials.

    `successes` may be a sum of shares: trials that were partly right.
    center = (p + z²/2n) / (1 + z²/n), half = z/(1 + z²/n) · sqrt(p(1-p)/n + z²/4n²)
    """
    if trials <= 0:
        raise ValueError(f"an interval needs at least one trial; given {trials}")
    share = successes / trials
    spread = z * z / trials
    center = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, center - half), min(1.0, center + half)


def mcnemar_p_value(only_first_right: int, only_second_right: int) -> float:
    """Exact two-sided McNemar test: the rows where just one of two models is right are coin flips.

    With rows of several decisions it is the sign test: rows where one model is right more often.

    p = min(1, 2 · sum_{i<=k} C(n, i) / 2^n) with n = both counts together, k = the smaller.
    Summed from logarithms: C(n, i) overflows a float from n of about 1030.
    """
    n = only_first_right + only_second_right
    k = min(only_first_right, only_second_right)
    if n == 0:
        return 1.0
    log_terms = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
        for i in range(k + 1)
    ]
    largest = max(log_terms)
    log_tail = largest + math.log(math.fsum(math.exp(term - largest) for term in log_terms))
    log_p = math.log(2) + log_tail
    return min(1.0, math.exp(log_p)) if log_p > SMALLEST else 0.0


def is_beyond_chance(first: float, second: float, trials: int, z: float = Z_95) -> bool:
    """Whether two shares, of as many trials each, differ by more than chance explains.

    |a - b| > z · sqrt(2p(1-p)/n), p = their mean (two-proportion z-test). Two models on the same
    rows differ by chance even less, so where this says yes, it is so.
    """
    share = (first + second) / 2
    return abs(first - second) > z * math.sqrt(2 * share * (1 - share) / trials)
