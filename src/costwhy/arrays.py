"""Array types: numbers, row or hour numbers, and masks. Shapes stand where they are used."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
