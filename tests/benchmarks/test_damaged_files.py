"""Files damaged at random are read or refused in one line; a few here, hundreds of each format in the sweep."""

import pytest

from benchmarks.damaged_files import FORMATS, Good, Trap, _good, swept


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    Trap.flag = str(folder / "flag")
    (folder / "good").mkdir()
    return Good.make(folder / "good")


@pytest.mark.filterwarnings("ignore")  # of tf_keras and Keras, which would like another format
@pytest.mark.parametrize("files", [8, pytest.param(500, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_read_or_refused_in_one_line(good, kind, files):
    rows = swept(good, kind, files, seed=1)
    assert [row for row in rows if row["outcome"] not in ("read", "refused")] == []
    assert sum(row["outcome"] == "refused" for row in rows) >= files // 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_whole_files_are_read(good, kind, tmp_path):
    (tmp_path / f"case.{kind}").write_bytes((good.folder / f"good.{kind}").read_bytes())
    assert good.attempt(kind, tmp_path / f"case.{kind}").kind == "read"


def test_trap_would_be_seen(good, tmp_path, monkeypatch):
    """A loader that runs what a file says is found out."""

    def careless(command):
        import pickle

        pickle.loads(pickle.dumps(Trap()))
        return 1

    monkeypatch.setattr(_good, "_told", lambda command: _good.Outcome("refused", str(careless(command))))
    (tmp_path / "case.npz").write_bytes(b"")
    assert good.attempt("npz", tmp_path / "case.npz").kind == "run"
