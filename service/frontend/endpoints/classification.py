"""``sightline.v1.ClassificationService``: images in, their best labels out."""

from collections.abc import Iterator
from math import isnan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Task
from service.frontend.call import CallContext
from service.frontend.endpoints.image_endpoint import ImageEndpoint
from service.frontend.endpoints.image_request import (
    Array,
    Complete,
    ImageRequest,
    item_error,
)
from service.frontend.errors import InvalidInput, ServiceError
from service.frontend.model_repository import ServedModel
from service.frontend.response_encoding import join
from sightline.v1 import classification_pb2 as pb
from sightline.v1 import classification_pb2_grpc as pb_grpc

DEFAULT_TOP_K = 5
_FEW_SCORES = 64


class ClassifyOptions(NamedTuple):
    """Checked options of a request."""

    top_k: int
    score_threshold: float
    with_optional: bool = False
    complete: Complete | None = None


class ClassificationServicer(ImageEndpoint[ClassifyOptions], pb_grpc.ClassificationServiceServicer):
    """The labels of each image's top-k classes."""

    task = Task.CLASSIFICATION
    is_exact = False
    stream_response = pb.ClassifyStreamResponse

    def Classify(self, request: pb.ClassifyRequest, context: CallContext) -> pb.ClassifyResponse:
        """One call, one or many images."""
        return self._call(request, context)

    def ClassifyStream(
        self, request_iterator: Iterator[pb.ClassifyStreamRequest], context: CallContext
    ) -> Iterator[pb.ClassifyStreamResponse]:
        """Many requests on one call, answered in order."""
        return self._stream(request_iterator, context)

    def _check_options(self, request: pb.ClassifyRequest, model: ServedModel) -> ClassifyOptions:
        classes = len(model.manifest.labels)
        top_k = min(DEFAULT_TOP_K, classes)
        if request.HasField("top_k"):
            top_k = request.top_k
            if not 1 <= top_k <= classes:
                raise InvalidInput(
                    f"top_k is {top_k}; {model.update.name!r} has {classes} classes,"
                    f" so 1 to {classes} is valid"
                )
        threshold = request.score_threshold  # 0 when unset
        if not 0 <= threshold <= 1:  # true for NaN, too
            raise InvalidInput(f"score_threshold is {threshold}; a score is between 0 and 1")
        return ClassifyOptions(top_k, threshold)

    def _respond(
        self,
        request: pb.ClassifyRequest,
        image_request: ImageRequest,
        outputs: list[list[Array]],
        options: ClassifyOptions,
    ) -> pb.ClassifyResponse:
        prefixes, threshold = image_request.model.label_prefixes, options.score_threshold
        best = [
            best_classes(scores[: ticket.filled], options.top_k)
            for ticket, (scores, *_) in zip(image_request.tickets, outputs, strict=True)
        ]
        response = pb.ClassifyResponse(model=image_request.model.identity)
        for row in image_request.rows:
            result = response.results.add()
            if isinstance(row, ServiceError):
                result.error.CopyFrom(item_error(row))
                continue
            its_indices, its_scores = best[row.ticket]
            indices, scores = its_indices[row.row], its_scores[row.row]
            if threshold:
                scores = [score for score in scores if score >= threshold]
                indices = indices[: len(scores)]
            result.classification.MergeFromString(join(prefixes, indices, scores))
        return response


def best_classes(
    scores: NDArray[np.float32], top_k: int
) -> tuple[list[list[int]], list[list[float]]]:
    """The ``top_k`` best classes of each row, best first.

    Args:
        scores: ``[N, num_classes]``.
        top_k: 1..num_classes.

    Returns:
        Indices and scores, ``N`` lists of ``top_k`` each. Equal scores are in order of their index;
        NaN comes last.
    """
    values: list[list[float]] = scores.tolist() if scores.size <= _FEW_SCORES else []
    if values and not isnan(sum(map(sum, values))):  # numpy would take longer to start
        order = range(scores.shape[1])
        indices = [sorted(order, key=row.__getitem__, reverse=True)[:top_k] for row in values]
        return indices, [[row[i] for i in its] for row, its in zip(values, indices, strict=True)]
    if 8 * top_k < scores.shape[1]:  # many classes: sort only the candidates
        falling = -scores
        last = np.partition(falling, top_k - 1, axis=1)[:, top_k - 1]
        best = np.array([_least_of(*each, top_k) for each in zip(falling, last, strict=True)])
    else:
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return best.tolist(), np.take_along_axis(scores, best, axis=1).tolist()


def _least_of(values: NDArray[np.float32], most: np.float32, count: int) -> NDArray[np.intp]:
    """The indices of the ``count`` least ``values``, which are at most ``most``; NaN comes last."""
    candidates = np.flatnonzero(~(values > most))
    return candidates[np.argsort(values[candidates], kind="stable")[:count]]
