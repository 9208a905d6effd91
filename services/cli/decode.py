"""Any record of any topic as plain values: edge records decoded, inner records with their bytes as arrays."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np

from services.contracts import topics
from services.contracts.edge import Registry, codec_for
from services.contracts.inner import extraction_state, weights
from services.model.config import ModelConfig
from services.model.layout import RowKind, blocks

Show = Callable[[bytes, bytes], Any]
"""`show(key, value) -> plain values`; raises ValueError for a record that is not what the topic carries."""

_DTYPES = {
    "user-state": {"s": "<u8", "at": "<u8", "h": "<u8", "ht": "<u4", "c": "<u4"},
    "item-deltas": {"h": "<u8", "i": "<u4", "n": "<u8"},
    "extraction-state": {"h": "<u8"},
}
"""Fields of inner records that are not float32: the rest of the bytes are, by the contract of the inner topics."""
_ENTRY = np.dtype([("event", "<u8"), ("time_s", "<u4"), ("offset", "<u4")])
_KINDS: tuple[RowKind, ...] = ("item", "feature", "system", "context")
_BLOCKS = {block.name: block for kind in _KINDS for block in blocks(ModelConfig(), kind)}


def value_decoder(topic: str, registry: Registry | None = None, prefix: str = "") -> Show:
    """How the values of a topic are shown, by its logical name."""
    line = topics.topic(topic)
    if line.format == "edge":
        codec = codec_for(topic, registry, prefix)
        if topic == "items":
            # Control records share the topic under reserved keys.
            return lambda key, value: weights.decode(value) if key == weights.WEIGHTS_KEY else codec.decode(value)
        return lambda _key, value: codec.decode(value)
    if line.format == "inner":
        dtypes = _DTYPES.get(topic, {})
        return lambda key, value: _plain(_unpack(value), dtypes, _is_window(topic, key), ())
    return lambda _key, value: readable(value)


def show_key(key: bytes | None) -> Any:
    """A key for people: reserved parts after a NUL are shown in hexadecimal."""
    if key is None:
        return None
    name, mark, rest = key.partition(b"\x00")
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return readable(key)
    if not mark:
        return text
    if rest.isascii() and rest.decode().isprintable():
        return f"{text}\\0{rest.decode()}"
    # A letter says what the record is, the rest is a number or an offset.
    return f"{text}\\0{rest[:1].decode('latin-1')} {rest[1:].hex(' ')}"


def readable(value: bytes) -> Any:
    """Bytes as text where they are text, in base64 where they are not."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _is_window(topic: str, key: bytes) -> bool:
    return topic == "extraction-state" and extraction_state.split_key(key)[1] in ("row", "window")


def _unpack(value: bytes) -> Any:
    try:
        return msgpack.unpackb(value)
    except Exception as error:  # msgpack raises ValueError subclasses and its own exceptions alike
        raise ValueError(f"not msgpack ({error})") from error


def _plain(value: Any, dtypes: dict[str, str], window: bool, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry, dtypes, window, (*path, str(key))) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry, dtypes, window, path) for entry in value]
    if not isinstance(value, bytes):
        return value
    if window and path == ("d",):
        return _structured(value, _ENTRY)
    return _array(value, dtypes, path)


def _array(value: bytes, dtypes: dict[str, str], path: tuple[str, ...]) -> Any:
    name = path[-1]
    # ("b", block) in a row of item-state, ("blocks", block, "d") in item-deltas.
    block = _BLOCKS.get(path[1]) if len(path) > 1 and path[0] in ("b", "blocks") else None
    if block is not None and block.kind == "pairs" and path[0] == "b":
        counts = np.dtype([("neighbour", "<u8"), ("counts", "<f4", (block.width,))])
        head = 4 * (1 + block.width)
        return {
            "anchor": _numbers(value[:4], "<f4"),
            "sums": _numbers(value[4:head], "<f4"),
            "pairs": _structured(value[head:], counts),
        }
    if block is not None and block.kind == "replace" and name in (block.name, "d"):
        return _numbers(value, "<u4")
    return _numbers(value, dtypes.get(name, "<f4"))


def _structured(value: bytes, dtype: np.dtype[Any]) -> Any:
    if len(value) % dtype.itemsize:
        return readable(value)
    return [dict(zip(dtype.names or (), _listed(entry), strict=True)) for entry in np.frombuffer(value, dtype)]


def _listed(entry: Any) -> list[Any]:
    return [_rounded(each.tolist()) if isinstance(each, np.ndarray) else each for each in entry.item()]


def _numbers(value: bytes, kind: str) -> Any:
    dtype = np.dtype(kind)
    return readable(value) if len(value) % dtype.itemsize else _rounded(np.frombuffer(value, dtype).tolist())


def _rounded(numbers: list[Any]) -> list[Any]:
    # float32 in as many digits as tell it apart, not the seventeen of its double.
    return [float(f"{each:.7g}") if isinstance(each, float) else each for each in numbers]
