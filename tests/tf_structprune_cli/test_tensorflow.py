"""Without TensorFlow the command line says in one line what to install."""

import importlib

from tf_structprune_cli import main


def test_missing_tensorflow_is_one_line(capsys, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", absent)
    assert main(["inspect", "model.keras"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Received: No module named 'tensorflow'. Install it by pip install 'tf-structprune[export]'." in line
