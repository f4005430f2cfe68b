"""A file that appears whole or not at all."""

import os
import secrets
from pathlib import Path


def write_whole(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> Path:
    """Writes a file under another name beside its place, and then puts it there.

    Args:
        path: where.
        data: what.
        overwrite: replace a file that is there.

    Returns:
        The path.

    Raises:
        FileExistsError: there is a file, or a directory.
        OSError: it cannot be written.
    """
    target = Path(path)
    if target.is_dir() or (target.exists() and not overwrite):
        raise FileExistsError(f"{target} exists. Received: overwrite={overwrite}. Use another name, or overwrite it.")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target
