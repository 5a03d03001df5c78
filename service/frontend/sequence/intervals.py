"""Prediction intervals, from the residuals of earlier forecasts by horizon (steps ahead)."""

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import ResidualQuantiles
from service.frontend.errors import InvalidInput

DEFAULT_SHARE = 0.9


class Interval:
    """The offsets from a forecast to its lower and upper ends.

    Args:
        residuals: quantiles of true values minus forecasts.
        share: of outcomes to cover, over 0 and under 1; quantiles between known levels are
            interpolated.

    Raises:
        InvalidInput: the quantiles do not support an interval that wide.
    """

    def __init__(self, residuals: ResidualQuantiles, share: float) -> None:
        levels = np.array(residuals.levels)
        widest = widest_share(residuals)
        if share > widest:
            raise InvalidInput(
                f"interval is {share:g}; this model's residuals support intervals up to {widest:g};"
                " ask for less"
            )
        quantiles = np.array(residuals.values)  # [horizon, levels, series]
        self._offsets = np.stack(
            [_quantile(quantiles, levels, (1 + sign * share) / 2) for sign in (-1, 1)]
        ).astype(np.float32)

    def around(
        self, predictions: NDArray[np.float32], first: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Lower and upper ends.

        Args:
            predictions: ``[n, series]``.
            first: horizon of the first prediction, counted from 0; beyond the last known horizon,
                its residuals are used.
        """
        horizons = np.arange(first, first + len(predictions))
        lower, upper = self._offsets[:, np.minimum(horizons, self._offsets.shape[1] - 1)]
        return predictions + lower, predictions + upper


def widest_share(residuals: ResidualQuantiles) -> float:
    """The largest share of outcomes that the residuals support."""
    return round(2 * min(0.5 - residuals.levels[0], residuals.levels[-1] - 0.5), 9)


def _quantile(
    quantiles: NDArray[np.float64], levels: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    """``[horizon, levels, series] -> [horizon, series]``, interpolated between the levels."""
    after = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
    before = after - 1
    share = (level - levels[before]) / (levels[after] - levels[before])
    return quantiles[:, before] * (1 - share) + quantiles[:, after] * share
