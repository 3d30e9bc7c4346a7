"""Exponentials and logarithms that the compiler can vectorise.

LLVM turns a loop over ``math.exp`` into one library call a number. The function here is plain arithmetic, so a loop
over it becomes vector instructions, several numbers at a time.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_LOG2_E = 1.4426950408889634
# ln 2 in two parts, so that x - k ln 2 keeps its last bits (Cody and Waite 1980)
_LN2_HIGH = 6.93145751953125e-1
_LN2_LOW = 1.42860682030941723212e-6
# Adding 1.5 * 2^52 rounds to the nearest integer and leaves it in the low bits of the mantissa.
_ROUND = 6755399441055744.0
_SMALLEST = -708.0  # exp(-708) is the last normal double; responsibilities below it are nothing


@intrinsic
def _bits(typingctx: Any, number: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def _double(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@njit(inline="never", cache=True, fastmath={"contract"})
def exp_nonpositive(x: float) -> float:
    """Exponential of a number that is not above zero, to about one unit in the last place.

    Numbers below -708 are taken as -708: their exponential, 3e-308, is nothing beside the 1 of the likeliest
    component. A Taylor polynomial of degree 12 on ``|r| <= ln(2)/2`` leaves an error below 2e-16.
    """
    x = max(x, _SMALLEST)
    shifted = x * _LOG2_E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 1.984126984126984e-04
    p = p * r + 1.388888888888889e-03
    p = p * r + 8.333333333333333e-03
    p = p * r + 4.1666666666666664e-02
    p = p * r + 1.6666666666666666e-01
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * _double((_bits(shifted) << 52) + (1023 << 52))


_MANTISSA = 0x000FFFFFFFFFFFFF
_ONE = 0x3FF0000000000000
_TWO_52 = 0x4330000000000000  # the bits of 2^52: a small whole number put into its low bits becomes 2^52 + that number
_SQRT2 = 1.4142135623730951
_LN2 = 0.6931471805599453


@njit(inline="never", cache=True, fastmath={"contract"})
def log_normal(x: float) -> float:
    """Logarithm of a positive normal number, to a few units in the last place.

    With ``x = m 2^e`` and ``m`` between sqrt(1/2) and sqrt(2), ``log m = 2 atanh(s)`` with ``s = (m - 1)/(m + 1)``
    below 0.172, whose odd series is cut where it is below 1e-17.
    """
    bits = _bits(x)
    exponent = _double((bits >> 52) | _TWO_52) - (4503599627370496.0 + 1023.0)
    m = _double((bits & _MANTISSA) | _ONE)
    high = m > _SQRT2
    m = 0.5 * m if high else m
    exponent = exponent + 1.0 if high else exponent
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.0 / 21.0
    p = p * z + 1.0 / 19.0
    p = p * z + 1.0 / 17.0
    p = p * z + 1.0 / 15.0
    p = p * z + 1.0 / 13.0
    p = p * z + 1.0 / 11.0
    p = p * z + 1.0 / 9.0
    p = p * z + 1.0 / 7.0
    p = p * z + 1.0 / 5.0
    p = p * z + 1.0 / 3.0
    p = p * z + 1.0
    return exponent * _LN2 + 2.0 * s * p


@njit(cache=True)
def digamma(x: float) -> float:
    """Derivative of the log gamma function at a positive number, to about ten units in the last place.

    The recurrence carries ``x`` above 8, where nine terms of the asymptotic series (Abramowitz and Stegun 1964, 6.3.18)
    are exact to rounding.
    """
    below = 0.0
    while x < 8.0:
        below -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (
        1.0 / 12.0
        - z
        * (
            1.0 / 120.0
            - z
            * (
                1.0 / 252.0
                - z * (1.0 / 240.0 - z * (1.0 / 132.0 - z * (691.0 / 32760.0 - z * (1.0 / 12.0 - z * 3617.0 / 8160.0))))
            )
        )
    )
    return below + math.log(x) - 0.5 / x - series


_STIRLING = 1e3  # argument from which two terms of Stirling's series are exact to rounding


@njit(cache=True)
def log_gamma_ratio(x: float, more: float) -> float:
    """``log(Gamma(x + more) / Gamma(x))``; of a large ``x`` without the digits that two large logarithms lose."""
    if x < _STIRLING:
        return math.lgamma(x + more) - math.lgamma(x)
    y = x + more
    series = (1.0 / y - 1.0 / x) / 12.0 - (1.0 / y**3 - 1.0 / x**3) / 360.0
    return (y - 0.5) * math.log1p(more / x) - more + more * math.log(x) + series
