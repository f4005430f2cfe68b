"""The command line, outside the packages that import TensorFlow, so that --help answers at once."""

from tf_structprune_cli._main import main as main
from tf_structprune_cli._main import run as run
