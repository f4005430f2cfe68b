"""Budgets are checked when they are made."""

import math

import pytest

import tf_structprune as sp
from tf_structprune.allocation import KINDS, as_budgets

WRONG = {
    "kind unknown": (("flops", 0.5), {}, r"Unknown kind of budget\. Received: kind='flops'\. Use one of: macs, param"),
    "zero": (("macs", 0.0), {}, r"Budget 'macs': fraction must be in \(0, 1\]\. Received: fraction=0\.0\. It is the"),
    "percent": (("bytes", 50), {}, r"Budget 'bytes': fraction must be in \(0, 1\]\. Received: fraction=50\."),
    "negative": (("macs", -0.5), {}, r"fraction must be in \(0, 1\]\. Received: fraction=-0\.5"),
    "nan": (("macs", math.nan), {}, r"fraction must be in \(0, 1\]\. Received: fraction=nan"),
    "text": (("macs", "0.5"), {}, r"fraction must be in \(0, 1\]\. Received: fraction='0\.5'"),
    "truth value": (("macs", True), {}, r"fraction must be in \(0, 1\]\. Received: fraction=True"),
    "share and amount": (
        ("macs", 0.5),
        {"limit": 9},
        r"has a fraction or a limit\. Received: fraction=0\.5 and limit=9",
    ),
    "neither": (("macs",), {}, r"fraction must be in \(0, 1\]\. Received: fraction=None"),
    "no amount": (("macs",), {"limit": 0}, r"limit must be a positive number\. Received: limit=0\. Use e\.g\. macs=6M"),
    "endless": (("arena",), {"limit": math.inf}, r"Received: limit=inf\. Use e\.g\. arena=20KiB"),
    "no bits": (("bytes", 0.5), {"weight_bits": 1}, r"weight_bits must be a whole number from 2 to 32\. Received: wei"),
    "part of a bit": (("bytes", 0.5), {"weight_bits": 4.0}, r"Received: weight_bits=4\.0\. Use e\.g\. 8"),
}


@pytest.mark.parametrize("values, settings, message", WRONG.values(), ids=WRONG)
def test_wrong_budget_is_refused(values, settings, message):
    with pytest.raises(ValueError, match=message):
        sp.Budget(*values, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_parsed(kind):
    assert sp.Budget.parse(f"{kind}=0.25") == sp.Budget(kind, 0.25)


@pytest.mark.parametrize(
    "text, budget",
    {
        "macs=50%": sp.Budget("macs", 0.5),
        "macs=6M": sp.Budget("macs", limit=6e6),
        "parameters=20000": sp.Budget("parameters", limit=2e4),
        "parameters = 20 k": sp.Budget("parameters", limit=2e4),
        "flash=20KiB": sp.Budget("flash", limit=20480),
        "arena=0.5MiB": sp.Budget("arena", limit=2**19),
        "bytes=1.5kB": sp.Budget("bytes", limit=1500),
        "latency=3ms": sp.Budget("latency", limit=3000),
        "latency=250us": sp.Budget("latency", limit=250),
    }.items(),
)
def test_amounts_have_units(text, budget):
    assert sp.Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["macs=6KiB", "latency=3KiB", "flash=3ms", "arena=3Kib"])
def test_unit_of_another_kind_is_refused(text):
    kind, amount = text.split("=")
    with pytest.raises(ValueError, match=rf"Budget '{kind}': unknown unit\. Received: '{amount}'\. Use one of "):
        sp.Budget.parse(text)


def test_most_is_a_share_of_the_whole_or_an_amount():
    assert sp.Budget("macs", 0.25).most(200) == 50
    assert sp.Budget("macs", limit=30).most(200) == 30


def test_budgets_come_alone_or_together_as_texts_or_values():
    both = sp.Budget("macs", 0.5), sp.Budget("flash", limit=1024)
    assert as_budgets("macs=0.5") == as_budgets(both[0]) == both[:1]
    assert as_budgets(["macs=0.5", both[1]]) == both


@pytest.mark.parametrize(
    "given, error, message",
    [
        (
            ["macs=0.5", "macs=6M"],
            ValueError,
            r"contradict: each kind .* Received: macs of at most 50 % and 6,000,000 MACs",
        ),
        ([], ValueError, r"There must be a budget\. Received: none\."),
        (0.5, TypeError, r"A budget is a Budget or a text\. Received: 0\.5\. Use e\.g\. Budget"),
        ([0.5], TypeError, r"A budget is a Budget or a text\. Received: 0\.5\. Use e\.g\. Budget"),
    ],
)
def test_budgets_that_contradict_or_are_none_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        as_budgets(given)


@pytest.mark.parametrize("text", ["macs", "macs=", "macs=half", "=", "macs=nan", "0.5"])
def test_text_of_another_form_is_refused(text):
    with pytest.raises(
        ValueError, match=rf"A budget is a kind and a share or an am.*\. Received: '{text}'\. Use e\.g\. macs="
    ):
        sp.Budget.parse(text)


@pytest.mark.parametrize("text, message", [("flops=0.5", "Unknown kind of budget"), ("macs=50", "fraction must be in")])
def test_text_with_wrong_values_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        sp.Budget.parse(text)


@pytest.mark.parametrize("kind, text", [("macs", "1,235 MACs"), ("latency", "1,234.6 us"), ("bytes", "1,235 bytes")])
def test_cost_is_told_with_its_unit(kind, text):
    assert sp.Budget(kind, 1).text(1234.56) == text
