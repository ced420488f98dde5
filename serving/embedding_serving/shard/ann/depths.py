"""How far an engine must look to find the nearest r: measured on its own data, interpolated between."""

import numpy as np
from pydantic import Field

from ...contract.model import Frozen


class Look(Frozen):
    """To find the true `rank` nearest: ask for `depth` candidates with this effort. `recall` is what that found."""

    rank: int = Field(ge=1)
    depth: int = Field(ge=1)
    effort: int = Field(ge=0)
    recall: float


class Depths(Frozen):
    """Looks by ascending rank. A filter that leaves a share s of the rows, or dead rows, make k results rank k / s."""

    looks: tuple[Look, ...] = Field(min_length=1)

    @property
    def max_rank(self) -> int:
        """Beyond it nothing was measured: scan."""
        return self.looks[-1].rank

    def at(self, rank: float) -> tuple[int, int]:
        """Depth and effort for a rank up to `max_rank`."""
        if len(self.looks) == 1 or rank <= self.looks[0].rank:
            return self.looks[0].depth, self.looks[0].effort
        ranks = np.log([look.rank for look in self.looks])
        depth = np.exp(np.interp(np.log(rank), ranks, np.log([look.depth for look in self.looks])))
        effort = np.interp(np.log(rank), ranks, [look.effort for look in self.looks])
        return int(np.ceil(depth)), int(np.ceil(effort))
