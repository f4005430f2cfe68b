"""One run at a time on a phone: two at once would slow each other down, and share the files that lie there."""

import contextlib
import getpass
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from absl import logging
from filelock import FileLock, Timeout


@contextlib.contextmanager
def alone_on(serial: str) -> Iterator[None]:
    """Within the block no other process of this user measures a phone; where one does, its end is waited for.

    Args:
        serial: of the phone.
    """
    name = hashlib.sha256(f"{getpass.getuser()} {serial}".encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir(), f"tf_structprune_phone_{name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logging.warning("Phone '%s' is measured by another process: waiting for its end.", serial)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
