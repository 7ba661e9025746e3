"""Figures as every form of the report writes them. Plain ASCII."""

#: What stands where nothing was counted.
MISSING = "-"


def total(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def small(value: float | None) -> str:
    """A count a page or a folio: one decimal from 10 on, three significant digits below."""
    if value is None:
        return MISSING
    if value == 0 or abs(value) >= 10:
        return f"{value:,.1f}" if value else "0"
    return f"{value:.3g}"


def percent(change: float | None) -> str:
    """-0.978 as ``-97.8%``; what is less than a tenth of that is ``0.0%``, without a sign."""
    if change is None:
        return MISSING
    text = f"{100 * change:+,.1f}%" if abs(change) < 10 else f"{100 * change:+,.0f}%"
    return text.lstrip("+-") if text in ("+0.0%", "-0.0%") else text


def times(ratio: float | None) -> str:
    """How many times less: three significant digits."""
    if ratio is None:
        return MISSING
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:,.0f}"


def power(exponent: float | None) -> str:
    return MISSING if exponent is None else f"{exponent + 0:.2f}".replace("-0.00", "0.00")
