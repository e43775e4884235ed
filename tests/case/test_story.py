"""The lines of a terminal add up as the document does."""

from costwhy.case.analysis import LakeAnalysis
from costwhy.case.investigate import case_of, document
from costwhy.case.story import document_lines


def test_what_no_behaviour_explains_has_a_line_of_its_own(analysis: LakeAnalysis) -> None:
    spike = document(case_of(analysis, *analysis.found[0]))
    head = {"workspace": "a", "as_of": "t", "billed_through": "t", "currency": "USD"}
    for remainder, lines in ((-845.51, 1), (0.0, 0)):
        shown = document_lines(head | {"spikes": [spike | {"behaviour_remainder": remainder}]})
        told = [line for line in shown if "no behaviour explains" in line]
        assert len(told) == lines
        assert all("846" in line for line in told)
