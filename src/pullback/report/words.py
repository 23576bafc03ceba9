"""How the report says numbers: few digits, thin spaces, and a dash for what is absent."""

from __future__ import annotations

import math
from collections.abc import Iterable

THIN = "\N{NARROW NO-BREAK SPACE}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None) -> str:
    """Say a number in a sentence, with three significant digits.

    >>> number(0.123456), number(360.0), number(3.2e-10), number(float("nan")), number(None)
    ('0.123', '360', '3.2×10⁻¹⁰', 'nan', '–')
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e9:
        return count(int(value))
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}×{power_of_ten(int(exponent))}"


def cell(value: float | None, digits: int = 4) -> str:
    """Write a number in a table, as other programs read it.

    >>> cell(0.123456), cell(3.2e-10), cell(1e-7), cell(19210.0), cell(None)
    ('0.1235', '3.2e-10', '1e-07', '19210', '–')
    """
    if value is None:
        return "–"
    whole = abs(value) < 1e9 and value == int(value)
    return f"{value:.0f}" if whole else f"{value:.{digits}g}"


def count(value: int) -> str:
    """Say a whole number, in groups of three.

    >>> count(1572864).replace(THIN, "_")
    '1_572_864'
    """
    return f"{value:,}".replace(",", THIN)


def plural(value: int, noun: str) -> str:
    """Say how many.

    >>> plural(1, "class"), plural(3, "class"), plural(2, "layer")
    ('1 class', '3 classes', '2 layers')
    """
    ending = "" if value == 1 else "es" if noun.endswith("s") else "s"
    return f"{count(value)} {noun}{ending}"


def ordinal(value: int) -> str:
    """Say a place in an order.

    >>> [ordinal(n) for n in (2, 3, 11, 21)]
    ['2nd', '3rd', '11th', '21st']
    """
    ending = {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{'th' if 10 < value % 100 < 20 else ending}"


def percent(share: float | None) -> str:
    """Say a share of one.

    >>> percent(0.98125).replace(THIN, "_"), percent(None)
    ('98.1_%', '–')
    """
    if share is None:
        return "–"
    return f"{100 * share:.1f}{THIN}%" if math.isfinite(share) else str(share)


def memory(size: int | None) -> str:
    """Say a number of bytes in decimal units.

    >>> memory(512).replace(THIN, "_"), memory(1568000).replace(THIN, "_")
    ('512_B', '1.57_MB')
    """
    if size is None:
        return "–"
    power = min(int(math.log10(max(size, 1)) / 3), 4)
    unit = ("B", "kB", "MB", "GB", "TB")[power]
    return f"{size / 1000**power:.3g}{THIN}{unit}"


def duration(seconds: float | None) -> str:
    """Say how long something took.

    >>> [duration(s).replace(THIN, "_") for s in (0.0123, 7.26, 125.0, 7384.0)]
    ['12_ms', '7.3_s', '2_min_5_s', '2_h_3_min']
    """
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.0f}{THIN}ms"
    if seconds < 60:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min{THIN}{rest}{THIN}s"
    return f"{minutes // 60}{THIN}h{THIN}{minutes % 60}{THIN}min"


def power_of_ten(exponent: int) -> str:
    """Write a power of ten in plain characters, so that no mathematics has to be typeset.

    >>> power_of_ten(-7)
    '10⁻⁷'
    """
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def shape(sizes: Iterable[int]) -> str:
    """Say the shape of one example.

    >>> shape([28, 28, 1]), shape([])
    ('28 × 28 × 1', 'scalar')
    """
    return " × ".join(str(size) for size in sizes) or "scalar"


def short(text: object, limit: int = 24) -> str:
    r"""Make a name of the user's fit for one line of a figure: printable, and not too long.

    >>> short("Iris-\nsetosa"), short("a" * 30, limit=8)
    ('Iris-�setosa', 'aaaaaaa…')
    """
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
