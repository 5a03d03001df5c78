"""One linear support vector machine per class for the features of regions, and box regression.

Girshick et al., "Rich feature hierarchies" (arXiv 1311.2524, sections 2.3 and 3.5, appendix C), for
R-CNN and SPPNet. `export.train.detection.fit_regions` fits the parameters.
"""

import torch
from torch import Tensor, nn

from export.models.detection.candidates import to_candidates

__all__ = ["RegionSVM"]


class RegionSVM(nn.Module):
    """From features of regions to candidates.

    Args:
        in_features: of a region.
        num_classes: the number of classes; a region that no machine claims is background.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.svm = nn.Linear(in_features, num_classes)
        """The machines' decision values: over 0, the class is claimed."""
        self.regression = nn.Linear(in_features, 4 * num_classes)
        self.slope = nn.Parameter(torch.ones(num_classes))
        """Platt's scaling: the probability is ``sigmoid(slope * decision + shift)``."""
        self.shift = nn.Parameter(torch.zeros(num_classes))

    def forward(
        self, features: Tensor, regions: Tensor, image_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Boxes ``[N, R * num_classes, 4]`` and scores ``[N, R * num_classes, num_classes]``.

        Args:
            features: ``[N, R, in_features]``.
            regions: ``[N, R, 4]``, px of the input; unused rows zero.
            image_size: height and width in px.
        """
        scores = torch.sigmoid(self.slope * self.svm(features) + self.shift)
        offsets = self.regression(features).unflatten(2, (-1, 4))
        return to_candidates(scores, offsets, regions, image_size)
