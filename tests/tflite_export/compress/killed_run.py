"""Runs of `compress` as a script; it kills itself at an epoch's end if it is told which.

python -m tests.tflite_export.compress.killed_run EPOCHS_WRITTEN OUT [OUT...]

EPOCHS_WRITTEN is 0 for a script that ends.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import tensorflow as tf

from tests.tflite_export.compress import tiny
from tests.tflite_export.compress.given_files import GivenFiles
from tf_structprune.resume import StateFolder
from tflite_export.compress import CompressSettings, _run, compress

SETTINGS = CompressSettings(
    sparsity=0.5,
    granularity=("feature_map", "kernel"),
    candidates=2,
    tolerance=0.5,
    epochs=2,
    finetune_batch=32,
    distill=0.0,
    augment=("flip", "shift"),
    lower="none",
    micro="none",
)


def kill_after(count):
    """Kill the process when so many epochs are written."""
    write, left = StateFolder.write, [count]

    def writing(self, epoch, state):
        write(self, epoch, state)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    StateFolder.write = writing


if __name__ == "__main__":
    tf.config.experimental.enable_op_determinism()
    if int(sys.argv[1]):
        kill_after(int(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        _run.hand_over = GivenFiles(Path(folder))
        for out in sys.argv[2:]:
            compress(tiny.trained(), tiny.data(), out, settings=SETTINGS, report=False)
