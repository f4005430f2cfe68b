"""Budgets are checked when they are made."""

import math

import pytest

import tf_structprune as sp
from tf_structprune.allocation import KINDS

WRONG = {
    "kind unknown": (("flops", 0.5), {}, r"Unknown kind of budget\. Received: kind='flops'\. Use one of: macs, param"),
    "zero": (("macs", 0.0), {}, r"Budget 'macs': fraction must be in \(0, 1\]\. Received: fraction=0\.0\. It is the"),
    "percent": (("bytes", 50), {}, r"Budget 'bytes': fraction must be in \(0, 1\]\. Received: fraction=50\."),
    "negative": (("macs", -0.5), {}, r"fraction must be in \(0, 1\]\. Received: fraction=-0\.5"),
    "nan": (("macs", math.nan), {}, r"fraction must be in \(0, 1\]\. Received: fraction=nan"),
    "text": (("macs", "0.5"), {}, r"fraction must be in \(0, 1\]\. Received: fraction='0\.5'"),
    "truth value": (("macs", True), {}, r"fraction must be in \(0, 1\]\. Received: fraction=True"),
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


@pytest.mark.parametrize("text", ["macs", "macs=", "macs=half", "=", "macs=nan", "0.5"])
def test_text_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match=rf"A budget is a kind and a fraction\. Received: '{text}'\. Use e\.g\. macs="):
        sp.Budget.parse(text)


@pytest.mark.parametrize("text, message", [("flops=0.5", "Unknown kind of budget"), ("macs=50", "fraction must be in")])
def test_text_with_wrong_values_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        sp.Budget.parse(text)


@pytest.mark.parametrize("kind, text", [("macs", "1,235 MACs"), ("latency", "1,234.6 us"), ("bytes", "1,235 bytes")])
def test_cost_is_told_with_its_unit(kind, text):
    assert sp.Budget(kind, 1).text(1234.56) == text
