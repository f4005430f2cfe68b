"""The checksum behind tables and matrices."""

_FIRST, _FACTOR, _MASK = 2166136261, 16777619, 0xFFFFFFFF  # FNV-1a of 32 bits
CHECK_BYTES = 4


def checked(data: bytes) -> bytes:
    """Bytes with their checksum behind them; any other byte in one place gives another checksum."""
    return data + _hash(data).to_bytes(CHECK_BYTES, "little")


def unchecked(data: bytes, what: str) -> bytes:
    """The bytes in front of their checksum.

    Args:
        data: as `checked` gave them.
        what: how messages call it.

    Raises:
        ValueError: other bytes.
    """
    body = data[:-CHECK_BYTES]
    if len(data) < CHECK_BYTES or checked(body) != data:
        raise ValueError(damaged(what, f"{len(data)} bytes whose checksum is wrong"))
    return body


def damaged(what: str, received: str) -> str:
    """The message about bytes that nothing of ours wrote."""
    return f"{what} is damaged. Received: {received}. Export the model again."


def _hash(data: bytes) -> int:
    value = _FIRST
    for byte in data:
        value = (value ^ byte) * _FACTOR & _MASK
    return value
