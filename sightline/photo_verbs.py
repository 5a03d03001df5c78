"""What a ``Client`` asks about photos."""

from collections.abc import Generator, Iterable
from typing import Unpack

from numpy.typing import ArrayLike

from sightline.answers import Classification, Outcome
from sightline.detections import Detections
from sightline.images import Photo
from sightline.photo_questions import (
    ClassifyOptions,
    ClassifyQuestion,
    DetectOptions,
    DetectQuestion,
    SegmentOptions,
    SegmentQuestion,
)
from sightline.requests import DEFAULT_BATCH_SIZE, DEFAULT_WINDOW
from sightline.segmentations import Segmentation
from sightline.verbs import Verbs


class PhotoVerbs(Verbs):
    """classify, segment, detect: about one photo, many, or any number on a stream."""

    def classify(
        self,
        photo: Photo,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> Classification:
        """Ask what one photo shows.

        Args:
            photo: a path, the bytes of an image file, a uint8 array (``[H, W, 3]`` RGB or
                ``[H, W]`` grey) or a Pillow image.
            model: the model's name.
            timeout_s: how long it may take, all attempts together; None: the client's default.
            options: ``version``, ``label``, ``top_k``, ``score_threshold``: see
                ``ClassifyOptions``.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` shows the kinds.
            FileNotFoundError, TypeError, ValueError: it is no photo, or an option is out of range.
        """
        return self._one(ClassifyQuestion(model=model, **options), photo, timeout_s)

    def classify_many(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> list[Outcome[Classification]]:
        """Ask what each of many photos shows: one outcome a photo, in order.

        A photo that cannot be read, here or on the server, is an ``ItemFailed`` and does not
        spoil the others; when there is not a single answer, the first error is raised. Up to 64
        photos travel in a request, fewer where they would be over the message limit, and
        ``timeout_s`` is for each request.
        """
        return self._many(ClassifyQuestion(model=model, **options), photos, timeout_s)

    def classify_stream(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> Generator[Outcome[Classification], None, None]:
        """Ask what any number of photos show: outcomes in order, as they come, in bounded memory.

        Photos are taken from the iterable only as outcomes are taken from the result: at most
        ``window`` messages of ``batch_size`` photos are under way. Every failure of a photo is
        an ``ItemFailed``. When the connection is lost, the stream is opened again, and what had
        no answer yet is sent again. ``timeout_s`` is the longest wait for the next answer.

        Raises:
            SightlineError: from the iterator, when the stream could not be kept up.
        """
        question = ClassifyQuestion(model=model, **options)
        return self._stream(question, photos, batch_size, window, timeout_s)

    def segment(
        self,
        photo: Photo,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Segmentation:
        """Ask what each pixel of one photo belongs to.

        Args:
            photo: as for ``classify``.
            model: the model's name.
            timeout_s: how long it may take, all attempts together; None: the client's default.
            options: ``version``, ``label``, ``mask_size``, ``score_maps``, ``overlay``,
                ``polygons``: see ``SegmentOptions``.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` shows the kinds.
            FileNotFoundError, TypeError, ValueError: it is no photo, or an option is out of range.
        """
        return self._one(SegmentQuestion(model=model, **options), photo, timeout_s)

    def segment_many(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[SegmentOptions],
    ) -> list[Outcome[Segmentation]]:
        """Ask what the pixels of many photos belong to, as ``classify_many`` does."""
        return self._many(SegmentQuestion(model=model, **options), photos, timeout_s)

    def segment_stream(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Generator[Outcome[Segmentation], None, None]:
        """Ask what the pixels of any number of photos belong to, as ``classify_stream`` does."""
        question = SegmentQuestion(model=model, **options)
        return self._stream(question, photos, batch_size, window, timeout_s)

    def detect(
        self,
        photo: Photo,
        *,
        model: str,
        proposals: ArrayLike | None = None,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> Detections:
        """Ask what is where in one photo.

        Args:
            photo: as for ``classify``.
            model: the model's name.
            proposals: ``[P, 4]`` x1, y1, x2, y2 in pixels of the photo: the regions that a model
                of the R-CNN family shall look at; None: the server proposes them.
            timeout_s: how long it may take, all attempts together; None: the client's default.
            options: ``version``, ``label``, ``score_threshold``, ``iou_threshold``,
                ``max_detections``, ``classes``, ``suppression``: see ``DetectOptions``.

        Raises:
            SightlineError: there is no answer; ``sightline.errors`` shows the kinds.
            FileNotFoundError, TypeError, ValueError: it is no photo, or an option is out of range.
        """
        question = DetectQuestion(model=model, proposals=proposals, **options)
        return self._one(question, photo, timeout_s)

    def detect_many(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> list[Outcome[Detections]]:
        """Ask what is where in many photos, as ``classify_many`` does."""
        return self._many(DetectQuestion(model=model, **options), photos, timeout_s)

    def detect_stream(
        self,
        photos: Iterable[Photo],
        *,
        model: str,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> Generator[Outcome[Detections], None, None]:
        """Ask what is where in any number of photos, as ``classify_stream`` does."""
        question = DetectQuestion(model=model, **options)
        return self._stream(question, photos, batch_size, window, timeout_s)
