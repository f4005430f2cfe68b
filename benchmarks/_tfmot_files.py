"""The same network pruned by tfmot, as `.tflite` files; in a process of its own, as tfmot switches Keras to 2.

    python -m benchmarks._tfmot_files NETWORK SPARSITY SEED FOLDER

Importing tfmot sets TF_USE_LEGACY_KERAS and turns `tf.keras` into tf_keras for the whole process.
Everything is done as tfmot's guide does: the whole network wrapped, one `fit` step with
UpdatePruningStep, strip_pruning, conversion with and without Optimize.EXPERIMENTAL_SPARSITY. The batch
size is fixed to 1, as in the files that they are compared with. tfmot leaves depthwise kernels whole
and prunes the first convolution and the classifier. FOLDER gets a file for each format and variant, and
figures.json.
"""

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow_model_optimization as tfmot  # first: it sets TF_USE_LEGACY_KERAS

import numpy as np  # isort: skip
import tensorflow as tf  # isort: skip
import tf_keras  # isort: skip

from benchmarks.networks import LATENCY_NETWORKS, kept_macs, kept_weights, randomize  # isort: skip

VARIANTS = {"stripped": [], "sparsity flag": [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]}
FORMATS = ("none", "int8")
SAMPLES = 4


def pruned(model: Any, sparsity: float, samples: np.ndarray) -> Any:
    """The network with its smallest weights zeroed, wrappers taken off."""
    schedule = tfmot.sparsity.keras.ConstantSparsity(sparsity, 0, frequency=1)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
    # One step at rate 0: the masks are made and applied, the weights are not trained.
    wrapped.compile(tf_keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
    wrapped.fit(samples, np.zeros(len(samples)), batch_size=len(samples), verbose=0, callbacks=callbacks)
    return tfmot.sparsity.keras.strip_pruning(wrapped)


def converted(model: Any, quantize: str, variant: str, samples: np.ndarray) -> bytes:
    """The file of one format and variant."""
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    serve = tf.function(lambda sample: model(sample, training=False), input_signature=[signature])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model)
    converter.optimizations = list(VARIANTS[variant])
    if quantize == "int8":
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
        converter.representative_dataset = lambda: _batches_of_one(samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _batches_of_one(samples: np.ndarray) -> Iterator[list[np.ndarray]]:
    for sample in samples:
        yield [sample[None]]


def main(network: str, sparsity: float, seed: int, folder: pathlib.Path) -> None:
    """Write the files and figures of one network and sparsity."""
    dense = randomize(LATENCY_NETWORKS[network](tf_keras), seed)
    samples = np.random.default_rng(seed).normal(size=(SAMPLES, *dense.input_shape[1:])).astype(np.float32)
    total = kept_weights(dense)
    model = pruned(dense, sparsity, samples)
    files = {}
    for quantize in FORMATS:
        for variant in VARIANTS:
            name = f"{quantize}_{variant}.tflite".replace(" ", "_")
            (folder / name).write_bytes(converted(model, quantize, variant, samples))
            files.setdefault(quantize, {})[variant] = name
    figures = {"sparsity_reached": 1 - kept_weights(model) / total, "macs_kept": kept_macs(model), "files": files}
    (folder / "figures.json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), pathlib.Path(sys.argv[4]))
