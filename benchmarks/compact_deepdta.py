"""DeepDTA in a few per cent of its bytes: dense layers pruned by single weights, all layers' values shared, packed.

    python ../shared/data/load.py davis davis.npz
    python -m benchmarks.train_deepdta --data davis.npz --out deepdta_davis.keras
    python -m benchmarks.compact_deepdta --model deepdta_davis.keras --data davis.npz --out DIR --sparsities 95,97

The convolutions keep a few values (ECSQ, found and not trained); what they make of each drug and protein is computed
once, and the dense layers behind are pruned, retrained and shared on that. The size is what `.sham` archives take: one
of the dense layers alone, one of the whole network; the error is that of the network that comes out of the latter.
Every sparsity is a row with its test error at the last epoch; the row that validation chooses is the sparsest whose
validation error is at most that of the dense network. Networks that are there are kept, so that an interrupted call
goes on.
"""

import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from benchmarks.train_deepdta import Branch, Head
from tf_structprune.masks import Weight
from tf_structprune.schedule import Gradual
from tf_structprune.search import Magnitude
from tf_structprune.shrink import shrink

FLAGS = flags.FLAGS
if "model" not in FLAGS:
    flags.DEFINE_string("model", None, "The trained network.", required=True)
flags.DEFINE_list("sparsities", ["95", "97", "98", "98.5", "99"], "Per cent of the dense layers' weights that go.")
flags.DEFINE_integer("values", 16, "Shared values of the dense layers.")
flags.DEFINE_integer("convolution_values", 128, "Shared values of each convolution.")
flags.DEFINE_integer("prune_epochs", 30, "Epochs in which it is pruned, in the first two thirds, and retrained.")
flags.DEFINE_float("rate", 3e-4, "Learning rate of pruning at its start; a third of it trains shared values.")
flags.DEFINE_integer("share_epochs", 10, "Epochs in which shared values are trained.")
flags.DEFINE_string("results", "", "Table without suffix; empty for none.")

BATCH, SPLITS = 256, ("train", "val", "test")
Data = dict[str, np.ndarray]


def fit(model: keras.Model, data: Data, epochs: int, rate: float, callbacks: tuple[Any, ...] = ()) -> None:
    """Adam, its rate falling as a cosine to zero."""
    steps = epochs * -(-len(data["x_train"]) // BATCH)
    rates = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(rates), "mse", jit_compile=False)
    model.fit(data["x_train"], data["y_train"], batch_size=BATCH, epochs=epochs, verbose=0, callbacks=list(callbacks))


def shared_convolutions(dense: keras.Model) -> keras.Model:
    """The network with few values in each convolution."""
    kept = [layer.name for layer in dense.layers if isinstance(layer, keras.layers.Dense)]
    return sp.unshare(sp.share(dense, FLAGS.convolution_values, keep=kept, across="layer"))


def features(model: keras.Model, data: Data) -> Data:
    """What the convolutions make of each pair, (pairs, 192), each drug and protein computed once; and the targets."""
    columns = []
    for index, name in enumerate(("drug", "protein")):
        rows = np.concatenate([data[f"x_{split}_{index}"] for split in SPLITS])
        unique, of = np.unique(rows, axis=0, return_inverse=True)
        branch = keras.Model(model.inputs[index], model.get_layer(f"{name}_pool").output)
        columns.append(branch.predict(unique.astype(np.int32), batch_size=32, verbose=0)[of.reshape(-1)])
    joined = np.split(np.concatenate(columns, -1), np.cumsum([len(data[f"y_{split}"]) for split in SPLITS])[:-1])
    made = dict(zip((f"x_{split}" for split in SPLITS), joined, strict=True))
    return made | {f"y_{split}": data[f"y_{split}"] for split in SPLITS}


def head_of(model: keras.Model) -> keras.Model:
    """The dense layers alone, a copy."""
    layers = model.layers[[layer.name for layer in model.layers].index("both") + 1 :]
    inputs = x = keras.Input((192,), name="both")
    for layer in layers:
        x = type(layer).from_config(layer.get_config())(x)
    head = keras.Model(inputs, x, name="head")
    head.set_weights([weight for layer in layers for weight in layer.get_weights()])
    return head


