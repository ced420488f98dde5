"""The array types of the index, named once."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""float32 [n, dimensions], C-contiguous."""
Scores = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
"""Row numbers of the store."""
Slots = npt.NDArray[np.int64]
"""Places in the vectors file."""

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.float64]
"""Positions in a list, inf for what is not in it."""

NO_ROW = -1


def as_vectors(values: npt.ArrayLike, dimensions: int) -> Vectors:
    """float32 [n, dimensions]; a single vector becomes one row. Raises ValueError for another length."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.ndim == 1:
        array = array.reshape(1, -1) if array.size else array.reshape(0, dimensions)
    if array.ndim != 2 or array.shape[1] != dimensions:
        raise ValueError(f"expected vectors of {dimensions} dimensions, got an array of shape {array.shape}")
    return array


def as_rows(values: npt.ArrayLike) -> Rows:
    """int64 [n]; the same array where it is one already."""
    array = np.ascontiguousarray(values, dtype=np.int64)
    return array if array.ndim == 1 else array.reshape(-1)
