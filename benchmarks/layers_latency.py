"""Time of one inference with fewer layers, and with fewer channels at as many MACs.

    python -m benchmarks.layers_latency --out benchmarks/results [--networks resnet20,resnet56] [--shares 0.6,0.4]

Claim (Xu et al., arXiv 2011.14356): of two networks of as many MACs that with fewer layers is the faster one. Time does
not depend on what weights are, so the networks are untrained: residual blocks go in turns from the three stages, the
last ones first, until no more than the share of the MACs is left, and channels are allocated uniformly to the MACs that
this left. All files of a network are timed in turns on this machine, one thread; ratios are of the dense file's median.
"""

import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from benchmarks.networks import randomize, resnet_cifar
from tf_structprune.allocation import Budget
from tf_structprune.fuse import find_removable
from tf_structprune.masks import FEATURE_MAP, kept_space
from tf_structprune.shrink import shrink
from tflite_export.devices import HOST
from tflite_export.file import TFLiteFile
from tflite_export.quantize import convert

FLAGS = flags.FLAGS
flags.DEFINE_string("out", None, "Folder of the results.", required=True)
flags.DEFINE_list("networks", ["resnet20", "resnet56"], "Which ResNets.")
flags.DEFINE_list("shares", ["0.6", "0.4"], "Shares of the MACs that stay.")
flags.DEFINE_integer("rounds", 7, "Rounds of all files.")
flags.DEFINE_integer("runs", 30, "Inferences of each file a round.")

QUANTIZED = ("none", "int8")


def shallow(model: keras.Model, share: float) -> keras.Model:
    """The network without as many residual blocks as it takes."""
    most = share * sp.trace(model).macs
    blocks = [unit.name for unit in find_removable(model)[0].values() if len(unit.passing) == 1 and len(unit.gone) > 2]
    widths = sorted({_width(model, name) for name in blocks})
    stages = [[name for name in blocks if _width(model, name) == width] for width in widths]
    order = [stage[-turn] for turn in range(1, 1 + max(map(len, stages))) for stage in stages if turn <= len(stage)]
    small = model
    for count in range(1, 1 + len(order)):
        small = sp.remove_layers(model, order[:count])
        if sp.trace(small).macs <= most:
            break
    return small


def _width(model: keras.Model, name: str) -> int:
    """The number of channels of a block, by which the stages differ."""
    return int(model.get_layer(name).output.shape[-1])


def narrow(model: keras.Model, macs: int) -> keras.Model:
    """The network with fewer channels, every layer the same share."""
    masked = sp.wrap(model, granularity=FEATURE_MAP)
    x = np.zeros((1, 32, 32, 3), np.float32)
    found = sp.allocate(masked, Budget("macs", limit=macs), validation_data=(x, np.zeros(1)), method="uniform")
    space = kept_space(sp.trace(masked), found.kept, base=sp.get_masks(masked))
    sp.set_masks(masked, space.sample(np.random.default_rng(0)))
    return shrink(masked).model


def rows(name: str) -> list[dict[str, Any]]:
    """All files of a network, timed in turns."""
    dense = randomize(resnet_cifar(int(name.removeprefix("resnet"))), 0)
    models = {("dense", 1.0): dense}
    for share in map(float, FLAGS.shares):
        models["layers", share] = shallow(dense, share)
        models["channels", share] = narrow(dense, sp.trace(models["layers", share]).macs)
    x = np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype(np.float32)
    found = []
    for quantize in QUANTIZED:
        files = [TFLiteFile(convert(model, quantize=quantize, representative_data=x)) for model in models.values()]
        times = np.stack([np.median(HOST.latencies_us(files, runs=FLAGS.runs), axis=1) for _ in range(FLAGS.rounds)])
        ratios = times[:, :1] / times
        for index, ((kind, share), model) in enumerate(models.items()):
            found.append(
                {
                    "network": name,
                    "quantize": quantize,
                    "kind": kind,
                    "share": share,
                    "macs": sp.trace(model).macs,
                    "layers": sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers),
                    "latency_us": float(np.median(times[:, index])),
                    "speedup": float(np.median(ratios[:, index])),
                    "spread": [float(ratios[:, index].min()), float(ratios[:, index].max())],
                }
            )
    return found


def table(found: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [
        "# Fewer layers against fewer channels, at as many MACs\n",
        f"LiteRT on this machine, one thread, untrained networks, {FLAGS.rounds} rounds of {FLAGS.runs} inferences in "
        "turns; speedup is the dense file's median over the file's own, in brackets the least and the largest of all "
        "rounds.\n",
        "| network | file | what goes | convolutions | MACs | speedup |",
        "|---|---|---|---|---|---|",
    ]
    for each in found:
        low, high = each["spread"]
        file = "float32" if each["quantize"] == "none" else each["quantize"]
        lines.append(
            f"| {each['network']} | {file} | {each['kind']} | {each['layers']} | {each['macs'] / 1e6:.1f} M | "
            f"{each['speedup']:.2f}x ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join([*lines, ""])


def main(_: list[str]) -> None:
    """Time all, and write the results after each network."""
    out, found = pathlib.Path(FLAGS.out), list[dict[str, Any]]()
    out.mkdir(parents=True, exist_ok=True)
    for name in FLAGS.networks:
        found += rows(name)
        logging.info("%s done", name)
        (out / "layers_latency.json").write_text(json.dumps(found, indent=2) + "\n")
        (out / "layers_latency.md").write_text(table(found))


if __name__ == "__main__":
    app.run(main)
