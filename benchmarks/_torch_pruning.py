"""ResNet-8 pruned by Torch-Pruning, in a process of its own: python -m benchmarks._torch_pruning FOLDER.

FOLDER has `given.npz` (weights as `_resnet8.flat` has them, images `x` and labels `y`, shares `budgets` of the MACs)
and receives a file for each way and budget with the thin weights, the logits of the first images, MACs and seconds. The
pruner is driven as its README does: one call of `step`, the classifier ignored, gradients of one pass over the images
for Taylor; the ratio is found by bisection, as the README leaves it to the user. A file `dense.npz` has the logits of
the network as it was converted.
"""

import copy
import pathlib
import sys
import time

import numpy as np
import torch
import torch_pruning as tp
from torch import nn
from torch.nn import functional

from benchmarks._resnet8 import LAYERS, Weights, flat, from_flat

STEPS = 12  # of the bisection
CHECKED = 64
BATCH = 128


class ResNet8(nn.Module):
    """The network with weights of Keras."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: self.layer(name, weights[name]) for name in LAYERS})

    @staticmethod
    def layer(name: str, arrays: list[np.ndarray]) -> nn.Module:
        """One layer; channels come first here."""
        tensors = [torch.tensor(each) for each in arrays]
        if name.startswith("batch"):
            layer = nn.BatchNorm2d(len(arrays[0]), eps=1e-3)
            state = dict(zip(("weight", "bias", "running_mean", "running_var"), tensors, strict=True))
        elif name == "dense":
            layer = nn.Linear(*arrays[0].shape)
            state = {"weight": tensors[0].T, "bias": tensors[1]}
        else:
            size, _, inputs, outputs = arrays[0].shape
            stride = 2 if name in ("conv2d_3", "conv2d_5", "conv2d_6", "conv2d_8") else 1
            layer = nn.Conv2d(inputs, outputs, size, stride, padding=1 if size == 3 and stride == 1 else 0)
            state = {"weight": tensors[0].permute(3, 2, 0, 1), "bias": tensors[1]}
        layer.load_state_dict(state, strict=False)
        return layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of (n, 3, 32, 32)."""
        parts, relu = self.parts, functional.relu
        x = relu(parts["batch_normalization"](parts["conv2d"](x)))
        y = relu(parts["batch_normalization_1"](parts["conv2d_1"](x)))
        x = relu(x + parts["batch_normalization_2"](parts["conv2d_2"](y)))
        for first, second, around, norms in (("_3", "_4", "_5", ("_3", "_4")), ("_6", "_7", "_8", ("_5", "_6"))):
            # TensorFlow pads an even size below and to the right alone where it takes each second place.
            y = parts[f"conv2d{first}"](functional.pad(x, (0, 1, 0, 1)))
            y = relu(parts[f"batch_normalization{norms[0]}"](y))
            y = parts[f"batch_normalization{norms[1]}"](parts[f"conv2d{second}"](y))
            x = relu(parts[f"conv2d{around}"](x) + y)
        return parts["dense"](functional.avg_pool2d(x, 8).flatten(1))

    def weights(self) -> dict[str, list[np.ndarray]]:
        """As Keras has them."""
        found = {}
        for name, layer in self.parts.items():
            arrays = [layer.weight, layer.bias]
            if name.startswith("batch"):
                arrays += [layer.running_mean, layer.running_var]
            elif name == "dense":
                arrays[0] = arrays[0].T
            else:
                arrays[0] = arrays[0].permute(2, 3, 1, 0)
            found[name] = [each.detach().numpy().copy() for each in arrays]
        return found


def macs(model: nn.Module) -> int:
    """Multiply-accumulates of an inference, as Torch-Pruning counts them."""
    return int(tp.utils.count_ops_and_params(model, torch.zeros(1, 3, 32, 32))[0])


def pruned(model: ResNet8, ratio: float, way: str, x: torch.Tensor, y: torch.Tensor) -> ResNet8:
    """A thinner copy."""
    model = copy.deepcopy(model)
    taylor = way.startswith("taylor")
    importance = tp.importance.GroupTaylorImportance() if taylor else tp.importance.GroupMagnitudeImportance(p=1)
    pruner = tp.pruner.BasePruner(
        model,
        x[:1],
        importance=importance,
        pruning_ratio=ratio,
        global_pruning="global" in way,
        ignored_layers=[model.parts["dense"]],
    )
    if taylor:
        for start in range(0, len(x), BATCH):
            rows = slice(start, start + BATCH)
            functional.cross_entropy(model(x[rows]), y[rows], reduction="sum").backward()
    pruner.step()
    return model


def to_share(model: ResNet8, share: float, way: str, x: torch.Tensor, y: torch.Tensor) -> ResNet8:
    """The thinner copy with the most MACs that a share allows."""
    low, high, whole, best = 0.0, 0.99, macs(model), None
    for _ in range(STEPS):
        ratio = (low + high) / 2
        found = pruned(model, ratio, way, x, y)
        if macs(found) <= share * whole:
            high, best = ratio, found
        else:
            low = ratio
    if best is None:
        raise SystemExit(f"no ratio leaves {share:.0%} of the MACs")
    return best


def main(folder: pathlib.Path) -> None:
    """All ways and budgets."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with np.load(folder / "given.npz") as given:
        model = ResNet8(from_flat(given)).eval()
        x, y = torch.tensor(given["x"]).permute(0, 3, 1, 2), torch.tensor(given["y"], dtype=torch.long)
        budgets, ways = given["budgets"].tolist(), given["ways"].tolist()

    def written(name: str, found: ResNet8, seconds: float) -> None:
        with torch.no_grad():
            logits = found.eval()(x[:CHECKED]).numpy()
        np.savez(folder / f"{name}.npz", **flat(found.weights()), logits=logits, macs=macs(found), seconds=seconds)

    written("dense", model, 0.0)
    for way in ways:
        for share in budgets:
            start = time.perf_counter()
            found = to_share(model, share, way, x, y)
            written(f"{way}_{share}", found, time.perf_counter() - start)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
