"""Which labels fit an image."""

from collections.abc import AsyncGenerator

from sightline._async.glue import Items
from sightline._async.methods import Methods
from sightline.requests.batches import DEFAULT_BATCH_SIZE, DEFAULT_WINDOW
from sightline.requests.image_queries import ClassifyQuery
from sightline.requests.images import ImageLike
from sightline.results.classification import Classification
from sightline.results.outcomes import Outcome


class ClassificationMethods(Methods):
    """classify: one image, many, or any number on a stream."""

    async def classify(
        self,
        image: ImageLike,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> Classification:
        """Return the labels of one image, best first.

        Args:
            image: a path, the bytes of an image file, a uint8 array (``[H, W, 3]`` RGB or
                ``[H, W]`` grey) or a Pillow image.
            model: the model's name.
            version: the version's number; without it and ``label``, the stable version.
            label: the owner's name for the version, such as ``canary``.
            top_k: how many labels to return, 1 to the number of classes; None is 5.
            score_threshold: leave out labels that score below it, 0..1.
            timeout_s: how long all attempts together may take; None is the client's default.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` lists the kinds.
            FileNotFoundError, TypeError, ValueError: it is no image, or an option is out of range.
        """
        query = ClassifyQuery(
            model=model,
            version=version,
            label=label,
            top_k=top_k,
            score_threshold=score_threshold,
        )
        return await self._one(query, image, timeout_s)

    async def classify_many(
        self,
        images: Items[ImageLike],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> list[Outcome[Classification]]:
        """Return one outcome for each of many images, in order; options as for ``classify``.

        An image that cannot be read, here or on the server, is an ``ItemFailed``; the others have
        their answers. When no image has an answer, the first error is raised. A request holds up
        to 64 images, fewer where they would exceed the message limit; ``timeout_s`` is for each
        request.
        """
        query = ClassifyQuery(
            model=model,
            version=version,
            label=label,
            top_k=top_k,
            score_threshold=score_threshold,
        )
        return await self._many(query, images, timeout_s)

    def classify_stream(
        self,
        images: Items[ImageLike],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        top_k: int | None = None,
        score_threshold: float | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[Outcome[Classification]]:
        """Yield the outcomes of any number of images, in order; options as for ``classify``.

        Images are taken from ``images`` only as outcomes are taken from the result. At most
        ``window`` messages of ``batch_size`` images are under way, so memory is bounded. An image
        that fails is an ``ItemFailed``. When the connection is lost, the stream is opened again,
        and images without an answer are sent again. ``timeout_s`` is the longest wait for the
        next answer.

        Raises:
            SightlineError: from the iterator, when the stream cannot go on.
        """
        query = ClassifyQuery(
            model=model,
            version=version,
            label=label,
            top_k=top_k,
            score_threshold=score_threshold,
        )
        return self._stream(query, images, batch_size, window, timeout_s)
