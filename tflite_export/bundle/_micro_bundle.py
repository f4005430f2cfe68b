"""All that firmware needs to run a model in TFLite Micro, with a program that does it and how to build it."""

from collections.abc import Sequence
from typing import Any

from tflite_export.bundle._ecosystems import ECOSYSTEMS, project
from tflite_export.bundle._libraries import LIBRARIES, check_bundles, library_notes
from tflite_export.bundle._model_settings import Ends, model_settings
from tflite_export.bundle._op_resolver import op_resolver
from tflite_export.bundle._own_operator import own_parts, own_sources
from tflite_export.bundle._program import Entry, macro_of, program
from tflite_export.bundle._self_test import Recorded, self_test
from tflite_export.bundle._texts import filled
from tflite_export.bundle._told import memory_rows, operator_rows
from tflite_export.file import TFLM_DECODE, TFLiteFile, TFLiteModel, open_file
from tflite_export.pack import CODE_SIZES
from tflite_export.runtime import check_ends
from tflite_export.write import c_array

_KB = 1000


def micro_bundle(
    model: TFLiteModel,
    name: str,
    *,
    arena_bytes: int | None,
    tflm_version: str | None = None,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    recorded: Recorded | None = None,
    bundles: Sequence[str] = (),
) -> dict[str, str]:
    """Writes the sources of a firmware that runs a model.

    `NAME_data.cc` and `NAME_data.h`: the file as an array (`c_array`). `NAME_ops.h`: its operators
    (`op_resolver`). `NAME_settings.h`: shapes, scales, zero points, arena (`model_settings`). `main.cc`: a
    program that runs one inference and prints the output. `README.md`: how to build it with TFLite Micro. With
    recorded samples also `NAME_self_test.cc` and `NAME_self_test.h`, which `main.cc` runs first where
    `NAME_SELF_TEST` is defined.

    Args:
        model: a `.tflite` file with inputs of batch 1.
        name: C++ identifier that starts the names.
        arena_bytes: tensor arena, from `runtime.arena_bytes`; None when it was not measured, and then `main.cc`
            asks for it at compile time.
        tflm_version: version of the TFLite Micro that measured it.
        inputs: names of several inputs, in the order of the file, which has none; they are numbered without.
        outputs: names of several outputs.
        recorded: samples for a self test, from `record`.
        bundles: ecosystems, see `Bundle`: for each a folder of its name with all of this as a project for it.

    Returns:
        Texts by file name; the same arguments give the same texts.

    Raises:
        ValueError: `name` is no C++ identifier, a damaged file, no input or output, types that C++ has no
            name for here, names for another number of ends, an operator that TFLite Micro lacks, or an unknown
            ecosystem, or one without recorded samples.
    """
    check_bundles(bundles)
    file = open_file(model)
    array = c_array(file.data, f"{name}_data")
    description = file.description
    check_ends(description)
    ends = Ends.of(description, inputs, outputs)
    sources = own_sources(description) | {
        f"{name}_data.cc": array.source,
        f"{name}_data.h": array.header,
        f"{name}_ops.h": op_resolver(description, f"{name}_ops"),
        f"{name}_settings.h": model_settings(
            description, name, arena_bytes=arena_bytes, tflm_version=tflm_version, ends=ends
        ),
    }
    if recorded is not None:
        sources |= self_test(recorded, name, ends, data=file.data)
    main = program(description, name, ends, entry=Entry(), self_test=recorded is not None)
    files = sources | {"main.cc": main, "README.md": _readme(file, name, recorded, bundles)}
    for bundle in bundles:
        told = _told(file, name, bundle, arena_bytes, recorded)
        main = program(description, name, ends, entry=ECOSYSTEMS[bundle].entry, self_test=True)
        made = project(bundle, name, sources, main, told)
        files |= {f"{bundle}/{path}": text for path, text in made.items()}
    return files


def _readme(file: TFLiteFile, name: str, recorded: Recorded | None, bundles: Sequence[str]) -> str:
    description, macro = file.description, macro_of(name)
    names = {"name": name, "macro": macro}
    folders = [f"| `{bundle}/` | all of this as {ECOSYSTEMS[bundle].told}, see its README.md |" for bundle in bundles]
    places = {
        **names,
        "folders": "".join(f"{line}\n" for line in folders),
        "test_files": "" if recorded is None else filled("self_test_files.md", names),
        "self_test": "" if recorded is None else filled("self_test.md", names),
        "packed": _packed(names) if TFLM_DECODE in description.operator_names else "",
    }
    return filled("README.md", places | own_parts(description, name))


def _told(
    file: TFLiteFile, name: str, bundle: str, arena_bytes: int | None, recorded: Recorded | None
) -> dict[str, Any]:
    """What comes into the places of a project's texts."""
    if recorded is None:
        raise ValueError(
            f"A project tests itself with recorded samples. Received: bundles={bundle!r} without them. Use "
            "recorded=record(file, samples)."
        )
    library, notes = LIBRARIES[bundle], library_notes(file.description, bundle)
    real = any(not end.scales for end in file.description.outputs)
    figures = {
        "name": name,
        "operators": operator_rows(file, sorted(library.lacks)),
        "library": library.name,
        "notes": "".join(f"**Warning**: {note}\n\n" for note in notes),
        "memory": memory_rows(file, arena_bytes, recorded, name=name),
    }
    return {
        "name": name,
        "macro": macro_of(name),
        "figures": filled("figures.md", figures),
        "float_print": "y" if real else "n",
    }


def _packed(names: dict[str, str]) -> str:
    """A part of the README for packed weights."""
    code = CODE_SIZES[TFLM_DECODE]
    least, most = (f"{size / _KB:.1f}" for size in (code.least_bytes, code.most_bytes))
    return filled("packed.md", {**names, "least": least, "most": most})
