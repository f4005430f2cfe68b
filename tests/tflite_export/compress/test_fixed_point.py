"""Fixed point as the last stage of `compress`."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.devices import ByMacs
from tests.tflite_export.compress import tiny
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import is_fixed_point, quantized_layers
from tflite_export.compress import CompressReport, CompressSettings, RefusedError, _job, compress
from tflite_export.runtime import tflm_available

pytestmark = pytest.mark.usefixtures("given_once")
RECIPE = FixedPoint(4, 6)
PRUNED_TOO = CompressSettings(candidates=2, epochs=2, tolerance=0.2, finetune_batch=32, fixed_point=RECIPE)
ALONE = CompressSettings(sparsity=0, epochs=2, tolerance=0.2, finetune_batch=32, fixed_point=FixedPoint(8, 8))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("fixed") / "out"
    return out, compress(tiny.fresh(), tiny.data(), out, settings=PRUNED_TOO, device=ByMacs())


def test_files_are_those_of_fixed_point(run):
    out, _ = run
    written = {name for name in tiny.tree(out) if not name.startswith(("micro/", "baseline/", "."))}
    assert written == {
        "model.keras",
        "model_float32.tflite",
        "model_fixed.tflite",
        "model_fixed_int4.tflite",
        "model_recipe.json",
        "history.csv",
        "summary.json",
    }
    assert "model_int8.tflite" in {path.name for path in (out / "baseline").iterdir()}


def test_saved_model_is_in_fixed_point_with_the_words_asked_for(run):
    model = keras.models.load_model(run[0] / "model.keras")
    assert is_fixed_point(model)
    assert {layer.weight_bits for layer in quantized_layers(model).values()} == {4}


def test_summary_says_what_became_of_the_recipe(run):
    out, report = run
    assert CompressReport.from_json((out / "summary.json").read_text()) == report
    stage = report.fixed_point
    assert stage.accepted and stage.recipe == RECIPE
    assert stage.after <= report.validation.dense_float + 0.2
    assert stage.int4.size_bytes == (out / "model_fixed_int4.tflite").stat().st_size
    assert report.compressed.int8_bytes == (out / "model_fixed.tflite").stat().st_size
    assert set(report.exact) == {"model_fixed.tflite", "model_fixed_int4.tflite"}
    pairs = ("numpy_litert", "numpy_tflm", "litert_tflm") if tflm_available() else ("numpy_litert",)
    assert all(getattr(agreement, pair) == 0 for agreement in report.exact.values() for pair in pairs)


def test_history_has_the_epochs_of_fixed_point_last(run):
    rows = (run[0] / "history.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["feature_map"] * 2 + ["fixed_point"] * 2


@pytest.mark.sweep
def test_sparsity_of_0_leaves_pruning_out():
    done = tiny.run(tiny.fresh(), tiny.data(), ALONE)
    assert [report.granularity for report in done.reports] == ["fixed_point"] and done.sparsity == 0.0
    assert sp.trace(done.model).macs == sp.trace(tiny.trained()).macs
    assert {layer.weight_bits for layer in quantized_layers(done.model).values()} == {8}


@pytest.fixture
def spoiled(monkeypatch):
    """Lets retraining ruin what is in fixed point, and leave everything else as it is."""

    def retrain(model, *_, **__):
        for layer in quantized_layers(model).values():
            layer.kernel_variable.assign(np.zeros(layer.kernel_variable.shape))
        return {"loss": [0.5]}

    monkeypatch.setattr(_job, "retrain", retrain)


@pytest.mark.sweep
@pytest.mark.usefixtures("spoiled")
def test_beyond_the_tolerance_the_integer_file_is_int8(tmp_path):
    settings = CompressSettings(sparsity=0.1, candidates=2, epochs=1, tolerance=0.3, fixed_point=RECIPE)
    report = compress(tiny.fresh(), tiny.data(), tmp_path / "out", settings=settings, device=ByMacs())
    assert not report.fixed_point.accepted and report.fixed_point.int4 is None
    assert (tmp_path / "out" / "model_int8.tflite").exists()


@pytest.mark.usefixtures("spoiled")
def test_fixed_point_alone_beyond_the_tolerance_is_refused(tmp_path):
    with pytest.raises(RefusedError, match=r"No stage stayed within .*fixed_point at sparsity 0\.00: \d+\.\d+ %\. Use"):
        compress(tiny.fresh(), tiny.data(), tmp_path / "out", settings=ALONE, device=ByMacs())
    assert tiny.entries(tmp_path) == ["out.refused"]


def test_words_are_needed_for_weights_and_signals():
    with pytest.raises(ValueError, match="fixed_point must give weights and signals a word length"):
        CompressSettings(fixed_point=FixedPoint(4, None))


@pytest.mark.parametrize("distill", [0.0, 1.0])
def test_entropy_in_the_loss_leaves_fewer_words(distill):
    """With a teacher alone too, whose loss is another one."""

    def words(entropy):
        recipe = FixedPoint(8, 8, entropy=entropy)
        settings = CompressSettings(
            sparsity=0, epochs=2, tolerance=1.0, finetune_batch=32, fixed_point=recipe, distill=distill
        )
        model = tiny.run(tiny.fresh(), tiny.data(), settings).model
        kernels = (keras.ops.convert_to_numpy(layer.effective_kernel()) for layer in quantized_layers(model).values())
        return sum(len(np.unique(kernel)) for kernel in kernels)

    assert words(30.0) < 0.9 * words(0.0)
