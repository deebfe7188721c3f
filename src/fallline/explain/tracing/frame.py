"""A listing as a data frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from fallline.core.listing import Listing
from fallline.core.views import VIEWS
from fallline.data.frames import cells_frame


def listing_frame(listing: Listing) -> Any:
    """A polars DataFrame with the listing's columns, and its groups as a column "group" where it has any.

    Numbers are numbers and arrays are (nested) lists; a column that holds both is one of Python objects.
    """
    columns = {name: [_plain(cell) for cell in cells] for name, cells in listing.columns.items()}
    return cells_frame({**({"group": listing.groups} if any(listing.groups) else {}), **columns})


def _plain(cell: Any) -> Any:
    if isinstance(cell, tuple):
        return [_plain(part) for part in cell]
    if isinstance(cell, (np.ndarray, np.generic)):
        return cell.item() if cell.size == 1 else cell.tolist()
    return cell if cell is None or isinstance(cell, (bool, int, float)) else str(cell)


VIEWS.add("frame", listing_frame)
