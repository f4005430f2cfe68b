"""Train DeepDTA on Davis or KIBA, the dense network that smaller ones are compared with.

    python ../shared/data/load.py davis davis.npz
    python -m benchmarks.train_deepdta --data davis.npz --out deepdta_davis.keras [--seed 0] [--epochs 60]
    python -m benchmarks.train_deepdta --data kiba.npz --out deepdta_kiba.keras --proteins 16 --drugs 132 --shares 1

The network takes (drug, protein) as characters; Davis has 68 drugs and 442 proteins in 30,056 pairs, KIBA 2,111 and 229
in 118,254. A step takes the pairs (or a share of them) of some proteins and some drugs, so that the features of each
are computed once for all its pairs in the step: the same gradients as of the whole network on these pairs, at a
twentieth of the work. Validation pairs choose the epoch; the test pairs are looked at once, at the end. A killed run
goes on with its last epoch.
"""

import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Davis as load.py writes it.", required=True)
flags.DEFINE_string("out", None, "The trained network, a .keras file; figures are written beside it.", required=True)
flags.DEFINE_integer("seed", 0, "Seed.")
flags.DEFINE_integer("epochs", 60, "Epochs, the learning rate falling as a cosine to zero.")
flags.DEFINE_integer("proteins", 8, "Proteins of a step.")
flags.DEFINE_integer("drugs", 0, "Drugs of a step; 0 for all.")
flags.DEFINE_integer("shares", 2, "Steps that share the pairs of these in an epoch.")

CHARACTERS = 65  # 64 of drugs, 25 of proteins, and 0 behind the end
RATE = 1e-3
_L = keras.layers
_EMBEDDING = keras.initializers.RandomNormal(stddev=0.5)  # Keras's own, a twentieth, learns for epochs before anything


class Branch:
    """The layers that make features of a sequence."""

    def __init__(self, name: str, window: int) -> None:
        self.layers = [_L.Embedding(CHARACTERS, 128, _EMBEDDING, name=f"{name}_embedding")]
        for index, filters in enumerate((32, 64, 96), 1):
            self.layers.append(_L.Conv1D(filters, window, activation="relu", name=f"{name}_conv_{index}"))
        self.layers.append(_L.GlobalMaxPooling1D(name=f"{name}_pool"))

    def __call__(self, x: Any) -> Any:
        """Features, (batch, 96)."""
        for layer in self.layers:
            x = layer(x)
        return x


class Head:
    """The layers that make an affinity of both features."""

    def __init__(self, mean: float) -> None:
        self.join = _L.Concatenate(name="both")
        self.layers = []
        for index, units in enumerate((1024, 1024, 512), 1):
            self.layers += [_L.Dense(units, activation="relu", name=f"dense_{index}"), _L.Dropout(0.1)]
        self.layers = [
            *self.layers[:-1],
            _L.Dense(1, bias_initializer=keras.initializers.Constant(mean), name="affinity"),
        ]

    def __call__(self, drug: Any, protein: Any) -> Any:
        """Affinities, (batch, 1)."""
        x = self.join([drug, protein])
        for layer in self.layers:
            x = layer(x)
        return x


class OnPairs(keras.Model):
    """The network on pairs among some drugs and proteins, each of which is looked at once."""

    def __init__(self, drug: Branch, protein: Branch, head: Head) -> None:
        super().__init__()
        self.drug, self.protein, self.head = drug, protein, head
        self.parts = [*drug.layers, *protein.layers, *head.layers]

    def call(self, inputs: dict[str, Any]) -> Any:
        """Affinities of pairs, as indices of one of the drugs and of one of the proteins."""
        drugs, proteins = self.drug(inputs["drugs"]), self.protein(inputs["proteins"])
        taken = [
            keras.ops.take(all_of, inputs[name], axis=0) for all_of, name in ((drugs, "drug"), (proteins, "protein"))
        ]
        return self.head(*taken)


