"""Rows of several chosen and rejected texts become pairs that weigh as the row did."""

import numpy as np
import pandas as pd
import pytest

from lens_sklearn import pair_targets, pairs_from_lists
from lens_sklearn._rows import read_texts

ROW = {"id": 7, "prompt": "A prime?", "chosen": ["5", "7"], "rejected": ["8", "9", "10"]}
PLAIN = {"id": 8, "prompt": "A square?", "chosen": "4", "rejected": ["5"]}


@pytest.mark.parametrize("make", [list, pd.DataFrame])
def test_every_chosen_meets_every_rejected(make):
    pairs = pairs_from_lists(make([ROW, PLAIN]))
    texts = [(pair["chosen"], pair["rejected"]) for pair in pairs]
    assert texts == [*((c, r) for c in ("5", "7") for r in ("8", "9", "10")), ("4", "5")]
    assert [pair["id"] for pair in pairs] == [7] * 6 + [8]
    np.testing.assert_allclose(pair_targets(pairs)[1], [1 / 6] * 6 + [1])
    assert read_texts(pairs).items.shape == (7, 2)


def test_a_weight_is_shared_and_none_is_added_without_need():
    pairs = pairs_from_lists([{**ROW, "weight": "3"}])
    assert [pair["weight"] for pair in pairs] == [0.5] * 6
    assert pairs_from_lists([PLAIN]) == [{**PLAIN, "rejected": "5"}]


def test_a_conversation_is_one_text():
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    pairs = pairs_from_lists([{"chosen": talk, "rejected": [talk, talk]}])
    assert [pair["chosen"] for pair in pairs] == [talk, talk]
    assert [pair["rejected"] for pair in pairs] == [talk, talk]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": [], "rejected": ["a"]}, "row 1, column 'chosen': the list has no text"),
        ({"chosen": ["b"], "rejcted": ["a"]}, "row 1: .*'rejected' is missing.*Rename 'rejcted'"),
        ({**ROW, "weight": "much"}, "row 1, column 'weight': 'much' is no number"),
        ("text", "row 1: expected a dict, got str"),
    ],
)
def test_a_row_without_pairs_is_named(row, message):
    with pytest.raises(ValueError, match=message):
        pairs_from_lists([ROW, row])
