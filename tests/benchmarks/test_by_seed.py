import json

import pytest

from benchmarks._by_seed import by_seed

NAMES = ("a", "b", "c")


def run(out, seeds, measured, stop=None, settings=None):
    """Measure rows that are named, and stop with an error in front of one of them."""

    def rows_of(seed, known):
        for name in NAMES:
            if (seed, name) == stop:
                raise KeyboardInterrupt
            if all(row["name"] != name for row in known):
                measured.append((seed, name))
                yield {"seed": seed, "name": name, **(settings or {"epochs": 3})}

    def page(rows):
        return " ".join(f"{row['seed']}{row['name']}" for row in rows)

    by_seed(out, seeds, settings or {"epochs": 3}, rows_of, page)


def test_what_was_measured_is_not_measured_again(tmp_path):
    out, measured = tmp_path / "results", []
    with pytest.raises(KeyboardInterrupt):
        run(out, [0, 1], measured, stop=(1, "c"))
    assert out.with_suffix(".md").read_text() == "0a 0b 0c"  # of the seed that is whole
    run(out, [0, 1, 2], measured)
    assert measured == [(seed, name) for seed in range(3) for name in NAMES]
    assert out.with_suffix(".md").read_text() == "0a 0b 0c 1a 1b 1c 2a 2b 2c"
    assert [row["seed"] for row in json.loads(out.with_suffix(".json").read_text())] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_seeds_of_an_earlier_call_stay_and_halves_are_not_shown(tmp_path):
    out, measured = tmp_path / "results", []
    run(out, [3], measured)
    with pytest.raises(KeyboardInterrupt):
        run(out, [4], measured, stop=(4, "b"))
    run(out, [1], measured)
    assert out.with_suffix(".md").read_text() == "1a 1b 1c 3a 3b 3c"


def test_rows_of_other_settings_do_not_count(tmp_path):
    out, measured = tmp_path / "results", []
    run(out, [0], measured)
    run(out, [0], measured, settings={"epochs": 4})
    assert len(measured) == 2 * len(NAMES)
