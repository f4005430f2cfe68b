"""What a bundle has for packed weights that our own operator decodes: its sources, and what the README says of them."""

from tflite_export.bundle._texts import filled
from tflite_export.file import TFLM_DECODE, ModelDescription
from tflite_export.micro import OPERATOR, sources
from tflite_export.pack import CODE_SIZES


def own_sources(description: ModelDescription) -> dict[str, str]:
    """Texts of the sources by file name; none where no operator of the model is ours."""
    return sources(operator=True) if OPERATOR in description.operator_names else {}


def own_parts(description: ModelDescription, name: str) -> dict[str, str]:
    """Parts of the README by the name of their place; empty where no operator of the model is ours.

    Args:
        description: the model.
        name: of the bundle.
    """
    files = own_sources(description)
    units = [file for file in files if not file.endswith(".h")]
    headers = [file for file in files if file.endswith(".h")]
    ours, theirs = CODE_SIZES[OPERATOR], CODE_SIZES[TFLM_DECODE]
    packed = filled(
        "packed_own.md",
        {
            "name": name,
            "least": f"{ours.least_bytes:,}",
            "most": f"{ours.most_bytes:,}",
            "their_least": f"{theirs.least_bytes:,}",
            "their_most": f"{theirs.most_bytes:,}",
        },
    )
    return {
        "own_units": "".join(f" {file}" for file in units),
        "own_example_units": "".join(f" $({name}_EXAMPLE){file}" for file in units),
        "own_example_headers": "".join(f" $({name}_EXAMPLE){file}" for file in headers),
        "own_files": _FILES if files else "",
        "own_packed": packed if files else "",
    }


_FILES = """\
| `sham.h`, `sham.c` | the decoder of packed weights, in C99; it reads sHAM matrices too, see there |
| `tf_structprune_decode.h`, `tf_structprune_decode.cc` | the operator TFSP_DECODE, which decodes them into the arena |
"""
