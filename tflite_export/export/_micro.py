"""The microcontroller's part of an export."""

from pathlib import Path

import keras

from tf_structprune.graph import input_names
from tf_structprune.task import Samples, output_names
from tflite_export.bundle import library_notes, micro_bundle, record
from tflite_export.export._settings import ExportSettings
from tflite_export.export._summary import runtime_versions
from tflite_export.file import TFLiteFile


def write_micro(
    folder: Path,
    file: TFLiteFile,
    *,
    model: keras.Model,
    settings: ExportSettings,
    samples: Samples,
    arena_bytes: int | None,
) -> tuple[str, ...]:
    """Writes a file's bundle, and the projects that are asked for.

    Args:
        folder: directory to write it in; it is made.
        file: the file that the firmware runs.
        model: the Keras model that names its inputs and outputs.
        settings: how to export.
        samples: real samples, of which some are recorded for the self test of projects.
        arena_bytes: the measured arena; None where it was not measured.

    Returns:
        What the ecosystems' libraries lack, in sentences.

    Raises:
        ValueError: TFLite Micro lacks an operator, or LiteRT does not run the file.
    """
    made = micro_bundle(
        file,
        settings.name,
        arena_bytes=arena_bytes,
        tflm_version=runtime_versions()["tflite_micro"],
        inputs=input_names(model),
        outputs=output_names(model),
        recorded=record(file, samples) if settings.bundle else None,
        bundles=settings.bundle,
    )
    for entry, text in made.items():
        path = folder / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tuple(note for bundle in settings.bundle for note in library_notes(file.description, bundle))
