"""Train DeepDTA on Davis, the dense network whose half is compared with it.

    python ../shared/data/load.py davis davis.npz
    python -m benchmarks.train_deepdta --data davis.npz --out deepdta_davis.keras [--seed 0] [--epochs 60]

The network takes (drug, protein) as characters; the data have 68 drugs and 442 proteins in 30,056 pairs. A step takes
some proteins with half of their pairs, so that the features of a protein are computed once for all its pairs in the
step and not for each: the same gradients as of the whole network on these pairs, at a twentieth of the work. Validation
pairs choose the epoch; the test pairs are looked at once, at the end. A killed run goes on with its last epoch.
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

CHARACTERS = 65  # 64 of drugs, 25 of proteins, and 0 behind the end
PROTEINS, SHARES = 8, 2  # of a step; of a protein's pairs
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

    def __init__(self, drugs: np.ndarray, drug: Branch, protein: Branch, head: Head) -> None:
        super().__init__()
        self.drugs, self.drug, self.protein, self.head = keras.ops.convert_to_tensor(drugs), drug, protein, head
        self.parts = [*drug.layers, *protein.layers, *head.layers]

    def call(self, inputs: dict[str, Any]) -> Any:
        """Affinities of pairs, as indices of a drug and of one of the proteins."""
        drugs, proteins = self.drug(self.drugs), self.protein(inputs["proteins"])
        taken = [
            keras.ops.take(all_of, inputs[name], axis=0) for all_of, name in ((drugs, "drug"), (proteins, "protein"))
        ]
        return self.head(*taken)


class Pairs(keras.utils.PyDataset):
    """Steps of an epoch: some proteins, and a share of the pairs of each."""

    def __init__(self, drug: np.ndarray, protein: np.ndarray, sequences: np.ndarray, y: np.ndarray, seed: int) -> None:
        super().__init__()
        self.drug, self.protein, self.sequences, self.y, self.seed = drug, protein, sequences, y, seed
        self.begin(0)

    def begin(self, epoch: int, logs: Any = None) -> None:
        """Draw the steps of an epoch."""
        del logs
        rng = np.random.default_rng((self.seed, epoch))
        share = rng.permutation(len(self.y)) % SHARES
        self.steps = []
        for turn in range(SHARES):
            order = rng.permutation(len(self.sequences))
            for start in range(0, len(order), PROTEINS):
                chosen = order[start : start + PROTEINS]
                self.steps.append((chosen, np.flatnonzero(np.isin(self.protein, chosen) & (share == turn))))

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        chosen, rows = self.steps[index]
        place = np.zeros(len(self.sequences), np.int32)
        place[chosen] = np.arange(len(chosen))
        x = {"proteins": self.sequences[chosen], "drug": self.drug[rows], "protein": place[self.protein[rows]]}
        return x, self.y[rows]


def network(drug: Branch, protein: Branch, head: Head) -> keras.Model:
    """DeepDTA (Ozturk et al., Bioinformatics 2018) as the survey of compact storage has it, with Davis's lengths."""
    inputs = keras.Input((85,), dtype="int32", name="drug"), keras.Input((1200,), dtype="int32", name="protein")
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
        Pairs(drug_of[split], protein_of[split], proteins, data[f"y_{split}"], FLAGS.seed) for split in ("train", "val")
    )
    parts = Branch("drug", 6), Branch("protein", 8), Head(float(data["y_train"].mean()))
    model, training = network(*parts), OnPairs(drugs, *parts)
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
