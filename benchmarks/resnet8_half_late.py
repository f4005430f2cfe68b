"""ResNet-8 at half its MACs, taken mostly from the early layers: the start of the half-size fixed-point model.

    python -m benchmarks.resnet8_half_late --data cifar10.npz --model resnet8_cifar10.keras --out half_late.keras

The counts were chosen by hand, before any was trained and without the test set: at one share for all groups the file
in 4 bits has 9.6 KB to spare, so the 32x32 layers, which cost MACs and arena, give more, and the 8x8 layers, which
hold the weights, keep more. The maps of largest L1 norm stay. Then `benchmarks.fixed_point_training` retrains in
fixed point.
"""

import argparse
import pathlib
from collections.abc import Sequence

KEPT = {"conv2d": 12, "conv2d_1": 6, "conv2d_3": 20, "conv2d_4": 32, "conv2d_6": 42, "conv2d_7": 64}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10 as x_train, y_train, x_test, y_test, .npz")
    parser.add_argument("--model", required=True, help="the published ResNet-8, .keras")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the thin model, .keras")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main() -> None:
    """Prune, retrain with the published network as teacher, save."""
    options = arguments()
    if options.out.exists():
        raise SystemExit(f"{options.out} is there already.")
    import tf_structprune as sp
    import tflite_export as te
    from tf_structprune.masks import FEATURE_MAP, kept_space
    from tf_structprune.measure import l1
    from tflite_export.compress import CompressSettings, check_data, load_data, load_model, retrain

    data = load_data(options.data, seed=options.seed)
    dense = load_model(options.model)
    masked = sp.wrap(dense, granularity=FEATURE_MAP, keep_first=False)
    graph = sp.trace(masked)
    sp.set_masks(masked, kept_space(graph, KEPT).top(l1(masked, graph, FEATURE_MAP, data.x_val)))
    small = te.shrink(masked).model
    print(
        f"{sp.trace(small).macs:,} of {graph.macs:,} MACs, {small.count_params():,} of {dense.count_params():,} weights"
    )
    settings = CompressSettings(
        epochs=options.epochs,
        finetune_rate=2e-3,
        finetune_batch=128,
        distill=0.5,
        augment=("flip", "shift"),
        seed=options.seed,
    )
    data, task = check_data(data, dense)
    retrain(small, dense, data, settings, task=task, verbose=2)
    small.save(options.out)


if __name__ == "__main__":
    main()
