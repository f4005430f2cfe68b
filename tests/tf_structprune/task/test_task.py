"""The task of a model follows from its loss, its outputs and the targets, or is asked for in words."""

import keras
import numpy as np
import pytest

from tf_structprune.task import task_of

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
CLASSES = np.arange(40) % 3
BITS = np.random.default_rng(1).integers(0, 2, (40, 3))


def model(width, activation=None, loss=None):
    keras.utils.set_random_seed(0)
    found = keras.Sequential([keras.Input((6,)), keras.layers.Dense(width, activation)], name="net")
    if loss is not None:
        found.compile("sgd", loss)
    return found


TASKS = {
    "softmax, indices": (model(3, "softmax"), CLASSES, "3 classes, sparse categorical crossentropy, judged by the MCR"),
    "softmax, column": (model(3, "softmax"), CLASSES[:, None], "3 classes, "),
    "softmax, one-hot": (model(3, "softmax"), np.eye(3)[CLASSES], "3 classes, "),
    "logits, indices": (model(3), CLASSES.astype(np.float32), "3 classes, "),
    "one sigmoid": (model(1, "sigmoid"), BITS[:, 0], "yes or no, binary crossentropy, judged by the MCR"),
    "one logit": (model(1), BITS[:, :1], "yes or no, "),
    "labels": (model(3, "sigmoid"), BITS, "3 labels, binary crossentropy, judged by the error a label"),
    "labels that look one-hot": (model(3, "sigmoid", "binary_crossentropy"), np.eye(3)[CLASSES], "3 labels, "),
    "numbers": (model(3), X[:, :3], "3 numbers, mean squared error, judged by the mean_squared_error"),
    "numbers by a loss of its own": (model(1, None, keras.losses.Huber()), X[:, 0], "1 numbers, huber loss, judged"),
    "whole numbers": (model(1), np.arange(40), "1 numbers, "),
    "zeros and ones as numbers": (model(1, None, "mse"), BITS[:, 0], "1 numbers, "),
}


@pytest.mark.parametrize("net, y, told", TASKS.values(), ids=TASKS)
def test_task_is_told_in_words(net, y, told):
    assert str(task_of(net, X, y)).startswith(told)


@pytest.mark.parametrize("net, y, told", TASKS.values(), ids=TASKS)
def test_score_loss_and_teacher_take_the_targets_and_outputs_of_the_task(net, y, told):
    task = task_of(net, X, y)
    targets, outputs = task.targets(y, "y"), net.predict(X, verbose=0)
    assert np.isfinite(float(task.loss(targets, outputs)))
    assert np.isfinite(float(task.teacher_loss.compute_loss(outputs, outputs + 0.01)))
    assert task.score.samples(targets, outputs).shape == (40,)
    assert task.score(targets, outputs) == pytest.approx(task.score.samples(targets, outputs).mean())


@pytest.mark.parametrize("activation, threshold", [("sigmoid", 0.5), (None, 0.0)], ids=["probabilities", "logits"])
def test_labels_are_told_apart_at_the_threshold_of_the_outputs(activation, threshold):
    task = task_of(model(3, activation), X, BITS)
    outputs = np.where(BITS, threshold + 0.1, threshold - 0.1)
    outputs[:4, 0] = 2 * threshold - outputs[:4, 0]  # four wrong labels of 120
    assert task.score(task.targets(BITS, "y"), outputs) == pytest.approx(-4 / 120)
    assert task.score.metric.text(-4 / 120) == "3.33 %"
    assert task.figure.value(-4 / 120) == pytest.approx(116 / 120)


@pytest.mark.parametrize("activation, logits", [("softmax", False), (None, True)])
def test_loss_knows_probabilities_from_logits(activation, logits):
    assert task_of(model(3, activation), X, CLASSES).loss.from_logits is logits


@pytest.mark.parametrize(
    "net, y, bad, message",
    [
        (model(3), CLASSES, CLASSES + 1, r"y_val has labels that the model does not know\. .* 1 to 3\. Use 0 to 2"),
        (model(3), CLASSES, CLASSES + 0.5, r"y_val must be class indices or one-hot rows\. Received: dtype=float64"),
        (model(3), CLASSES, BITS[:, :2], r"y_val must be class indices or one-hot rows\. .*shape=\(40, 2\)"),
        (model(3, "sigmoid"), BITS, CLASSES, r"y_val must be 3 zeros and ones a sample\. .*shape=\(40,\)"),
        (model(3), X[:, :3], X[:, :2], r"y_val must be numbers in the shape of the outputs\. .*Use shape \(3,\)"),
    ],
    ids=["class unknown", "class no index", "rows of another width", "labels missing", "numbers missing"],
)
def test_targets_of_another_task_are_refused_by_name(net, y, bad, message):
    with pytest.raises(ValueError, match=message):
        task_of(net, X, y).targets(bad, "y_val")


