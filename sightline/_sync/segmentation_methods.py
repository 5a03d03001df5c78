# Generated from sightline/_async/segmentation_methods.py by `make twins`: edit that file.

"""Which class has each pixel of an image."""

from collections.abc import Generator, Sequence

from sightline._sync.glue import Items
from sightline._sync.methods import Methods
from sightline.requests.batches import DEFAULT_BATCH_SIZE, DEFAULT_WINDOW
from sightline.requests.image_queries import MaskSizeName, SegmentQuery
from sightline.requests.images import ImageLike
from sightline.results.outcomes import Outcome
from sightline.results.segmentation import Segmentation


class SegmentationMethods(Methods):
    """segment: one image, many, or any number on a stream."""

    def segment(
        self,
        image: ImageLike,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        mask_size: MaskSizeName = "original",
        score_maps: Sequence[str] = (),
        overlay: bool = False,
        polygons: bool = False,
        timeout_s: float | None = None,
    ) -> Segmentation:
        """Return the class of each pixel of one image.

        Args:
            image: as for ``classify``.
            model: the model's name.
            version: the version's number; without it and ``label``, the stable version.
            label: the owner's name for the version, such as ``canary``.
            mask_size: ``original`` is the image's size after EXIF rotation; ``model`` is that of
                the network's output, which is smaller and quicker.
            score_maps: labels of the classes whose probability is returned for every pixel; 16 at
                most.
            overlay: whether to return the image with the mask drawn over it.
            polygons: whether to return the outlines of each region.
            timeout_s: how long all attempts together may take; None is the client's default.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` lists the kinds.
            FileNotFoundError, TypeError, ValueError: it is no image, or an option is out of range.
        """
        query = SegmentQuery(
            model=model,
            version=version,
            label=label,
            mask_size=mask_size,
            score_maps=score_maps,
            overlay=overlay,
            polygons=polygons,
        )
        return self._one(query, image, timeout_s)

    def segment_many(
        self,
        images: Items[ImageLike],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        mask_size: MaskSizeName = "original",
        score_maps: Sequence[str] = (),
        overlay: bool = False,
        polygons: bool = False,
        timeout_s: float | None = None,
    ) -> list[Outcome[Segmentation]]:
        """Segment many images as ``classify_many`` does; options as for ``segment``."""
        query = SegmentQuery(
            model=model,
            version=version,
            label=label,
            mask_size=mask_size,
            score_maps=score_maps,
            overlay=overlay,
            polygons=polygons,
        )
        return self._many(query, images, timeout_s)

    def segment_stream(
        self,
        images: Items[ImageLike],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        mask_size: MaskSizeName = "original",
        score_maps: Sequence[str] = (),
        overlay: bool = False,
        polygons: bool = False,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
    ) -> Generator[Outcome[Segmentation]]:
        """Segment any number of images as ``classify_stream`` does; options as for ``segment``."""
        query = SegmentQuery(
            model=model,
            version=version,
            label=label,
            mask_size=mask_size,
            score_maps=score_maps,
            overlay=overlay,
            polygons=polygons,
        )
        return self._stream(query, images, batch_size, window, timeout_s)
