"""wise-pizza (Apache 2.0, on PyPI): segments found by a lasso over all combinations up to a depth."""

import logging
import warnings

from peers.leaves import Element


def wise_pizza(
    leaves: dict[str, list[object]], dimensions: list[str], expected: str, actual: str
) -> list[Element]:
    """At most five segments, other settings as it comes: at most two constraints each."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import pandas
    from wise_pizza import explain_changes_in_totals

    before, after = (
        pandas.DataFrame(
            {
                **{d: leaves[d] for d in dimensions},
                "total": [float(v) for v in leaves[value]],
                "size": 1.0,
            }
        )
        for value in (expected, actual)
    )
    said = explain_changes_in_totals(
        df1=before, df2=after, dims=dimensions, total_name="total", size_name="size", max_segments=5
    )
    return [{k: str(v) for k, v in s["segment"].items()} for s in said.segments]