def test_one_target_for_several_outputs_is_refused():
    inputs = keras.Input((6,))
    net = keras.Model(inputs, [keras.layers.Dense(1, name=name)(inputs) for name in "ab"], name="two")
    with pytest.raises(ValueError, match="Model 'two' has 2 outputs: a, b. Received: 1 arrays. Give one for each"):
        task_of(net, X, CLASSES)


def test_targets_that_fit_no_task_are_asked_for_in_words():
    with pytest.raises(ValueError, match=r"The task of model 'net' does not follow .*targets of shape \(40, 2\).*Use"):
        task_of(model(3), X, X[:, :2])


IMAGES = np.random.default_rng(2).normal(size=(20, 4, 5, 2)).astype(np.float32)
MAP = np.random.default_rng(3).integers(0, 3, (20, 4, 5))


def of_maps(width, activation=None, loss=None):
    keras.utils.set_random_seed(0)
    found = keras.Sequential([keras.Input((4, 5, 2)), keras.layers.Conv2D(width, 1, activation=activation)])
    if loss is not None:
        found.compile("sgd", loss)
    return found


MAPS = {
    "indices": (
        of_maps(3, "softmax"),
        MAP,
        "maps of 3 classes, sparse categorical crossentropy, judged by the mean IoU",
    ),
    "column": (of_maps(3, "softmax"), MAP[..., None], "maps of 3 classes, "),
    "one-hot": (of_maps(3, "softmax"), np.eye(3)[MAP], "maps of 3 classes, "),
    "logits": (of_maps(3, None, "sparse_categorical_crossentropy"), MAP, "maps of 3 classes, "),
    "yes or no": (
        of_maps(1, "sigmoid"),
        (MAP > 1)[..., None],
        "maps of yes or no, binary crossentropy, judged by the m",
    ),
    "labels": (of_maps(2, "sigmoid", "binary_crossentropy"), np.stack([MAP > 1, MAP > 0], -1), "maps of 2 labels, "),
    "numbers": (of_maps(2), IMAGES, "40 numbers, mean squared error"),
}


@pytest.mark.parametrize("net, y, told", MAPS.values(), ids=MAPS)
def test_maps_are_a_segmentation_or_a_regression(net, y, told):
    task = task_of(net, IMAGES, y)
    assert str(task).startswith(told)
    targets, outputs = task.targets(y, "y"), net.predict(IMAGES, verbose=0)
    assert np.isfinite(float(task.loss(targets, outputs)))
    assert np.isfinite(float(task.teacher_loss.compute_loss(outputs, outputs + 0.01)))
    assert np.isfinite(task.score(targets, outputs))


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")  # of Keras's metric, on JAX
def test_mean_iou_is_that_of_keras():
    task = task_of(of_maps(3, "softmax"), IMAGES, MAP)
    outputs = np.random.default_rng(4).random((20, 4, 5, 3)).astype(np.float32)
    wanted = keras.metrics.MeanIoU(num_classes=3, sparse_y_pred=False)
    wanted.update_state(MAP, outputs)
    assert task.score(task.targets(MAP, "y"), outputs) == pytest.approx(float(wanted.result()))
    assert task.score(task.targets(MAP, "y"), np.eye(3)[MAP]) == 1
    labels = task_of(of_maps(1, "sigmoid"), IMAGES, (MAP > 1)[..., None])
    binary = keras.metrics.BinaryIoU(threshold=0.5)
    binary.update_state(MAP > 1, outputs[..., 0])
    assert labels.score((MAP > 1)[..., None], outputs[..., :1]) == pytest.approx(float(binary.result()))


def two_heads(kinds=("softmax", "sigmoid"), names=("zeta", "alpha"), **compiled):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    widths = {"softmax": 3, "sigmoid": 1, None: 2}
    heads = {
        name: keras.layers.Dense(widths[kind], kind, name=name)(inputs) for name, kind in zip(names, kinds, strict=True)
    }
    found = keras.Model(inputs, heads, name="heads")
    if compiled:
        found.compile("sgd", **compiled)
    return found


