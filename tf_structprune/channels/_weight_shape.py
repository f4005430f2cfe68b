"""How the size of one weight follows the maps of its layer: plain data, no Keras."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightShape:
    """The number of values of one weight: `factor`, times the input maps, times the output maps of its layer.

    Attributes:
        layer: layer name, its path if it is in a nested model.
        factor: values for each map or pair of maps; all of them where neither counts.
        by_input: whether there are so many for each input map.
        by_output: whether there are so many for each output map.
    """

    layer: str
    factor: int
    by_input: bool
    by_output: bool
