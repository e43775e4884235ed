"""Leaves as the peers read them: codes of the dimensions, expected and actual; and what they answer."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Element = dict[str, str]  # the values that it constrains


@dataclass(frozen=True)
class Leaves:
    """codes: dimensions x leaves, numbers of `values`."""

    dimensions: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    codes: npt.NDArray[np.int64]
    expected: Floats
    actual: Floats

    def without(self, taken: npt.NDArray[np.bool_]) -> "Leaves":
        """The other leaves."""
        return replace(
            self,
            codes=self.codes[:, ~taken],
            expected=self.expected[~taken],
            actual=self.actual[~taken],
        )

    def element(self, dims: tuple[int, ...], leaf: int) -> Element:
        """The element of these dimensions to which a leaf belongs."""
        return {self.dimensions[k]: self.values[k][self.codes[k, leaf]] for k in dims}

    def cells(self, dims: tuple[int, ...]) -> npt.NDArray[np.int64]:
        """The cell of each leaf in these dimensions, numbered without gaps."""
        key = np.zeros(self.actual.size, dtype=np.int64)
        for k in dims:
            key = key * len(self.values[k]) + self.codes[k]
        return np.unique(key, return_inverse=True)[1]


def leaves_of(frame: pl.DataFrame, dimensions: list[str], expected: str, actual: str) -> Leaves:
    """From a table of leaves."""
    values, codes = [], []
    for name in dimensions:
        found, code = np.unique(frame[name].to_numpy().astype(str), return_inverse=True)
        values.append(tuple(str(v) for v in found))
        codes.append(code)
    numbers = (frame[name].to_numpy().astype(float) for name in (expected, actual))
    return Leaves(tuple(dimensions), tuple(values), np.array(codes, dtype=np.int64), *numbers)
