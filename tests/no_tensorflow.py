"""A pytest plugin, `-p tests.no_tensorflow`, in whose session TensorFlow and what needs it cannot be imported."""

import sys

ABSENT = ("tensorflow", "tf_keras", "tensorflow_model_optimization", "ai_edge_litert", "tflite_export")


class _Absent:
    """An import hook that knows no module of `ABSENT`."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}, by tests.no_tensorflow", name=name)


if early := [name for name in ABSENT if name in sys.modules]:
    raise RuntimeError(f"The plugin comes too late. Received: {early} imported already. Give it by -p.")
sys.meta_path.insert(0, _Absent())
