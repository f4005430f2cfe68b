"""What a reconstruction did, layer by layer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerReconstruction:
    """What became of one layer that had something to make up for.

    Attributes:
        name: its path.
        before: squared error of its outputs with the weights as they were cut, as a share of the variance of what they
            are to be; NaN where it is not known.
        after: the same with the new weights.
        rows: pixels that the weights were fitted to, 0 where they were not.
        unknowns: weights of one output.
        reason: why it keeps its weights, "" if it does not.
    """

    name: str
    before: float = float("nan")
    after: float = float("nan")
    rows: int = 0
    unknowns: int = 0
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.name}: kept as it is, {self.reason}"
        few = f" ({self.rows} pixels for {self.unknowns} weights: the ridge decides)" * (self.rows < self.unknowns)
        return f"{self.name}: error {self.before:.1%} -> {self.after:.1%}{few}"


@dataclass(frozen=True)
class Reconstruction:
    """What a reconstruction did.

    Attributes:
        layers: with kernels, in the order of the model; those that have nothing to make up for are left out.
        statistics: batch normalizations whose statistics were measured anew.
        samples: how many samples were used.
    """

    layers: tuple[LayerReconstruction, ...]
    statistics: tuple[str, ...]
    samples: int

    @property
    def kept(self) -> tuple[LayerReconstruction, ...]:
        """The layers that could not be solved."""
        return tuple(layer for layer in self.layers if layer.reason)

    def __str__(self) -> str:
        measured = f"statistics of {len(self.statistics)} batch normalizations measured"
        return "\n".join([f"{self.samples} samples; {measured}", *(f"  {layer}" for layer in self.layers)])
