"""What JSON says, when two values of it are the same, and when two numbers are near."""

import decimal
import json
from decimal import Decimal
from typing import NoReturn

from optimizer.digest import canonical


def parsed(text: str | None) -> object:
    """Return the JSON value that a text is.

    Raises:
        ValueError: When it is none: also NaN, infinities, and brackets nested without end.
    """
    if text is None:
        raise ValueError("expected JSON, found no answer")
    try:
        value = json.loads(text, parse_constant=_refused)
    except RecursionError:
        raise ValueError("expected JSON, found brackets nested without end") from None
    canonical(value)  # `1e999` is read as an infinity
    return value


def _refused(name: str) -> NoReturn:
    raise ValueError(f"expected JSON, found {name}")


def same(found: object, wanted: object) -> bool:
    """Return whether two JSON values are the same; `1` and `1.0` are one number, `1` and `true` are not the same."""
    return identity(found) == identity(wanted)


def identity(value: object) -> str:
    """Return the text that all values that are the same have in common, and no other."""
    return canonical(_plain(value))


def _plain(value: object) -> object:
    """Return a value whose whole numbers are all written without a point."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def near(found: str, wanted: str, *, absolute: float = 0.0, relative: float = 0.0) -> bool:
    """Return whether two decimal numbers differ by no more than one of the tolerances allows.

    They are compared as they are written: 1.1 is within 0.1 of 1, which the nearest floats are not.

    Args:
        relative: In parts of the wanted number.
    """
    # With as many digits as any two floats can differ in.
    with decimal.localcontext(prec=800):
        target = Decimal(wanted)
        allowed = max(Decimal(str(absolute)), Decimal(str(relative)) * abs(target))
        return abs(Decimal(found) - target) <= allowed


def tolerance_problem(**tolerances: float) -> str | None:
    """Return what is wrong with tolerances, or None."""
    for name, value in tolerances.items():
        if not 0 <= value < float("inf"):
            return f"{name}: expected a finite number of at least 0, found {value:g}"
    return None
