"""What a model file claims to hold, checked before memory is asked for."""

from typing import Any

import h5py

_FLOOR_BYTES = 2**28
_MOST_GROWTH = 100
_COUNTS = ("units", "filters", "depth_multiplier", "kernel_size", "input_dim", "output_dim", "num_heads", "key_dim")


def check_growth(declared_bytes: int, held_bytes: int) -> None:
    """Refuse a file that unpacks to so much more than it holds that it can only be damaged or a trap.

    Weights and images compress to a few tenths of their size. Deflate could pack zeros a thousandfold.

    Args:
        declared_bytes: what the file says that it unpacks to; up to 256 MiB is never refused.
        held_bytes: what is stored of that.

    Raises:
        ValueError: more than a hundred times as much.
    """
    if declared_bytes > max(_FLOOR_BYTES, _MOST_GROWTH * held_bytes):
        raise ValueError(
            f"it declares {declared_bytes:,} bytes and stores {held_bytes:,}, more than {_MOST_GROWTH} times as many"
        )


def check_datasets(file: h5py.File) -> int:
    """Refuse datasets that lie elsewhere, or that declare more than is stored of them; none of them is read.

    Returns:
        How many bytes all datasets have together.

    Raises:
        ValueError: links, data in other files, or sizes that cannot be.
    """
    waiting: list[h5py.Group] = [file]
    seen, declared, held = set[int](), 0, 0
    while waiting:
        group = waiting.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{group.name}/{name} is a link to something else")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise ValueError(f"{item.name} lies in another file")
                declared += int(item.size or 0) * item.dtype.itemsize
                held += item.id.get_storage_size()
    check_growth(declared, held)
    return declared


def check_counts(config: Any, stored_bytes: int) -> None:
    """Refuse a configuration with a layer of more units than the file has bytes for weights.

    Keras gives a layer its memory before it looks for the layer's weights.

    Args:
        config: of a model, as JSON has it.
        stored_bytes: of all weights.

    Raises:
        ValueError: such a layer.
    """
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            for name in _COUNTS:
                sizes = value.get(name)
                for size in sizes if isinstance(sizes, list) else [sizes]:
                    if isinstance(size, int | float) and size > stored_bytes:
                        raise ValueError(
                            f"it has a layer with {name}={size} and only {stored_bytes:,} bytes of weights"
                        )
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
