"""What an ``AsyncClient`` asks about photos: the twin of ``photo_verbs``."""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Unpack

from numpy.typing import ArrayLike

from sightline.answers import Classification, Outcome
from sightline.async_verbs import AsyncVerbs
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


class AsyncPhotoVerbs(AsyncVerbs):
    """classify, segment, detect: about one photo, many, or any number on a stream."""

    async def classify(
        self,
        photo: Photo,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> Classification:
        """Ask what one photo shows, as ``Client.classify``."""
        return await self._one(ClassifyQuestion(model=model, **options), photo, timeout_s)

    async def classify_many(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> list[Outcome[Classification]]:
        """Ask what each of many photos shows, as ``Client.classify_many``."""
        return await self._many(ClassifyQuestion(model=model, **options), photos, timeout_s)

    def classify_stream(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
        **options: Unpack[ClassifyOptions],
    ) -> AsyncGenerator[Outcome[Classification], None]:
        """Ask what any number of photos show, as ``Client.classify_stream``."""
        question = ClassifyQuestion(model=model, **options)
        return self._stream(question, photos, batch_size, window, timeout_s)

    async def segment(
        self,
        photo: Photo,
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[SegmentOptions],
    ) -> Segmentation:
        """Ask what each pixel of one photo belongs to, as ``Client.segment``."""
        return await self._one(SegmentQuestion(model=model, **options), photo, timeout_s)

    async def segment_many(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[SegmentOptions],
    ) -> list[Outcome[Segmentation]]:
        """Ask what the pixels of many photos belong to, as ``Client.segment_many``."""
        return await self._many(SegmentQuestion(model=model, **options), photos, timeout_s)

    def segment_stream(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
        **options: Unpack[SegmentOptions],
    ) -> AsyncGenerator[Outcome[Segmentation], None]:
        """Ask what the pixels of any number of photos belong to, as ``Client.segment_stream``."""
        question = SegmentQuestion(model=model, **options)
        return self._stream(question, photos, batch_size, window, timeout_s)

    async def detect(
        self,
        photo: Photo,
        *,
        model: str,
        proposals: ArrayLike | None = None,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> Detections:
        """Ask what is where in one photo, as ``Client.detect``."""
        question = DetectQuestion(model=model, proposals=proposals, **options)
        return await self._one(question, photo, timeout_s)

    async def detect_many(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> list[Outcome[Detections]]:
        """Ask what is where in many photos, as ``Client.detect_many``."""
        return await self._many(DetectQuestion(model=model, **options), photos, timeout_s)

    def detect_stream(
        self,
        photos: Iterable[Photo] | AsyncIterable[Photo],
        *,
        model: str,
        batch_size: int = DEFAULT_BATCH_SIZE,
        window: int = DEFAULT_WINDOW,
        timeout_s: float | None = None,
        **options: Unpack[DetectOptions],
    ) -> AsyncGenerator[Outcome[Detections], None]:
        """Ask what is where in any number of photos, as ``Client.detect_stream``."""
        question = DetectQuestion(model=model, **options)
        return self._stream(question, photos, batch_size, window, timeout_s)
