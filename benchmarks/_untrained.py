"""What the benchmarks of a part of the MACs without training share: their flags, images and test part."""

import numpy as np
from absl import flags

from tf_structprune.task import Validation, as_score, check_validation

FLAGS = flags.FLAGS
flags.DEFINE_list("budgets", ["macs=0.75", "macs=0.5"], "Budgets, as KIND=FRACTION.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the images and the search.")
flags.DEFINE_integer("images", 1000, "Training images that all is decided by.")
flags.DEFINE_integer("tested", None, "Test images; all by default.")
flags.DEFINE_string("beside", "", "What else ran on the machine, for the table.")


def chosen_rows(count: int, seed: int) -> np.ndarray:
    """Rows of the training images that a seed chooses."""
    return np.random.default_rng(seed).choice(count, min(FLAGS.images, count), replace=False)


def test_part(data: np.lib.npyio.NpzFile) -> Validation:
    """The images that the figures are of, which decide nothing."""
    tested = slice(FLAGS.tested)
    pair = data["x_test"][tested].astype(np.float32), data["y_test"][tested].ravel()
    return check_validation(pair, as_score("mcr"), 500)
