"""How unusual a score is among those of prompts that are not memorized."""

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class CleanScores:
    """Scores float32 [N] of prompts that are not memorized, ascending, as many of each of the `prompts`."""

    ascending: NDArray[np.float32]
    prompts: int

    def p_values(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """The conformal p-value of each of `scores` [M]: (1 + clean scores >= score) / (N + 1) for one a prompt.

        Of several a prompt counts the mean (Lee, Barber and Willett, 2023). Of what is not memorized at most a share p
        has p-values up to p, however scores are distributed.
        """
        of_each = len(self.ascending) / self.prompts
        at_least = len(self.ascending) - np.searchsorted(self.ascending, scores, side="left")
        return (1 + at_least / of_each) / (self.prompts + 1)
