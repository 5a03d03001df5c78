"""``sightline.v1.ClassificationService``: photos in, their best labels out."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidInput, ServiceError
from service.image_questions import ImageAsker, Question
from service.interceptors import Call, CallContext
from service.manifest import Task
from service.repository import ModelRepository, ServedModel
from service.streams import answer_in_order
from sightline.v1 import classification_pb2 as pb
from sightline.v1 import classification_pb2_grpc as pb_grpc
from sightline.v1 import models_pb2

DEFAULT_TOP_K = 5
_FEW_SCORES = 64


class _Options(NamedTuple):
    top_k: int
    score_threshold: float


class ClassificationServicer(pb_grpc.ClassificationServiceServicer):
    """Each line of ``_ask`` and ``_answer`` is one station of the request path."""

    def __init__(self, models: ModelRepository, asker: ImageAsker, stream_window: int) -> None:
        self._models = models
        self._asker = asker
        self._stream_window = stream_window

    def Classify(self, request: pb.ClassifyRequest, context: CallContext) -> pb.ClassifyResponse:
        """One call, one or many images."""
        return self._answer(*self._ask(request, context.call))

    def ClassifyStream(
        self, request_iterator: Iterator[pb.ClassifyStreamRequest], context: CallContext
    ) -> Iterator[pb.ClassifyStreamResponse]:
        """Many requests on one call, answered in order."""
        return answer_in_order(
            request_iterator,
            context.call,
            self._stream_window,
            ask=lambda each, call: self._ask(each.request, call),
            answer=lambda each, asked: pb.ClassifyStreamResponse(
                id=each.id, response=self._answer(*asked)
            ),
            failure=lambda each, err: pb.ClassifyStreamResponse(id=each.id, error=_item_error(err)),
            close=lambda asked: asked[0].close(),
        )

    def _ask(self, request: pb.ClassifyRequest, call: Call) -> tuple[Question, _Options]:
        model = self._models.find(request.model, Task.CLASSIFICATION)
        call.model = model.update.name
        options = _check_options(request, model)
        return self._asker.ask(model, request.images, call), options

    def _answer(self, question: Question, options: _Options) -> pb.ClassifyResponse:
        try:
            scores, *_ = question.answer()
            started_ns = time.monotonic_ns()
            response = _response(question, scores, options)
        finally:
            question.close()
        self._asker.record(question, response.timing, started_ns)
        return response


def _check_options(request: pb.ClassifyRequest, model: ServedModel) -> _Options:
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
    return _Options(top_k, threshold)


def best_classes(
    scores: NDArray[np.float32], top_k: int
) -> tuple[list[list[int]], list[list[float]]]:
    """The ``top_k`` best classes of each row, best first.

    Args:
        scores: ``[N, num_classes]``.
        top_k: 1..num_classes.

    Returns:
        Their indices and their scores, ``N`` lists of ``top_k`` each; equal scores by index.
    """
    if scores.size <= _FEW_SCORES:  # numpy would take longer to begin
        values: list[list[float]] = scores.tolist()
        order = range(scores.shape[1])
        indices = [sorted(order, key=row.__getitem__, reverse=True)[:top_k] for row in values]
        return indices, [[row[i] for i in its] for row, its in zip(values, indices, strict=True)]
    if 8 * top_k < scores.shape[1]:  # with many classes, sort the candidates only
        rows = np.arange(len(scores))[:, None]
        candidates = np.sort(np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k], axis=1)
        best = candidates[rows, np.argsort(-scores[rows, candidates], axis=1, kind="stable")]
    else:
        rows = np.arange(len(scores))[:, None]
        best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return best.tolist(), scores[rows, best].tolist()


def _response(question: Question, scores: NDArray[Any], options: _Options) -> pb.ClassifyResponse:
    labels, threshold = question.model.manifest.labels, options.score_threshold
    best, its_scores = best_classes(scores[: question.answered], options.top_k)
    response = pb.ClassifyResponse(model=question.model.identity)
    for row in question.rows:
        result = response.results.add()
        if isinstance(row, ServiceError):
            result.error.CopyFrom(_item_error(row))
            continue
        result.classification.SetInParent()
        add = result.classification.labels.add
        for index, score in zip(best[row], its_scores[row], strict=True):
            if score >= threshold:
                add(name=labels[index], index=index, score=score)
    return response


def _item_error(err: ServiceError) -> models_pb2.ItemError:
    return models_pb2.ItemError(code=err.code.value[0], message=str(err))
