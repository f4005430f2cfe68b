"""What is left of a layer's kernels as a small image."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tflite_export.report._values import MaskPicture

_KEPT = (0x1F, 0x83, 0xC4, 255)  # a blue that is told from white and from black
_GONE = (0x80, 0x80, 0x80, 60)
_PICTURE, _LARGEST = 144, 9  # pixels of the largest picture, and of a map at most
_NO_VERSION: dict[str, Any] = {"Software": None}
MOST = 64
"""Maps that are drawn, of outputs and of inputs."""


def mask_picture(
    layer: str, kept: NDArray[np.bool_], *, block: tuple[int, int], outputs: int, inputs: int
) -> MaskPicture:
    """The picture of a layer.

    Args:
        layer: its name.
        kept: kept weights of the layer as it is left, shape (positions, inputs, outputs).
        block: how the positions lie in a kernel, down and to the right.
        outputs: output maps of the given layer, at least as many.
        inputs: input maps of it that an output map reads, at least as many.
    """
    positions, inputs_kept, outputs_kept = kept.shape
    whole = bool((kept.all(axis=0) == kept.any(axis=0)).all())  # kernels go whole: a point each
    drawn = kept.any(axis=0, keepdims=True) if whole else kept
    down, right = (1, 1) if whole else block
    canvas = np.zeros((outputs, down, inputs, right), np.bool_)
    maps = np.reshape(drawn, (down, right, inputs_kept, outputs_kept))
    canvas[:outputs_kept, :, :inputs_kept, :] = np.transpose(maps, (3, 0, 2, 1))
    shown = canvas[:MOST, :, :MOST].reshape(min(outputs, MOST) * down, min(inputs, MOST) * right)
    return MaskPicture(
        layer=layer,
        outputs=outputs,
        inputs=inputs,
        outputs_kept=outputs_kept,
        inputs_kept=inputs_kept,
        block=(down, right),
        rows=shown.shape[0],
        columns=shown.shape[1],
        bits=np.packbits(shown).tobytes().hex(),
        kept=int(np.count_nonzero(kept)) / (positions * inputs * outputs),
    )


def points_of(mask: MaskPicture) -> NDArray[np.bool_]:
    """The points of a picture, shape (rows, columns)."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(mask.bits), np.uint8), count=mask.rows * mask.columns)
    return bits.reshape(mask.rows, mask.columns).astype(np.bool_)


def map_pixels(masks: Sequence[MaskPicture]) -> float:
    """How large a map is drawn, the same for all pictures of a page, so that layers are compared by eye."""
    most = max((max(mask.rows / mask.block[0], mask.columns / mask.block[1]) for mask in masks), default=1)
    return min(_LARGEST, _PICTURE / most)


def mask_image(mask: MaskPicture, pixels: float) -> str:
    """The picture as an `<img>` element that has its own data.

    Args:
        mask: what to draw.
        pixels: how large a map is drawn.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.image import imsave

    points = np.where(points_of(mask)[..., None], np.array(_KEPT, np.uint8), np.array(_GONE, np.uint8))
    stream = io.BytesIO()
    imsave(stream, points, format="png", metadata=_NO_VERSION)
    data = base64.b64encode(stream.getvalue()).decode()
    alt = escape(f"kept kernels of {mask.layer}")
    width = pixels * mask.columns / mask.block[1]
    return f'<img class="mask" alt="{alt}" style="width:{width:.0f}px" src="data:image/png;base64,{data}">'
