"""Binomial probabilities whose cost grows with the square root of the trials at most, for `edge.numbers.statistics`."""

from __future__ import annotations

import decimal
import functools
import math
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

_WHOLE = 4096  # trials up to which whole numbers are used throughout
_DIGITS = 70
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
_NEGLIGIBLE = Decimal("1e-50")  # of a sum
_SMALL = 256  # factorials up to here come from a table, larger ones from Stirling's series
_TINY = 1e-300

# B(2j) / (2j (2j - 1)), j = 1, 2, ...: Stirling's series for log n! (Abramowitz and Stegun, 6.1.40 and 6.1.41).
_STIRLING = (
    *((1, 12), (-1, 360), (1, 1260), (-1, 1680), (1, 1188), (-691, 360360), (1, 156), (-3617, 122400), (43867, 244188)),
    *((-174611, 125400), (77683, 5796), (-236364091, 1506960), (657931, 300)),
)


def twice_tail(trials: int, most: int) -> float:
    """Return ``2 P(X <= most)`` for X of Binomial(trials, 1/2), for ``most`` below half of the trials.

    The terms fall geometrically from the last one downwards, so that about ``sqrt(trials)`` of them count.
    """
    if trials <= _WHOLE:
        ways = outcomes = 1
        for k in range(most):
            ways = ways * (trials - k) // (k + 1)
            outcomes += ways
        return 2 * outcomes / (1 << trials)
    with decimal.localcontext(prec=_DIGITS):
        term = total = Decimal(1)  # in units of P(X = most)
        for k in range(most, 0, -1):
            term = term * k / (trials - k + 1)
            total += term
            if term < _NEGLIGIBLE * total:
                break
        log_ways = _log_factorial(trials) - _log_factorial(most) - _log_factorial(trials - most)
        return float((log_ways - (trials - 1) * Decimal(2).ln()).exp() * total)


def binomial_cdf(trials: NDArray[np.int_], most: NDArray[np.int_], rate: float) -> NDArray[np.float64]:
    """Return ``P(X <= most)`` (N,) for X of Binomial(trials, rate); 0 for ``most`` below 0.

    By the continued fraction of the incomplete beta function ``I(rate; most + 1, trials - most)``, Abramowitz and Stegun 26.5.24
    and 26.5.8.
    """
    result = np.where(most < 0, 0.0, 1.0)
    inside = (most >= 0) & (most < trials)
    if rate in (0.0, 1.0) or not np.any(inside):
        return np.where(inside, 1.0 - rate, result)
    a, b = most[inside] + 1.0, (trials - most)[inside] + 0.0
    # The fraction converges on this side of the mean; on the other it is that of the complement.
    swap = rate >= a / (a + b)
    one, other = np.where(swap, b, a), np.where(swap, a, b)
    x = np.where(swap, 1.0 - rate, rate)
    log_front = _logs((a + b - 1).astype(np.int_)) - _logs((a - 1).astype(np.int_)) - _logs((b - 1).astype(np.int_))
    front = np.exp(log_front + a * math.log(rate) + b * math.log1p(-rate)) / one
    share = front * _fraction(one, other, x)
    result[inside] = np.clip(np.where(swap, share, 1.0 - share), 0.0, 1.0)
    return result


def log_binomial(trials: NDArray[np.int_], counts: NDArray[np.int_], rate: float) -> NDArray[np.float64]:
    """Return the logarithm of ``P(X = counts)`` (N,) for X of Binomial(trials, rate)."""
    if rate in (0.0, 1.0):
        return np.where(counts == (trials if rate else 0), 0.0, -np.inf)
    chance = counts * math.log(rate) + (trials - counts) * math.log1p(-rate)
    result: NDArray[np.float64] = _logs(trials) - _logs(counts) - _logs(trials - counts) + chance
    return result


def _fraction(a: NDArray[np.float64], b: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate the continued fraction from the front (Lentz, in the form of Thompson and Barnett, J. Comput. Phys. 64 (1986))."""
    upper = np.ones_like(x)
    lower = 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    value = lower.copy()
    for m in range(1, 1000 + 10 * math.isqrt(int(np.max(a + b)))):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            lower = 1.0 / _not_zero(1.0 + term * lower)
            upper = _not_zero(1.0 + term / upper)
            value = value * (upper * lower)
        if np.all(np.abs(upper * lower - 1.0) < 1e-14):
            break
    return value


def _not_zero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.abs(values) < _TINY, _TINY, values)


@functools.cache
def _table() -> NDArray[np.float64]:
    return np.array([math.lgamma(n + 1.0) for n in range(_SMALL)])


def _logs(numbers: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return log n! of whole numbers (N,)."""
    n = np.maximum(numbers, _SMALL).astype(np.float64)
    series = (n + 0.5) * np.log(n) - n + 0.5 * math.log(2 * math.pi) + (1 / 12 - (1 / 360 - 1 / (1260 * n * n)) / (n * n)) / n
    return np.where(numbers < _SMALL, _table()[np.minimum(numbers, _SMALL - 1)], series)


def _log_factorial(number: int) -> Decimal:
    """Return log n! in the digits of the current context."""
    if number < _SMALL:
        return Decimal(math.factorial(number)).ln()
    n = Decimal(number)
    result = (n + Decimal("0.5")) * n.ln() - n + (2 * _PI).ln() / 2
    for j, (above, below) in enumerate(_STIRLING):
        result += Decimal(above) / below / n ** (2 * j + 1)
    return result