def pruned(head: keras.Model, data: Data, sparsity: float) -> keras.Model:
    """The dense layers without most of their weights and without the units that are then dead."""
    masked = sp.wrap(head, granularity="weight", keep_last=False)
    callback = sp.StructuredPruning(
        validation_data=(data["x_val"], data["y_val"]),
        granularity=Weight(across="model"),
        search=Magnitude(),
        sparsity=sparsity,
        schedule=Gradual(epochs=max(1, 2 * FLAGS.prune_epochs // 3)),
        tolerance=10.0,  # judged at the end, by the error that is reported
        score="mse",
        verbose=0,
    )
    fit(masked, data, FLAGS.prune_epochs, FLAGS.rate, (callback,))
    return shrink(masked).model


def shared(head: keras.Model, data: Data) -> keras.Model:
    """The dense layers with few values, trained."""
    model = sp.share(head, FLAGS.values)
    fit(model, data, FLAGS.share_epochs, FLAGS.rate / 3)
    return sp.unshare(model)


def joined(convolutions: keras.Model, head: keras.Model) -> keras.Model:
    """The whole network, without dropout."""
    branches = [Branch(name, convolutions.get_layer(f"{name}_conv_1").kernel_size[0]) for name in ("drug", "protein")]
    inputs = [keras.Input(each.shape[1:], dtype=each.dtype, name=each.name) for each in convolutions.inputs]
    x = Head(0.0).join([branch(each) for branch, each in zip(branches, inputs, strict=True)])
    dense = [layer for layer in head.layers if isinstance(layer, keras.layers.Dense)]
    for layer in dense:
        x = keras.layers.Dense.from_config(layer.get_config())(x)
    model = keras.Model(inputs, x, name="deepdta")
    for layer in model.layers:
        given = head if layer.name in {each.name for each in dense} else convolutions
        if layer.get_weights():
            layer.set_weights(given.get_layer(layer.name).get_weights())
    return model


def error(model: keras.Model, x: Any, y: np.ndarray) -> float:
    """Mean squared error."""
    return float(np.mean(np.square(model.predict(x, batch_size=BATCH, verbose=0)[:, 0] - y)))


def errors(head: keras.Model, data: Data) -> dict[str, float]:
    """Mean squared errors of the dense layers on what the convolutions made."""
    return {f"{split}_mse": error(head, data[f"x_{split}"], data[f"y_{split}"]) for split in ("val", "test")}


def kept(name: pathlib.Path, make: Any) -> keras.Model:
    """The model of a file, made and written where it is not there."""
    if not name.exists():
        make().save(name)
    return keras.models.load_model(name)


def run(sparsity: float, convolutions: keras.Model, data: Data, given: Data, folder: pathlib.Path) -> dict[str, Any]:
    """One sparsity: pruned, shared, packed, unpacked and tested."""
    keras.utils.set_random_seed(0)
    name = f"{100 * sparsity:g}_{FLAGS.values}_{FLAGS.convolution_values}"
    thin = kept(folder / f"pruned_{name}.keras", lambda: pruned(head_of(convolutions), data, sparsity))
    small = kept(folder / f"shared_{name}.keras", lambda: shared(thin, data))
    part = sp.storage.save(small, folder / f"head_{name}.sham", overwrite=True)
    whole = sp.storage.save(joined(convolutions, small), folder / f"whole_{name}.sham", overwrite=True)
    sp.storage.load(whole.path, folder / f"whole_{name}.keras", overwrite=True)
    again = keras.models.load_model(folder / f"whole_{name}.keras")
    row = {
        "sparsity": sparsity,
        "pruned": errors(thin, data),
        "shared": errors(small, data),
        "unpacked_test_mse": error(again, [given["x_test_0"], given["x_test_1"]], given["y_test"]),
        "nonzero": int(sum(np.count_nonzero(weight) for weight in small.get_weights())),
        "dense_layers_bytes": part.arrays_bytes,
        "whole_bytes": whole.arrays_bytes,
        "file_bytes": whole.packed_bytes,
    }
    logging.info("%s", row)
    return row


def table(result: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        f"# DeepDTA on {result['data']} in a few per cent of its bytes",
        "",
        f"Written by `python -m benchmarks.compact_deepdta`: {result['values']} values in the dense layers, "
        f"{result['convolution_values']} in each convolution, {result['prune_epochs']} epochs of pruning, "
        f"{result['share_epochs']} of sharing, rate {result['rate']:g}, seed 0. Dense network: test MSE "
        f"{result['dense']['test_mse']:.4f}, validation {result['dense']['val_mse']:.4f}; {result['head_size']:,} "
        f"bytes of dense layers of {result['whole_size']:,}. Biases, embeddings, books and codes are charged.",
        "",
        "| removed (%) | weights left | validation MSE | test MSE, from the archive | dense layers (%) | whole (%) | "
        "whole .sham file (bytes) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        part, whole = (
            100 * row[f"{a}_bytes"] / result[f"{b}_size"] for a, b in (("dense_layers", "head"), ("whole",) * 2)
        )
        chosen = " (chosen)" if row["sparsity"] == result["chosen"] else ""
        lines.append(
            f"| {100 * row['sparsity']:g}{chosen} | {row['nonzero']:,} | {row['shared']['val_mse']:.4f} | "
            f"{row['unpacked_test_mse']:.4f} | {part:.2f} | {whole:.2f} | {row['file_bytes']:,} |"
        )
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Compress at each sparsity and write the table."""
    folder = pathlib.Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    with np.load(FLAGS.data, allow_pickle=False) as file:
        given = dict(file)
    dense = keras.models.load_model(FLAGS.model, compile=False)
    before = errors(head_of(dense), features(dense, given))
    convolutions = shared_convolutions(dense)
    data = features(convolutions, given)
    rows = [run(float(each) / 100, convolutions, data, given, folder) for each in FLAGS.sparsities]
    good = [row["sparsity"] for row in rows if row["shared"]["val_mse"] <= before["val_mse"]]
    names = ("values", "convolution_values", "prune_epochs", "share_epochs", "rate")
    result = {
        "data": pathlib.Path(FLAGS.data).stem.capitalize(),
        **{name: getattr(FLAGS, name) for name in names},
        "dense": before,
        "head_size": 4 * head_of(dense).count_params(),
        "whole_size": 4 * dense.count_params(),
        "chosen": max(good, default=None),
        "rows": rows,
    }
    if FLAGS.results:
        pathlib.Path(FLAGS.results + ".json").write_text(json.dumps(result, indent=1) + "\n")
        pathlib.Path(FLAGS.results + ".md").write_text(table(result))


if __name__ == "__main__":
    app.run(main)
