"""What the weights of a model take in each format."""

from typing import Any

from rich.table import Table

_SHOWN = ("csc", "cser", "index_map", "ham", "sham", "gaps")


def storage_table(model: Any) -> Table:
    """A row a matrix: its bytes, the entropy of order zero, each format, and the bound of the last one.

    Args:
        model: a Keras model; of its variables those with two axes or more are matrices.
    """
    import keras

    from tf_structprune.storage import FORMATS, as_matrix, floor_bits

    names = [name.replace("_", " ") for name in _SHOWN]
    table = Table(title="Bytes of the weights, everything charged")
    for column in ("weights", "shape", "dense", "entropy", *names, "bound of gaps"):
        table.add_column(column, justify="left" if column in ("weights", "shape") else "right", overflow="fold")
    for variable in model.weights:
        if len(variable.shape) < 2 or not all(variable.shape):
            continue
        matrix = as_matrix(keras.ops.convert_to_numpy(variable))
        stored = [FORMATS[name].encode(matrix) for name in _SHOWN]
        bits = [8 * matrix.nbytes, floor_bits(matrix), *(each.size_bits for each in stored), stored[-1].bound_bits]
        shape = "x".join(map(str, variable.shape))
        table.add_row(variable.path, shape, *(f"{each / 8:,.0f}" for each in bits))
    return table
