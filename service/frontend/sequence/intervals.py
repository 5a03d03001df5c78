"""Prediction intervals: how far forecasts were off before, by how many steps ahead they looked."""

import numpy as np
from numpy.typing import NDArray

from service.artifact.sections import ResidualQuantiles
from service.frontend.errors import InvalidInput

DEFAULT_SHARE = 0.9


class Interval:
    """What to add to a forecast for its lower and upper ends.

    Args:
        residuals: quantiles of true values less forecasts.
        share: of outcomes to cover, over 0, under 1; quantiles between the known levels are
            interpolated.

    Raises:
        InvalidInput: the quantiles do not reach that far.
    """

    def __init__(self, residuals: ResidualQuantiles, share: float) -> None:
        levels = np.array(residuals.levels)
        widest = widest_share(residuals)
        if share > widest:
            raise InvalidInput(
                f"interval is {share:g}; what is known of this model's errors tells intervals of up"
                f" to {widest:g}"
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
            first: how many steps ahead the first of them looks, less 1; beyond the last horizon
                that is known, its errors are taken.
        """
        horizons = np.arange(first, first + len(predictions))
        lower, upper = self._offsets[:, np.minimum(horizons, self._offsets.shape[1] - 1)]
        return predictions + lower, predictions + upper


def widest_share(residuals: ResidualQuantiles) -> float:
    """The largest share of outcomes whose ends are known."""
    return round(2 * min(0.5 - residuals.levels[0], residuals.levels[-1] - 0.5), 9)


def _quantile(
    quantiles: NDArray[np.float64], levels: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    """``[horizon, levels, series] -> [horizon, series]``, between the levels on a line."""
    after = int(np.clip(np.searchsorted(levels, level), 1, len(levels) - 1))
    before = after - 1
    share = (level - levels[before]) / (levels[after] - levels[before])
    return quantiles[:, before] * (1 - share) + quantiles[:, after] * share