class Pairs(keras.utils.PyDataset):
    """Steps of an epoch: some drugs, some proteins, and a share of the pairs among them.

    `of` has the drug and the protein of each pair, `sequences` all drugs and all proteins.
    """

    def __init__(
        self, of: tuple[np.ndarray, np.ndarray], sequences: tuple[np.ndarray, np.ndarray], y: np.ndarray, seed: int
    ) -> None:
        super().__init__()
        self.of, self.sequences, self.y, self.seed = of, sequences, y, seed
        self.begin(0)

    def begin(self, epoch: int, logs: Any = None) -> None:
        """Draw the steps of an epoch."""
        del logs
        rng = np.random.default_rng((self.seed, epoch))
        share = rng.permutation(len(self.y)) % FLAGS.shares
        self.steps = []
        for turn in range(FLAGS.shares):
            blocks = [
                _parts(rng.permutation(len(each)), size)
                for each, size in zip(self.sequences, (FLAGS.drugs, FLAGS.proteins), strict=True)
            ]
            pairs = [(drugs, proteins) for proteins in blocks[1] for drugs in blocks[0]]
            for at in rng.permutation(len(pairs)):
                inside = [np.isin(of, chosen) for of, chosen in zip(self.of, pairs[at], strict=True)]
                rows = np.flatnonzero(inside[0] & inside[1] & (share == turn))
                if len(rows):
                    self.steps.append((*pairs[at], rows))

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        *chosen, rows = self.steps[index]
        x = {}
        for name, of, sequences, some in zip(("drug", "protein"), self.of, self.sequences, chosen, strict=True):
            place = np.zeros(len(sequences), np.int32)
            place[some] = np.arange(len(some))
            x |= {f"{name}s": sequences[some], name: place[of[rows]]}
        return x, self.y[rows]


def _parts(order: np.ndarray, size: int) -> list[np.ndarray]:
    """An order in parts of a size, 0 for one part."""
    return [order] if not size else [order[start : start + size] for start in range(0, len(order), size)]


def network(lengths: tuple[int, int], drug: Branch, protein: Branch, head: Head) -> keras.Model:
    """DeepDTA (Ozturk et al., Bioinformatics 2018) as the survey of compact storage has it, for drugs and proteins of
    some lengths."""
    inputs = [
        keras.Input((length,), dtype="int32", name=name)
        for length, name in zip(lengths, ("drug", "protein"), strict=True)
    ]
    return keras.Model(inputs, head(drug(inputs[0]), protein(inputs[1])), name="deepdta")


def of_splits(data: dict[str, np.ndarray], index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Every drug (0) or protein (1) once, and which of them the pairs of both splits have."""
    both = {split: data[f"x_{split}_{index}"] for split in ("train", "val")}
    unique, of = np.unique(np.concatenate(list(both.values())), axis=0, return_inverse=True)
    train, val = np.split(of.reshape(-1).astype(np.int32), [len(both["train"])])
    return unique.astype(np.int32), {"train": train, "val": val}


def main(_: list[str]) -> None:
    """Train, choose the epoch by validation, test once."""
    keras.utils.set_random_seed(FLAGS.seed)
    with np.load(FLAGS.data) as file:
        data = dict(file)
    drugs, drug_of = of_splits(data, 0)
    proteins, protein_of = of_splits(data, 1)
    pairs, validation = (
        Pairs((drug_of[split], protein_of[split]), (drugs, proteins), data[f"y_{split}"], FLAGS.seed)
        for split in ("train", "val")
    )
    parts = Branch("drug", 6), Branch("protein", 8), Head(float(data["y_train"].mean()))
    model, training = network((drugs.shape[1], proteins.shape[1]), *parts), OnPairs(*parts)
    model.compile(loss="mse", jit_compile=False)
    rate = keras.optimizers.schedules.CosineDecay(RATE, FLAGS.epochs * len(pairs))
    training.compile(keras.optimizers.Adam(rate), "mse", jit_compile=False)
    training(pairs[0][0])
    out = pathlib.Path(FLAGS.out)
    best = Best(model, validation, out)
    backup = keras.callbacks.BackupAndRestore(out.with_suffix(".backup"))
    beginning = keras.callbacks.LambdaCallback(on_epoch_begin=pairs.begin)
    training.fit(pairs, epochs=FLAGS.epochs, shuffle=False, verbose=0, callbacks=[beginning, best, backup])
    model = keras.models.load_model(out)
    test = model.evaluate([data["x_test_0"], data["x_test_1"]], data["y_test"], batch_size=256, verbose=0)
    figures = {"seed": FLAGS.seed, "epochs": FLAGS.epochs, "validation": best.history, "test_mse": float(test)}
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    logging.info("test MSE %.4f", test)


class Best(keras.callbacks.Callback):
    """Keeps the network of the epoch with the least validation error."""

    def __init__(self, network: keras.Model, validation: Pairs, out: pathlib.Path) -> None:
        super().__init__()
        self.network, self.validation, self.out = network, validation, out
        self.path = out.with_suffix(".history.json")
        self.history: dict[str, float] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the validation pairs."""
        steps = [self.validation[index] for index in range(len(self.validation))]
        squares = [np.square(self.model.predict_on_batch(x)[:, 0] - y) for x, y in steps]
        error = float(np.mean(np.concatenate(squares)))
        logging.info("epoch %d: training %.4f, validation %.4f", epoch + 1, logs["loss"], error)
        if error <= min(self.history.values(), default=error):
            self.network.save(self.out)
        self.history[str(epoch + 1)] = error
        self.path.write_text(json.dumps(self.history))


if __name__ == "__main__":
    app.run(main)
