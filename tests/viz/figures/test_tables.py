"""Numbers of a table stand one below the other, and stay numbers to sort by."""

from viz.figures.tables import rounded


def test_a_column_shows_equally_many_digits() -> None:
    rows = [["TOVA", 12345.678, 0.5, 64], ["Full", 26.0, -0.00004, None]]
    table = rounded(("policy", "perplexity", "KL (nats)", "budget"), rows, {"perplexity": 1})
    assert table["data"] == [["TOVA", 12345.7, 0.5, 64], ["Full", 26.0, 0.0, None]]
    assert table["metadata"]["display_value"] == [["TOVA", "12,345.7", "0.500", "64"], ["Full", "26.0", "0.000", ""]]
    assert [style != "" for style in table["metadata"]["styling"][0]] == [False, True, True, True]
