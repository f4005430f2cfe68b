"""`python -m tf_structprune_cli` is `tf-structprune`."""

from tf_structprune_cli import run

run()
