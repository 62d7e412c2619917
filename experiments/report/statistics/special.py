"""Special functions: scipy's, and values of them that were kept, for which scipy need not be imported.

A value that is kept is the one that scipy gave for the same arguments, to the last bit. Whoever keeps values, keeps
them for the version of scipy that gave them.
"""

from __future__ import annotations

from collections.abc import Mapping

_values: dict[str, float] = {}  # by the function and its arguments, as they are written
_is_keeping = False


def keep_values() -> None:
    """Keep the values that are worked out from now on: for a command, which asks for a few hundred of them."""
    global _is_keeping
    _is_keeping = True


def kept_values() -> dict[str, str]:
    """Return all values that are kept, in a form that JSON keeps exactly, infinities and NaN included."""
    return {call: repr(value) for call, value in _values.items()}


def know(kept: Mapping[str, str]) -> None:
    """Take in values that `kept_values` gave, in this process or another one.

    Raises:
        ValueError: one is no number; then none is taken in.
    """
    _values.update({call: float(value) for call, value in kept.items()})


def stdtr(df: float, t: float) -> float:
    """Return P(T <= t) of Student's t distribution."""
    return _value("stdtr", df, t)


def stdtrit(df: float, probability: float) -> float:
    """Return the quantile of Student's t distribution."""
    return _value("stdtrit", df, probability)


def nctdtr(df: float, shift: float, t: float) -> float:
    """Return P(T <= t) of the noncentral t distribution."""
    return _value("nctdtr", df, shift, t)


def ndtri(probability: float) -> float:
    """Return the quantile of the normal distribution."""
    return _value("ndtri", probability)


def betaincinv(a: float, b: float, probability: float) -> float:
    """Return the quantile of the beta distribution."""
    return _value("betaincinv", a, b, probability)


def bdtr(num_successes: float, num_trials: int, share: float) -> float:
    """Return P(X <= number of successes) of the binomial distribution."""
    return _value("bdtr", num_successes, num_trials, share)


def _value(name: str, *args: float) -> float:
    call = f"{name}{args!r}"
    if call in _values:
        return _values[call]
    from scipy import special

    value = float(getattr(special, name)(*args))
    if _is_keeping:
        _values[call] = value
    return value