def test_several_decisions_are_judged_by_the_mean_of_their_error_rates():
    net, y = two_heads(), {"zeta": CLASSES, "alpha": BITS[:, 0]}
    task = task_of(net, X, y)
    assert str(task).startswith("alpha: yes or no; zeta: 3 classes, ") and task.score.metric.name == "mean error"
    targets = task.targets([y["alpha"], y["zeta"]], "y")
    right = [BITS[:, :1].astype(np.float32), np.eye(3, dtype=np.float32)[CLASSES]]
    assert task.score(targets, right) == 0
    assert task.score(targets, [1 - right[0], right[1]]) == -0.5
    assert task.figure.text(task.score(targets, [1 - right[0], right[1]])) == "50.00 %"


def test_outputs_of_several_kinds_are_judged_by_the_weighted_sum_of_their_losses():
    losses = {"zeta": "sparse_categorical_crossentropy", "alpha": "mse"}
    net = two_heads(("softmax", None), loss=losses, loss_weights={"zeta": 0.5, "alpha": 3.0})
    y = {"zeta": CLASSES, "alpha": X[:, :2]}
    task = task_of(net, X, y)
    targets = task.targets([y["alpha"], y["zeta"]], "y")
    outputs = net.predict(X, verbose=0)
    ordered = [outputs["alpha"], outputs["zeta"]]
    wanted = net.evaluate(X, y, verbose=0)
    wanted = wanted if np.isscalar(wanted) else wanted[0]
    assert task.score(targets, ordered) == pytest.approx(-wanted, rel=1e-5)
    assert task.score.samples(targets, ordered).mean() == pytest.approx(-wanted, rel=1e-5)
    assert np.isfinite(float(task.teacher_loss.compute_loss(outputs, outputs)))


def test_targets_of_one_of_several_outputs_are_refused_by_its_name():
    net, y = two_heads(), {"zeta": CLASSES, "alpha": BITS[:, 0]}
    task = task_of(net, X, y)
    with pytest.raises(ValueError, match="y_val of output 'zeta' has labels that the model does not know"):
        task.targets([BITS[:, 0], CLASSES + 5], "y_val")
    with pytest.raises(ValueError, match="y_val must be one array for each output. .* Give alpha, zeta"):
        task.targets(CLASSES, "y_val")
    with pytest.raises(ValueError, match="must have the names of the model's outputs. Received: zeta, beta"):
        task_of(net, X, {"zeta": CLASSES, "beta": CLASSES})
    with pytest.raises(
        ValueError, match=r"does not follow from its output 'zeta' .*shape \(None, 3\), targets of shape"
    ):
        task_of(net, X, {"zeta": X[:, :2], "alpha": BITS[:, 0]})


UNLABELLED = {
    "softmax": (
        model(3, "softmax"),
        "the given model's 3 classes, categorical crossentropy, judged by the disagreement",
    ),
    "logits": (model(3, None, keras.losses.SparseCategoricalCrossentropy(from_logits=True)), "the given model's 3 cl"),
    "sigmoids": (model(3, "sigmoid", "binary_crossentropy"), "the given model's 3 labels, binary crossentropy"),
    "numbers": (model(3, None, "mse"), "3 numbers, mean squared error"),
}


@pytest.mark.parametrize("net, told", UNLABELLED.values(), ids=UNLABELLED)
def test_without_targets_the_given_outputs_are_what_is_wanted(net, told):
    task = task_of(net, X)
    assert str(task).startswith(told)
    outputs = net.predict(X, verbose=0)
    targets = task.targets(outputs, "y")
    assert task.score(targets, outputs) == pytest.approx(0, abs=1e-7)
    worse = np.roll(outputs, 1, axis=1)
    assert task.score(targets, worse) < -0.1
    assert float(task.loss(targets, outputs)) < float(task.loss(targets, worse))


def test_losses_by_name_and_by_function_have_names():
    def own(y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)

    assert str(task_of(model(3, None, "mae"), X, X[:, :3])).startswith("3 numbers, mean absolute error, judged")
    task = task_of(model(3, None, own), X, X[:, :3])
    assert str(task) == "3 numbers, own, judged by the own"
    assert task.score(X[:, :3], X[:, :3] + 1) == pytest.approx(-1)
