"""A name that is not there: told with those that come near it."""

import difflib
from collections.abc import Sequence

from pipeline.errors import UserError

#: How many names a hint lists when none comes near.
LISTED = 12
#: Likeness (difflib's ratio) from which a name counts as near: one letter left out, two swapped.
_LIKE = 0.6


def near(name: str, have: Sequence[str]) -> list[str]:
    """Up to three of ``have``, the nearest first: likeness of the whole, then what holds ``name`` or is held by it."""
    lower = {entry.lower(): entry for entry in reversed(have)}
    found = [lower[entry] for entry in difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=_LIKE)]
    part = name.lower().strip("*")
    found += [entry for low, entry in lower.items() if len(part) > 2 and (part in low or low in part)]
    return list(dict.fromkeys(found))[:3]


def hint(name: str, have: Sequence[str], *, kind: str) -> str:
    """``did you mean: v2?``, else ``kernels: baseline, v2, merged``."""
    close = near(name, have)
    if close:
        return f"did you mean: {', '.join(close)}?"
    more = f", and {len(have) - LISTED} more" if len(have) > LISTED else ""
    many = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    return f"{many}: {', '.join(have[:LISTED]) or 'none'}{more}"


def unknown(kind: str, name: str, have: Sequence[str], *, where: str = "") -> UserError:
    """The error for a name that is none of ``have``; ``where``: what was searched, e.g. ``the study``."""
    return UserError(
        f"{where or 'there is'}{' has' if where else ''} no {kind} {name!r}", hint=hint(name, have, kind=kind)
    )
