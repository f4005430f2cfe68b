"""Child process of `_child`: TensorFlow's converter and LiteRT, or TFLite Micro, whose native code may crash.

Run as a script, so it imports nothing of the package, and only what a request needs. It reads pickled requests, the
name of a function and its arguments, from stdin and writes pickled answers, (None, value) or (class, text) of what was
raised, to stdout; it ends when stdin does. `python _process.py tensorflow` imports what converts before the first
request. TFLite Micro has one of these processes to itself: each of its runs is a copy of it, made by a fork.
"""

import gc
import math
import os
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

_LOADED: list[Any] = []  # the interpreter that `load` made last


def check(data: bytes) -> None:
    """Lets LiteRT verify every offset of a file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def load(data: bytes, resolver: str, threads: int) -> None:
    """Makes the interpreter that `run` uses."""
    _LOADED.clear()
    _LOADED.append(_interpreter(data, resolver, threads))


def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of samples, one array for each output, one sample run after the other."""
    (interpreter,) = _LOADED
    sources = [each["index"] for each in interpreter.get_input_details()]
    targets = [each["index"] for each in interpreter.get_output_details()]
    outputs: list[list[np.ndarray]] = [[] for _ in targets]
    for index in range(len(arrays[0])):
        for source, array in zip(sources, arrays, strict=True):
            interpreter.set_tensor(source, array[index : index + 1])
        interpreter.invoke()
        for rows, target in zip(outputs, targets, strict=True):
            rows.append(interpreter.get_tensor(target)[0])
    return [np.stack(rows) for rows in outputs]


def latencies_us(files: list[bytes], threads: int, warmup: int, runs: int) -> np.ndarray:
    """Times files in turns, shape (files, runs): each behind an untimed run of its own, in an order drawn anew."""
    calls = [_prepared_call(data, threads) for data in files]
    latencies = np.zeros((len(calls), runs))
    rng = np.random.default_rng(0)
    for round_ in range(-warmup, runs):
        for index in rng.permutation(len(calls)):
            calls[index]()
            start = time.perf_counter_ns()
            calls[index]()
            elapsed = time.perf_counter_ns() - start
            if round_ >= 0:
                latencies[index, round_] = elapsed / 1000
    return latencies


def convert(folder: str, quantize: str, samples: dict[str, str]) -> bytes:
    """Converts a SavedModel to a `.tflite` file.

    Args:
        folder: the SavedModel.
        quantize: number format, as `tflite_export.quantize.Quantize` has it.
        samples: paths of `.npy` files that set the ranges of integer signals, by the names of the inputs; none where
            the format has no ranges or the model has its own.
    """
    tf = _tensorflow()
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if samples:
        operators = {
            "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        converter.representative_dataset = lambda: _batches_of_one(samples)
        converter.target_spec.supported_ops = [operators[quantize]]
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    signals = {"int8": tf.int8, "int16x8": tf.int16}.get(quantize)
    if signals is not None:
        converter.inference_input_type = converter.inference_output_type = signals
    try:
        return bytes(converter.convert())
    finally:
        gc.collect()  # graphs hang in reference cycles


def calibrate(data: bytes, samples: list[str]) -> None:
    """Runs a float file as the converter does to measure the ranges of its signals.

    Args:
        data: the file.
        samples: paths of `.npy` files, in the order of its inputs.
    """
    _tensorflow()
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    arrays = [np.load(path, mmap_mode="r")[:1] for path in samples]
    Calibrator(data)._feed_tensors(lambda: iter([arrays]), resize_input=True)


def micro(folder: str, arena_bytes: int, decode_bytes: int, outputs: int) -> tuple[int, str]:
    """Runs a file in TFLite Micro, in a copy of this process: it aborts on some models, and tells sizes on stderr.

    Args:
        folder: has `model.tflite` and `inputs.npz`, and receives `outputs.npz`: an array for each input and output.
        arena_bytes: size of the arena.
        decode_bytes: memory beside it in which packed weights are decoded.
        outputs: how many there are.

    Returns:
        The copy's exit status, negative for a signal, and what it printed.
    """
    from tflite_micro.python.tflite_micro import runtime

    log = os.path.join(folder, "log")
    with open(log, "wb") as printed:
        copy = os.fork()
        if copy == 0:
            os.dup2(printed.fileno(), 2)
            _micro_and_exit(runtime, folder, arena_bytes, decode_bytes, outputs)
    _, status = os.waitpid(copy, 0)
    with open(log, errors="replace") as printed_text:
        return os.waitstatus_to_exitcode(status), printed_text.read()


def _micro_and_exit(runtime: Any, folder: str, arena_bytes: int, decode_bytes: int, outputs: int) -> NoReturn:
    status = 1
    try:
        interpreter = runtime.Interpreter.from_file(
            os.path.join(folder, "model.tflite"), arena_size=arena_bytes, alt_decompression_memory_size=decode_bytes
        )
        with np.load(os.path.join(folder, "inputs.npz")) as file:
            inputs = list(file.values())
        rows: list[list[np.ndarray]] = [[] for _ in range(outputs)]
        for index in range(len(inputs[0])):
            for place, samples in enumerate(inputs):
                interpreter.set_input(samples[index : index + 1], place)
            interpreter.invoke()
            for place, found in enumerate(rows):
                found.append(np.array(interpreter.get_output(place)[0]))
        np.savez(os.path.join(folder, "outputs.npz"), *(np.stack(found) for found in rows))
        interpreter.print_allocations()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _tensorflow() -> Any:
    for each in ("keras", "jax"):  # half of the time that TensorFlow takes to import; the converter needs neither
        sys.modules.setdefault(each, None)  # type: ignore[arg-type]
    import tensorflow as tf

    if not gc.get_freeze_count():
        gc.freeze()  # what it imported never goes
    return tf


def _interpreter(data: bytes, resolver: str, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = getattr(OpResolverType, resolver)
    interpreter = Interpreter(model_content=data, num_threads=threads, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    return interpreter


def _prepared_call(data: bytes, threads: int) -> Callable[[], None]:
    """A call that runs one inference and nothing else, on inputs that are no special case."""
    interpreter = _interpreter(data, "BUILTIN", threads)
    rng = np.random.default_rng(0)
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], _random_input(tensor, rng))
    invoke: Callable[[], None] = interpreter.invoke
    return invoke


def _random_input(tensor: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(tensor["dtype"])
    shape = tuple(int(size) for size in tensor["shape"])
    if dtype in (np.int8, np.uint8):
        # Every bit pattern is a value.
        return np.frombuffer(rng.bytes(math.prod(shape)), dtype).reshape(shape)
    # Wider integers may be indices: 0, what the cast makes of these, is in every range.
    return rng.random(shape).astype(dtype)


def _batches_of_one(samples: dict[str, str]) -> Iterator[dict[str, np.ndarray] | list[np.ndarray]]:
    arrays = {name: np.load(path, mmap_mode="r") for name, path in samples.items()}
    for index in range(len(next(iter(arrays.values())))):
        batch = {name: np.asarray(array[index : index + 1]) for name, array in arrays.items()}
        yield batch if len(batch) > 1 else list(batch.values())


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (check, load, run, latencies_us, convert, calibrate, micro)
}


def _answer(name: str, arguments: tuple[Any, ...]) -> tuple[str | None, Any]:
    try:
        return None, _FUNCTIONS[name](*arguments)
    except Exception as error:  # of whatever class the native code's bindings raise
        return type(error).__name__, str(error)


def main() -> None:
    """Answers requests until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints is no answer
    if "tensorflow" in sys.argv[1:]:
        _tensorflow()
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer = _answer(name, arguments)
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    main()
