"""Packs the weights of a `.tflite` file so that TFLite Micro decodes them as it runs."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

from tflite_export.file import TFLiteFile, TFLiteModel, open_file, slim, slim_with_names
from tflite_export.pack._checksum import checked
from tflite_export.pack._coder import CodeSize, Group
from tflite_export.pack._coders import CODE_SIZES, CODERS
from tflite_export.pack._decoded import decoded
from tflite_export.pack._insert import with_decoders
from tflite_export.pack._search import Costs, least_groups
from tflite_export.pack._tensors import packable

Packing = Literal["auto", "huffman", "bitmap", "lut", "own"]
"""How weights are packed: by one coder, or each as suits it, if file and decoder together get smaller."""


@dataclass(frozen=True)
class Packed:
    """A file, and what became of it.

    Attributes:
        file: the packed file; with "auto", the one that was given, slim, where packing does not pay.
        unpacked: the file with its weights as they are, slim, for runtimes without the operator.
        how: what was asked for.
        groups: tensors that were packed, with the coder; those of a group share its tables. None where it does not pay.
        candidate_bytes: size of the packed file, also where it does not pay.
        code: what the operator's code takes of a microcontroller's flash.
    """

    file: TFLiteFile
    unpacked: TFLiteFile
    how: Packing
    groups: tuple[Group, ...]
    candidate_bytes: int
    code: CodeSize

    @property
    def pays(self) -> bool:
        """Whether the file is packed."""
        return bool(self.groups)

    @property
    def saved_bytes(self) -> int:
        """Flash that packing saves, file and code together, where the code is built for size; may be negative."""
        return len(self.unpacked.data) - self.candidate_bytes - self.code.least_bytes

    def __str__(self) -> str:
        """Both figures in a sentence or two."""
        before, after, code = len(self.unpacked.data), self.candidate_bytes, self.code
        told = (
            f"Packed file {after:,} bytes, unpacked {before:,}; the decoder's code adds {code.least_bytes:,} (built "
            f"for size) to {code.most_bytes:,} bytes: in all {after + code.least_bytes:,} to "
            f"{after + code.most_bytes:,}."
        )
        if not self.pays:
            return f"{told} It stays unpacked."
        dear = after + code.most_bytes > before
        return f"{told} Build the decoder for size: else they take more than the unpacked file." if dear else told


def check_packing(how: str) -> None:
    """Refuse another word.

    Raises:
        ValueError: it is none of `Packing`.
    """
    if how not in get_args(Packing):
        raise ValueError(f"pack must be {', '.join(map(repr, get_args(Packing)))}. Received: pack={how!r}.")


def pack(model: TFLiteModel, how: Packing = "auto", *, names: bool = False) -> Packed:
    """Packs the int8 weights of a `.tflite` file; an operator of TFLite Micro's unpacks a layer as it comes to it.

    The file computes the same in TFLite Micro, which alone runs it. Its decoder's code takes flash as well: "auto"
    packs each tensor as takes fewest bytes, and only if file and code together get smaller; a coder that is named packs
    anyway. Tensors that would not get smaller stay as they are, tables are shared where that is smaller, and the file
    has no names. It is read back, weight for weight, before it is handed over.

    Args:
        model: path of the file, its bytes, or the file.
        how: "auto", or the name of a coder: "huffman", "bitmap" (zero points are left out), "lut" (tables) or
            "own", whose operator TFSP_DECODE comes with the bundle, see `micro`.
        names: whether inputs, outputs and the signature keep their names.

    Returns:
        The packed file, the unpacked one, and what takes how much.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown `how`, a damaged file, one that is packed already, without int8 weights, or whose weights
            no such coder makes smaller.
    """
    check_packing(how)
    file = open_file(model)
    if file.description.packed:
        raise ValueError(f"{file.name}: its weights are packed already. Received: pack={how!r}. Use `decoded` first.")
    unpacked = TFLiteFile(file.edited(slim_with_names if names else slim).data, file.name)
    costs = Costs(packable(unpacked))
    if not costs.weights:
        raise ValueError(
            f"{file.name}: has no int8 weights of convolutions or dense layers. Received: operators "
            f"{', '.join(file.description.operator_names) or 'none'}. Convert with quantize='int8'."
        )
    options = [_least(unpacked, costs, how, operator, coders) for operator, coders in _by_operator(how).items()]
    best = min(options, key=lambda option: option.candidate_bytes + option.code.least_bytes)
    if how == "auto":
        return best if best.saved_bytes > 0 else _unpacked(best)
    if not best.pays:
        raise ValueError(
            f"{file.name}: {how!r} makes none of its weights smaller. Received: {len(costs.weights)} tensors of "
            f"weights. Use another coder, or 'auto'."
        )
    return best


def _by_operator(how: Packing) -> dict[str, list[str]]:
    """Coders that may be used together: a file has one operator that decodes."""
    names = list(CODERS) if how == "auto" else [how]
    operators = dict.fromkeys(CODERS[name].operator for name in names)
    return {operator: [name for name in names if CODERS[name].operator == operator] for operator in operators}


def _unpacked(option: Packed) -> Packed:
    """What is given back where packing does not pay."""
    return replace(option, file=option.unpacked, groups=())


def _least(unpacked: TFLiteFile, costs: Costs, how: Packing, operator: str, coders: Iterable[str]) -> Packed:
    """The smallest file that one operator decodes, read back."""
    groups, data = _worth_it(unpacked, costs, least_groups(costs, coders))
    file = TFLiteFile(checked(data), unpacked.name)
    if groups and decoded(file).data != unpacked.data:
        raise RuntimeError(f"{unpacked.name}: packed weights do not read back as they were. Report the model.")
    return Packed(file, unpacked, how, groups, len(file.data), CODE_SIZES[operator])


def _worth_it(unpacked: TFLiteFile, costs: Costs, groups: tuple[Group, ...]) -> tuple[tuple[Group, ...], bytes]:
    """The groups without those that only seem to gain, and the file with them; what is counted is real files."""
    data = written(unpacked, costs, groups).data
    for group in sorted(groups, key=costs.gain):
        fewer = tuple(each for each in groups if each != group)
        other = written(unpacked, costs, fewer).data
        if len(other) >= len(data):
            break
        groups, data = fewer, other
    return groups, data


def written(file: TFLiteFile, costs: Costs, groups: Iterable[Group]) -> TFLiteFile:
    """A file with its weights packed in these groups."""
    coded = []
    for group in groups:
        found = CODERS[group.coder].encode([costs.weights[index] for index in group.tensors])
        if found is not None:
            coded.append((CODERS[group.coder].operator, group, found))
    return file.edited(partial(with_decoders, coded=coded), slim_with_names) if coded else file
