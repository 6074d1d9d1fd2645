"""Write JSON with exact decimals.

`json.dumps` can only write a Decimal as a float or as a string; Metronome sends plain numbers, and
a client that keeps them exact must be able to show that it does.
"""

from decimal import Decimal
from json.encoder import encode_basestring as quoted
from typing import Any

_keys: dict[str, str] = {}


def dumps(value: Any) -> str:
    """Return the JSON text of dicts, lists, strings, Decimals, ints, bools and None."""
    kind = type(value)
    if kind is str:
        return str(quoted(value))
    if kind is Decimal:
        return format(value, "f")
    if value is None:
        return "null"
    if kind is dict:
        return "{" + ",".join([_key(key) + dumps(item) for key, item in value.items()]) + "}"
    if kind is bool:
        return "true" if value else "false"
    if kind in (int, float):  # floats only in documents that were added by hand
        return repr(value)
    if kind in (list, tuple):
        return "[" + ",".join([dumps(item) for item in value]) + "]"
    raise TypeError(f"{kind.__name__} does not go over the wire")


def _key(key: str) -> str:
    text = _keys.get(key)
    if text is None:
        text = quoted(key) + ":"
        if len(_keys) < 1_000:  # field names repeat, custom field keys need not
            _keys[key] = text
    return text
