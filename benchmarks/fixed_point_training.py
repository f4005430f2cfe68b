"""Retrain a network in fixed point and keep it: the models behind `benchmarks/fixed_point.py`.

    python -m benchmarks.fixed_point_training --data cifar10.npz --model resnet8_cifar10.keras --out DIR \
        --weight-bits 4 --signal-bits 8 --epochs 10

Writes DIR/NAME.keras, NAME from the options, with its quantizers, and DIR/NAME.json with the validation
accuracies of every epoch. What is there already is kept, so an interrupted series goes on. The test set is not
touched here. A model that is in fixed point already is trained further, on the grids that it has.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

CALIBRATION = 512


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="x_train, y_train, x_test, y_test as the model takes them, .npz")
    parser.add_argument("--model", required=True, help="trained classifier, .keras")
    parser.add_argument("--teacher", help="model whose outputs it also learns from, by default --model")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder of the retrained models")
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--signal-bits", type=int, default=8)
    parser.add_argument("--free", action="store_true", help="steps need not be powers of two")
    parser.add_argument("--per-channel", action="store_true", help="a weight step for each output channel")
    parser.add_argument("--epochs", type=int, default=0, help="of retraining; 0: the grids only")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--refit-epochs", type=int, default=0, help="first epochs that fit the weight steps anew")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--distill", type=float, default=0.5)
    parser.add_argument("--augment", nargs="*", default=[], choices=("flip", "shift"))
    parser.add_argument("--unit", action="store_true", help="gray images 0..255 become (height, width, 1), 0..1")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def name_of(options: argparse.Namespace) -> str:
    """Name of the retrained model."""
    steps = "free" if options.free else "pow2"
    kind = "channel" if options.per_channel else "layer"
    stem = pathlib.Path(options.model).stem
    return f"{stem}_w{options.weight_bits}s{options.signal_bits}_{steps}_{kind}_e{options.epochs}_seed{options.seed}"


def data_of(options: argparse.Namespace) -> Any:
    """Training, validation and test data, as the model takes them."""
    import numpy as np

    from tflite_export.compress import load_data

    data = load_data(options.data, seed=options.seed)
    if not options.unit:
        return data
    parts = {part: getattr(data, part)[..., None] / np.float32(255) for part in ("x_train", "x_val", "x_test")}
    return dataclasses.replace(data, **parts)


def trained(options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The model in fixed point and the figures of its epochs."""
    import keras
    import numpy as np

    import tf_structprune as sp
    from tf_structprune.layers import is_fixed_point
    from tflite_export.compress import CompressSettings, check_data, load_model, retrain

    data = data_of(options)
    dense = keras.models.load_model(options.model, compile=False)
    teacher = load_model(options.teacher) if options.teacher else dense
    recipe = sp.FixedPoint(options.weight_bits, options.signal_bits, not options.free, options.per_channel)
    model = dense if is_fixed_point(dense) else sp.to_fixed_point(dense, recipe)
    chosen = np.random.default_rng(options.seed).choice(len(data.x_train), CALIBRATION, replace=False)
    if not options.epochs:
        sp.calibrate(model, data.x_train[chosen])
        return model, {}
    settings = CompressSettings(
        epochs=options.epochs,
        finetune_batch=options.batch,
        finetune_rate=options.rate,
        distill=options.distill,
        augment=tuple(options.augment),
        seed=options.seed,
    )
    callback = sp.FixedPointTraining(calibration_data=data.x_train[chosen], refit_epochs=options.refit_epochs)
    data, task = check_data(data, teacher)
    return model, retrain(model, teacher, data, settings, task=task, callbacks=[callback], verbose=2)


def main() -> None:
    """Train one model, unless it is there."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{name_of(options)}.keras"
    if path.exists():
        raise SystemExit(f"{path} is there already.")
    model, history = trained(options)
    model.save(path)
    told = {name: value if not isinstance(value, pathlib.Path) else str(value) for name, value in vars(options).items()}
    path.with_suffix(".json").write_text(json.dumps({"options": told, "history": history}, indent=2) + "\n")


if __name__ == "__main__":
    main()
