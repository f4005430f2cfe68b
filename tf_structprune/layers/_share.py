"""A model whose kernels are made of a few shared values, and the plain model of it."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.fixed_point import SharedValues, check_sharing, share_values
from tf_structprune.graph import TransparentWrapper, inner_layer, kernel_variable, named_layers, rule_for
from tf_structprune.layers._clone import clone
from tf_structprune.layers._copy import copy_layer
from tf_structprune.layers._shared_layer import SharedBook, SharedLayer
from tf_structprune.layers._weights import assign_weights

Across = Literal["kind", "layer", "model"]
_ACROSS = ("kind", "layer", "model")


def share(
    model: keras.Model,
    values: int | Mapping[str, int] = 16,
    *,
    method: str = "ecsq",
    across: Across = "kind",
    keep: Sequence[str] = (),
    seed: int = 0,
) -> keras.Model:
    """A copy of a model in whose kernels weights share a few values, which `fit` goes on to train.

    Weights that are zero, pruned ones, stay zero and count in no group. What is stored of such a model is small:
    see `storage.save` of what `unshare` gives. Biases and normalizations are as they were.

    Args:
        model: a built Sequential or functional model, plain: `unwrap` or `shrink` a masked one first; not changed.
        values: largest number of values of a book; or by kind ("convolution", "dense") or by layer's name or pattern.
        method: "cws", "pws", "uq" or "ecsq", see `fixed_point.share_values`.
        across: who shares a book: "kind", all convolutions one and all dense layers another; "layer", nobody;
            "model", all.
        keep: names or patterns (`fnmatch`) of layers that keep their weights.
        seed: of "pws".

    Raises:
        TypeError: not a Keras model.
        ValueError: a model that is masked, in fixed point or shared already, or without kernels; a number of values
            below 2 or above that of the weights, an unknown method, scope or name.
    """
    _check_model(model)
    layers = _shareable(model, keep)
    books = _books(layers, values, across)
    shared: dict[str, tuple[SharedBook, NDArray[np.int64], SharedValues]] = {}
    for names, count in books:
        check_sharing(count, method)
        kernels = [keras.ops.convert_to_numpy(kernel_variable(layers[name])) for name in names]
        found = share_values(_nonzero(names, kernels, count), count, method, seed=seed)
        book = SharedBook(len(found.book), name=f"book_{names[0].replace('/', '-')}")
        for name, index in zip(names, _indices(kernels, found), strict=True):
            shared[name] = book, index, found

    def made(name: str, layer: Any) -> Any:
        copy = copy_layer(layer)
        return SharedLayer(copy, book=shared[name][0]) if name in shared else copy

    result = clone(model, made)
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        assign_weights(new[name], inner_layer(layer).get_weights())
        if name in shared:
            new[name].take(shared[name][1])
            shared[name][0].values.assign(shared[name][2].book)
    return result


def unshare(model: keras.Model, *, biases: int | None = None) -> keras.Model:
    """The plain model of one from `share`, with its shared values as they are now in the kernels.

    Args:
        model: from `share`; not changed.
        biases: number of values that the biases of its layers share too, all together, each bias taking the nearest
            (`cws`); None leaves them. In a network of a few thousand weights they would be a fifth of the file.

    Raises:
        TypeError: not a Keras model.
        ValueError: a model without shared values, or fewer than 2 values for the biases, or more than there are.
    """
    _check_model(model)
    if not is_shared(model):
        raise ValueError(f"Model '{model.name}' shares no values. Received: a plain model. Use share(model) first.")
    result = clone(model, lambda _, layer: copy_layer(layer.layer if isinstance(layer, SharedLayer) else layer))
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        assign_weights(new[name], inner_layer(layer).get_weights())
        if isinstance(layer, SharedLayer):
            kernel_variable(new[name]).assign(layer.effective_kernel())
    if biases is not None:
        shared = [new[name] for name, layer in named_layers(model).items() if isinstance(layer, SharedLayer)]
        _share_biases([layer.bias for layer in shared if getattr(layer, "bias", None) is not None], biases)
    return result


def _share_biases(variables: Sequence[Any], count: int) -> None:
    values = [np.asarray(keras.ops.convert_to_numpy(each), np.float64) for each in variables]
    joined = np.concatenate([np.zeros(0), *values])
    check_sharing(count, "cws")
    if count > len(joined):
        raise ValueError(f"More shared values than biases. Received: biases={count} for {len(joined)}. Use fewer.")
    found = share_values(joined, count, "cws")
    parts = np.split(found.book[found.index], np.cumsum([len(each) for each in values])[:-1])
    for variable, part in zip(variables, parts, strict=True):
        variable.assign(part)


def is_shared(model: keras.Model) -> bool:
    """Whether kernels of a model are made of shared values."""
    return any(isinstance(layer, SharedLayer) for layer in named_layers(model).values())


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"model must be a keras.Model. Received: {type(model).__name__}. Load a file with keras.models.load_model "
            "first."
        )


def _shareable(model: keras.Model, keep: Sequence[str]) -> dict[str, Any]:
    """The layers with kernels, by path."""
    layers = named_layers(model)
    for name, layer in layers.items():
        if isinstance(layer, TransparentWrapper):
            raise ValueError(
                f"Layer '{name}' is masked, quantized or shared already. Received: {type(layer).__name__}. Give share "
                "a plain model, as shrink, unwrap or unshare return it."
            )
    weighted = {name: layer for name, layer in layers.items() if _has_kernel(layer)}
    for pattern in keep:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in weighted):
            raise ValueError(f"No layer has that name. Received: keep={pattern!r}. Use one of: {', '.join(weighted)}.")
    found = {n: layer for n, layer in weighted.items() if not any(fnmatch.fnmatchcase(n, each) for each in keep)}
    if not found:
        raise ValueError(f"Model '{model.name}' has no kernels to share values in. Received: keep={tuple(keep)}.")
    return found


def _has_kernel(layer: Any) -> bool:
    rule = rule_for(layer)
    return rule is not None and bool(rule.kernel) and layer.built and bool(layer.weights)


def _books(layers: Mapping[str, Any], values: int | Mapping[str, int], across: Across) -> list[tuple[list[str], int]]:
    """Which layers share a book, and how many values it has."""
    if across not in _ACROSS:
        raise ValueError(f"Unknown scope of sharing. Received: across={across!r}. Use one of: {', '.join(_ACROSS)}.")
    kinds = {
        name: "dense" if isinstance(layer, keras.layers.Dense) else "convolution" for name, layer in layers.items()
    }
    if isinstance(values, Mapping):
        _check_named(values, kinds)
    groups: dict[tuple[str, int], list[str]] = {}
    for name, kind in kinds.items():
        count = _count_for(name, kind, values) if isinstance(values, Mapping) else values
        groups.setdefault((_scope(name, kind, across), count), []).append(name)
    return [(names, count) for (_, count), names in groups.items()]


def _scope(name: str, kind: str, across: Across) -> str:
    return {"kind": kind, "layer": name, "model": ""}[across]


def _count_for(name: str, kind: str, values: Mapping[str, int]) -> int:
    if name in values:
        return values[name]
    for pattern, count in values.items():
        if fnmatch.fnmatchcase(name, pattern):
            return count
    if kind in values:
        return values[kind]
    raise ValueError(
        f"Layer '{name}': no number of shared values. Received: values for {', '.join(values)}. Add it, or use "
        f"keep={name!r}."
    )


def _check_named(values: Mapping[str, int], kinds: Mapping[str, str]) -> None:
    for pattern in values:
        if pattern not in ("dense", "convolution") and not any(fnmatch.fnmatchcase(n, pattern) for n in kinds):
            raise ValueError(
                f"No layer has that name. Received: values[{pattern!r}]. Use 'dense', 'convolution' or one of: "
                f"{', '.join(kinds)}."
            )


def _nonzero(names: Sequence[str], kernels: Sequence[NDArray[Any]], count: int) -> NDArray[np.float64]:
    weights = np.concatenate([kernel[kernel != 0].ravel() for kernel in kernels]).astype(np.float64)
    if count > len(weights):
        raise ValueError(
            f"Layers {', '.join(names)}: more shared values than weights that are not zero. Received: {count} for "
            f"{len(weights)}. Use fewer, share across='kind', or keep them."
        )
    return weights


def _indices(kernels: Sequence[NDArray[Any]], found: SharedValues) -> list[NDArray[np.int64]]:
    """In the shape of each kernel: 0 for zero, i for the value i - 1."""
    left, parts = found.index + 1, []
    for kernel in kernels:
        index = np.zeros(kernel.shape, np.int64)
        size = int((kernel != 0).sum())
        index[kernel != 0], left = left[:size], left[size:]
        parts.append(index)
    return parts
