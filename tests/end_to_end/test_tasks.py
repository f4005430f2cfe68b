"""Every kind of task is pruned in `fit`, by `compress` and in fixed point, exported, and runs alike everywhere.

Arrays go into `fit` and the fixed-point export, data sets into `compress` and the int8 export.
"""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_structprune as sp
import tflite_export as te
from tests.marks import sweep_but
from tests.tasks import KINDS, trained
from tf_structprune.task import Samples, output_names
from tflite_export.file import open_file
from tflite_export.runtime import as_list, real_outputs, run_litert, run_tflm, tflm_available

OFTEN = ("segmentation", "dictionaries")
NO_FIXED_FORM = ("tokens", "segmentation", "detection")  # embedding, transposed convolution, a sigmoid within
EACH = sweep_but(OFTEN, {name: (name,) for name in KINDS})
FRACTIONS = ("segmentation", "sigmoid", "logit", "labels", "two inputs", "tokens", "frozen backbone")
TOLERANCE = 1e6  # that everything is accepted: how good it is, is not what these tests are about


def data_set(x, y):
    """A list within an element would be one tensor."""
    pair = tuple(tuple(each) if isinstance(each, list) else each for each in (x, y))
    return tf.data.Dataset.from_tensor_slices(pair).batch(32)


def pruned(name):
    """The network after feature maps were pruned in a `fit` on arrays."""
    kind = KINDS[name]
    model = keras.models.clone_model(trained(name))
    model.set_weights(trained(name).get_weights())
    masked = sp.wrap(model)
    masked.compile(keras.optimizers.Adam(1e-3), kind.loss)
    x, y = kind.data(96, 1)
    several = len(masked.outputs) > 1
    score = (lambda targets, outputs: 0.0) if several else "mse" if kind.loss == "mse" else "kl"
    pruning = sp.StructuredPruning(
        validation_data=(x, y if several else None),
        score=score,
        sparsity=0.3,
        search=sp.search.Magnitude(),
        tolerance=1e9,
        verbose=0,
    )
    masked.fit(x, y, epochs=1, verbose=0, callbacks=[pruning])
    assert pruning.reports[0].accepted
    return masked


@pytest.mark.parametrize("name", EACH)
def test_pruned_in_fit_and_exported(name, tmp_path):
    x, y = KINDS[name].data(64, 2)
    summary = te.export(
        pruned(name), tmp_path / "out", representative_data=data_set(x, y), npu=None, top1_agreement=0.8
    )
    model = keras.models.load_model(tmp_path / "out" / "model.keras")
    assert model.count_params() < trained(name).count_params()
    assert [each.name for each in summary.verification.outputs] == output_names(model)
    file = open_file(tmp_path / "out" / "model_float32.tflite")
    samples = Samples.of(model, x)
    wanted = [np.asarray(each) for each in keras.tree.flatten(model.predict(x, verbose=0))]
    found = real_outputs(run_litert(file, samples), file.description)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    int8 = open_file(tmp_path / "out" / "model_int8.tflite")
    assert {tensor.dtype for tensor in int8.description.inputs} <= {"int8", "int32"}
    if tflm_available() and summary.micro_reason is None:
        few = samples[:4]
        pairs = zip(as_list(run_tflm(int8, few)), as_list(run_litert(int8, few, kernels="reference")), strict=True)
        for one, other in pairs:
            assert np.abs(one.astype(int) - other).max() <= 2


@pytest.mark.every(3)
@pytest.mark.parametrize("name", NO_FIXED_FORM)
def test_what_has_no_fixed_point_form_is_refused_by_name(name, tmp_path):
    x, _ = KINDS[name].data(32, 1)
    with pytest.raises((ValueError, te.VerificationError), match="has no fixed-point form|has no LOGISTIC|in float"):
        fixed = sp.to_fixed_point(trained(name), sp.FixedPoint(8, 8))
        sp.calibrate(fixed, x)
        te.export(fixed, tmp_path / "out", representative_data=x, npu=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", EACH)
def test_compressed_from_a_data_set(name, tmp_path):
    kind = KINDS[name]
    parts = {"train": data_set(*kind.data(160, 0)), "val": data_set(*kind.data(40, 1)), "test": kind.data(40, 2)}
    report = te.compress(
        trained(name),
        parts,
        tmp_path / "out",
        sparsity=0.3,
        search="magnitude",
        epochs=1,
        finetune_batch=32,
        tolerance=1.0 if name in FRACTIONS else TOLERANCE,
        micro="none",
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["task"] == report.task
    assert report.compressed.parameters < report.baseline.parameters
    for side in ("baseline", "compressed"):
        assert np.isfinite([summary[side]["score_float"], summary[side]["score_int8"]]).all()


@pytest.mark.sweep
@pytest.mark.parametrize("name", [name for name in KINDS if name not in NO_FIXED_FORM])
def test_exported_in_fixed_point(name, tmp_path):
    x, _ = KINDS[name].data(96, 1)
    fixed = sp.to_fixed_point(trained(name), sp.FixedPoint(8, 8, power_of_two=False))
    sp.calibrate(fixed, x)
    summary = te.export(fixed, tmp_path / "out", representative_data=x, npu=None, top1_agreement=0.8)
    assert all(each.numpy_litert == 0 for each in summary.exact.values())
