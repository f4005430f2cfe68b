"""What is left of a layer's kernels as a small image."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableLayer
from tf_structprune.masks import LayerMasks
from tflite_export.report._mask_picture import MaskPicture

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


def layer_picture(given: PrunableLayer, layer: PrunableLayer, masks: LayerMasks) -> MaskPicture | None:
    """The picture of one layer.

    Args:
        given: as it was.
        layer: as it is left, the same where nothing was taken out.
        masks: what is left of its kernels.

    Returns:
        The picture; None where the layers are not of a kind.
    """
    if given.positions != layer.positions or given.outputs < layer.outputs or given.group_inputs < layer.group_inputs:
        return None
    block = layer.kernel_shape[:2] if len(layer.kernel_shape) == 4 else (1, layer.positions)
    if block[0] * block[1] != layer.positions:
        block = (1, layer.positions)
    return mask_picture(
        layer.name, masks.kept, block=(block[0], block[1]), outputs=given.outputs, inputs=given.group_inputs
    )


def png_of(mask: MaskPicture) -> bytes:
    """The picture as a PNG file, a pixel a point.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.image import imsave

    points = np.where(points_of(mask)[..., None], np.array(_KEPT, np.uint8), np.array(_GONE, np.uint8))
    stream = io.BytesIO()
    imsave(stream, points, format="png", metadata=_NO_VERSION)
    return stream.getvalue()


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
    data = base64.b64encode(png_of(mask)).decode()
    alt = escape(f"kept kernels of {mask.layer}")
    width = pixels * mask.columns / mask.block[1]
    return f'<img class="mask" alt="{alt}" style="width:{width:.0f}px" src="data:image/png;base64,{data}">'
