"""Whether two versions of the code do the same: summaries, masks and files of three runs at fixed seeds.

Run it in each checkout, then compare:

    python benchmarks/same_behaviour.py run --data mnist.npz --cifar cifar10.npz --model resnet8.keras --out before.json
    python benchmarks/same_behaviour.py compare before.json after.json

The runs are the demo's network on scikit-learn's digits, MNIST2 on a part of MNIST, and ResNet-8 on a part of CIFAR-10,
pruned, put in fixed point and exported. Three minutes on two cores.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import tempfile
from typing import Any

TIMES = ("latency_us_float32", "latency_us_int8")


def main() -> None:
    """Run or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    for name in ("data", "cifar", "model", "out"):
        run.add_argument(f"--{name}", required=True)
    compare = commands.add_parser("compare")
    compare.add_argument("before")
    compare.add_argument("after")
    options = parser.parse_args()
    if options.command == "run":
        pathlib.Path(options.out).write_text(json.dumps(results(options), indent=1, sort_keys=True) + "\n")
        return
    before, after = (json.loads(pathlib.Path(path).read_text()) for path in (options.before, options.after))
    found = list(differences(before, after))
    print("\n".join(found) or "no difference")
    sys.exit(bool(found))


def results(options: argparse.Namespace) -> dict[str, Any]:
    """What each run leaves."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    return {"demo": demo(), "MNIST2": mnist2(options.data), "ResNet-8": resnet8(options.model, options.cifar)}


def demo() -> dict[str, Any]:
    """The demo's network, all granularities."""
    from tflite_export.compress import load_digits, train_digits

    data = load_digits(seed=0)
    kinds = ("feature_map", "kernel", "intra_kernel")
    return compressed(train_digits(data, seed=0), data, sparsity=0.75, granularity=kinds, tolerance=0.05, epochs=4)


def mnist2(path: str) -> dict[str, Any]:
    """MNIST2 after an epoch on 6,000 images, in fixed point."""
    import keras
    import numpy as np

    from benchmarks.networks import mnist2 as network
    from tf_structprune import FixedPoint
    from tflite_export.compress import Data

    with np.load(path) as file:
        x, y = file["x_train"][:8000].reshape(-1, 28, 28, 1) / np.float32(255), file["y_train"][:8000].astype(np.int64)
    keras.utils.set_random_seed(0)
    dense = network()
    dense.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", jit_compile=False)
    dense.fit(x[:6000], y[:6000], batch_size=64, verbose=0)
    data = Data(x[:6000], y[:6000], x[6000:7000], y[6000:7000], x[7000:], y[7000:])
    return compressed(dense, data, sparsity=0.5, tolerance=0.2, epochs=1, fixed_point=FixedPoint(4, 8))


def resnet8(model: str, path: str) -> dict[str, Any]:
    """ResNet-8 on 1,500 images, half the weights, one epoch."""
    import keras
    import numpy as np

    from tflite_export.compress import Data

    with np.load(path) as file:
        x, y = file["x_train"][:1500].astype(np.float32), file["y_train"][:1500].ravel().astype(np.int64)
    data = Data(x[:1000], y[:1000], x[1000:1250], y[1000:1250], x[1250:], y[1250:])
    return compressed(keras.models.load_model(model, compile=False), data, sparsity=0.3, tolerance=0.9, epochs=1)


def compressed(dense: Any, data: Any, **settings: Any) -> dict[str, Any]:
    """Summary without times, hashes of the files, and which weights are left."""
    import keras
    import numpy as np

    from tflite_export.compress import CompressSettings, compress

    fixed = {"candidates": 10, "finetune_batch": 64, "lower": "none"}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        compress(dense, data, out, settings=CompressSettings(**fixed, **settings))
        summary = json.loads((out / "summary.json").read_text())  # what both versions leave
        files = {
            path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(out.rglob("*.tflite"))
        }
        small = keras.models.load_model(out / "model.keras")
        kept = {weight.path: int(np.count_nonzero(weight)) for weight in small.weights if "seed" not in weight.path}
    for side in ("baseline", "compressed"):
        for name in TIMES:
            del summary[side][name]
    return {"summary": summary, "files": files, "kept": list(kept.values())}


def differences(before: Any, after: Any, place: str = "") -> Any:
    """Places that are not equal, in words; what only one of both has is told too."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            if name not in before or name not in after:
                yield f"{place}/{name}: only {'after' if name in after else 'before'}"
            else:
                yield from differences(before[name], after[name], f"{place}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{place}/{index}")
    elif before != after:
        yield f"{place}: {before} -> {after}"


if __name__ == "__main__":
    main()
