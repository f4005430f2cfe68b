"""Frozen dataclasses as plain JSON values and back, by their type hints."""

import contextlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")
_NO_NAMES: Mapping[str, str] = types.MappingProxyType({})
_LARGEST = 2**63  # what counts and sizes fit in; Python reads larger ones, NumPy and matplotlib do not
_MOST_TOLD = 100  # characters of a value; what is wrong may be a whole file


@contextlib.contextmanager
def reading(told: str, cls: type, advice: str = "") -> Iterator[None]:
    """Within the block, a text that is not what `cls.to_json` writes is one ValueError that says so.

    Args:
        told: what it should be, in words.
        cls: the class that writes it.
        advice: what else mends it, a sentence.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"That is no {told}. Received: {type(error).__name__}: {str(error).rstrip('.')}. "
            f"Write it with {cls.__name__}.to_json.{advice and ' '}{advice}"
        ) from error


def same_value(one: Any, other: Any) -> bool:
    """Whether two values say the same; what is not a number says the same as itself."""
    return bool(one == other or (one != one and other != other))


def to_plain(value: Any, names: Mapping[str, str] = _NO_NAMES) -> Any:
    """Nested dictionaries, lists, texts, numbers and None, ready for `json.dumps`.

    Args:
        value: a dataclass, whose fields are written under their names, or under the `key` of their metadata, in
            which `{word}` is replaced; or mappings, sequences and plain values.
        names: by word, what it is replaced with.
    """
    if is_dataclass(value):
        return {_key(field, names): to_plain(getattr(value, field.name), names) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(entry, names) for key, entry in value.items()}
    return [to_plain(entry, names) for entry in value] if isinstance(value, list | tuple) else value


def from_plain(cls: type[_T], value: Any, names: Mapping[str, str] = _NO_NAMES) -> _T:
    """The dataclass that `to_plain` wrote.

    Fields without a place in the constructor are derived: they are read too, and must say the same. What the
    constructor refuses is told with its place.

    Args:
        cls: its class.
        value: what was written, with all fields and no others.
        names: as for `to_plain`.

    Raises:
        ValueError: another value; the message says where.
    """
    made: _T = _read(cls, value, names, cls.__name__)
    return made


def _key(field: Field[Any], names: Mapping[str, str]) -> str:
    return str(field.metadata.get("key", field.name)).format(**names)


def _read(hint: Any, value: Any, names: Mapping[str, str], where: str) -> Any:
    """The value of a type hint."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        for part in parts:
            with contextlib.suppress(ValueError):
                return _read(part, value, names, where)
        nested = [part for part in parts if is_dataclass(part)]
        return _read(nested[0] if nested and isinstance(value, dict) else parts[0], value, names, where)
    if is_dataclass(kind) and isinstance(value, dict):
        return _read_fields(kind, value, names, where)
    if kind is tuple and isinstance(value, list):
        return tuple(_read(parts[0], entry, names, f"{where}[{index}]") for index, entry in enumerate(value))
    if kind in (dict, Mapping) and isinstance(value, dict):
        keys = {key: f"{where}[{_told(key)}]" for key in value}
        return {_checked(key, place): _read(parts[1], value[key], names, place) for key, place in keys.items()}
    if value in parts if kind is Literal else type(value) in ((int, float) if kind is float else (kind,)):
        return _checked(value, where)
    raise ValueError(f"{where} must be {getattr(hint, '__name__', hint)}. Received: {_told(value)}.")


def _checked(value: Any, where: str) -> Any:
    """A plain value, if it can be counted with and written."""
    if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
        raise ValueError(f"{where} must be a number of 64 bits. Received: {_told(value)}.")
    if isinstance(value, str) and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ValueError(f"{where} must be text in Unicode. Received: {_told(value)}.")
    return value


def _told(value: Any) -> str:
    """A value in a message, cut where it is long."""
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]} and more"


def _read_fields(cls: Any, value: dict[str, Any], names: Mapping[str, str], where: str) -> Any:
    known, hints = {_key(field, names): field for field in fields(cls)}, get_type_hints(cls)
    if value.keys() != known.keys():
        others = (value.keys() - known.keys(), known.keys() - value.keys())
        unknown, missing = (_cut(", ".join(sorted(some))) or "none" for some in others)
        raise ValueError(f"{where} has other fields. Received: unknown: {unknown}; missing: {missing}.")
    read = {field.name: _read(hints[field.name], value[key], names, f"{where}.{key}") for key, field in known.items()}
    try:
        made = cls(**{field.name: read[field.name] for field in fields(cls) if field.init})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for name in (field.name for field in fields(cls) if not field.init):
        if not same_value(getattr(made, name), read[name]):
            raise ValueError(f"{where}.{name} must be {getattr(made, name)!r}. Received: {_told(read[name])}.")
    return made
