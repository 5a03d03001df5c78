"""Which objects are where in an image."""

from collections.abc import AsyncGenerator, Sequence

from numpy.typing import ArrayLike

from sightline._async.glue import Items
from sightline._async.methods import Methods
from sightline.requests.batches import DEFAULT_BATCH_SIZE, DEFAULT_WINDOW
from sightline.requests.image_queries import DetectQuery, SuppressionName
from sightline.requests.images import ImageLike
from sightline.results.detection import Detections
from sightline.results.outcomes import Outcome


class DetectionMethods(Methods):
    """detect: one image, many, or any number on a stream."""

    async def detect(
        self,
        image: ImageLike,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        classes: Sequence[str] = (),
        suppression: SuppressionName = "per_class",
        proposals: ArrayLike | None = None,
        timeout_s: float | None = None,
    ) -> Detections:
        """Return the objects in one image, best first; the artifact sets what is not given.

        Args:
            image: as for ``classify``.
            model: the model's name.
            version: the version's number; without it and ``label``, the stable version.
            label: the owner's name for the version, such as ``canary``.
            score_threshold: leave out boxes that score below it, 0..1.
            iou_threshold: overlap (intersection over union), 0..1, above which the lower-scoring
                box is removed.
            max_detections: how many boxes to return at most, 1 to 1000; None is 100.
            classes: return boxes of these labels only; empty for all.
            suppression: how overlapping boxes are reduced: ``per_class`` among those of one class,
                ``class_agnostic`` among all, ``soft`` by lower scores (soft-NMS).
            proposals: ``[P, 4]`` x1, y1, x2, y2 in pixels of the image: the regions for a model of
                the R-CNN family; None lets the server propose them.
            timeout_s: how long all attempts together may take; None is the client's default.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` lists the kinds.
            FileNotFoundError, TypeError, ValueError: it is no image, or an option is out of range.
        """
        query = DetectQuery(
            model=model,
            version=version,
            label=label,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            classes=classes,
            suppression=suppression,
            proposals=proposals,
        )
        return await self._one(query, image, timeout_s)

    async def detect_many(
        self,
        images: Items[ImageLike],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        classes: Sequence[str] = (),
        suppression: SuppressionName = "per_class",
        timeout_s: float | None = None,
    ) -> list[Outcome[Detections]]:
        """Search many images as ``classify_many`` does; options as for ``detect``."""
        query = DetectQuery(
            model=model,
            version=version,
            label=label,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            classes=classes,
            suppression=suppression,
        )
        return await self._many(query, images, timeout_s)

    def detect_stream(
        self,
        images: Items[ImageLike],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        classes: Sequence[str] = (),
        suppression: SuppressionName = "per_class",
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Outcome[Detections]]:
        """Search any number of images as ``classify_stream`` does; options as for ``detect``."""
        query = DetectQuery(
            model=model,
            version=version,
            label=label,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            classes=classes,
            suppression=suppression,
        )
        return self._stream(query, images, batch_size, window, timeout_s)
