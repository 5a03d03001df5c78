import math

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.frontend.endpoints.classification import best_classes
from sightline.v1 import classification_pb2 as pb
from sightline.v1 import image_pb2, models_pb2
from tests.support.requests import classify, fails_with, pixels, slowly
from tests.support.running import Server
from tests.support.stubs import Stubs


def test_an_answer_has_labels_and_scores_and_names_its_model(stubs: Stubs) -> None:
    response = stubs.classification.Classify(classify(top_k=3))
    (result,) = response.results
    labels = result.classification.labels
    assert {label.name for label in labels} == {"class 0", "class 1", "class 2"}
    assert sum(label.score for label in labels) == pytest.approx(1)
    assert [label.score for label in labels] == sorted((x.score for x in labels), reverse=True)
    assert (response.model.name, response.model.version) == ("tiny", 1)
    assert len(response.model.artifact_sha256) == 64
    assert response.timing.batch_size >= 1
    assert response.timing.device == "cpu"
    assert 0 < response.timing.run_seconds <= response.timing.total_seconds


@pytest.mark.parametrize(
    ("selector", "version"),
    [
        (models_pb2.ModelSelector(name="tiny"), 1),
        (models_pb2.ModelSelector(name="tiny", version=2), 2),
        (models_pb2.ModelSelector(name="tiny", label="canary"), 2),
        (models_pb2.ModelSelector(name="slow"), 1),
    ],
)
def test_a_version_is_chosen_by_number_by_label_or_as_the_stable_one(
    stubs: Stubs, selector: models_pb2.ModelSelector, version: int
) -> None:
    request = classify(selector=selector)
    assert stubs.classification.Classify(request).model.version == version


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (classify(model="tinny"), grpc.StatusCode.NOT_FOUND, "did you mean 'tiny'?"),
        (classify(model="nope"), grpc.StatusCode.NOT_FOUND, "there are slow, tiny"),
        (classify(model=""), grpc.StatusCode.INVALID_ARGUMENT, "set model.name"),
        (
            classify(selector=models_pb2.ModelSelector(name="tiny", version=9)),
            grpc.StatusCode.NOT_FOUND,
            "only [1, 2]",
        ),
        (
            classify(selector=models_pb2.ModelSelector(name="tiny", label="beta")),
            grpc.StatusCode.NOT_FOUND,
            "labelled 'beta'; there are canary, stable",
        ),
        (classify(top_k=0), grpc.StatusCode.INVALID_ARGUMENT, "1 to 3"),
        (classify(top_k=10**9), grpc.StatusCode.INVALID_ARGUMENT, "1 to 3"),
        (classify(score_threshold=1.5), grpc.StatusCode.INVALID_ARGUMENT, "between 0 and 1"),
        (classify(score_threshold=math.nan), grpc.StatusCode.INVALID_ARGUMENT, "between 0 and 1"),
        (
            pb.ClassifyRequest(model=models_pb2.ModelSelector(name="tiny")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "1 to 64 images",
        ),
        (classify(*[pixels()] * 65), grpc.StatusCode.INVALID_ARGUMENT, "split it"),
        (classify(image_pb2.Image()), grpc.StatusCode.INVALID_ARGUMENT, ""),
        (classify(image_pb2.Image(encoded=b"")), grpc.StatusCode.INVALID_ARGUMENT, ""),
        (
            classify(image_pb2.Image(encoded=b"not an image")),
            grpc.StatusCode.INVALID_ARGUMENT,
            "JPEG",
        ),
        (
            classify(
                image_pb2.Image(pixels=image_pb2.Pixels(data=b"123", height=4, width=4, channels=1))
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "",
        ),
    ],
)
def test_bad_requests_get_their_status_and_no_worker_sees_them(
    server: Server, stubs: Stubs, request_: pb.ClassifyRequest, code: grpc.StatusCode, says: str
) -> None:
    before = runs(server)
    with fails_with(code, says):
        stubs.classification.Classify(request_)
    assert runs(server) == before


def runs(server: Server) -> float:
    """Runs on the device so far."""
    lines = server.get("/metrics")[1].splitlines()
    counts = [line for line in lines if line.startswith("sightline_batch_size_items_count")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in counts)


def test_one_bad_image_fails_only_itself(stubs: Stubs) -> None:
    request = classify(pixels(1), image_pb2.Image(encoded=b"junk"), pixels(200), top_k=3)
    response = stubs.classification.Classify(request)
    outcomes = [result.WhichOneof("outcome") for result in response.results]
    assert outcomes == ["classification", "error", "classification"]
    assert response.results[1].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    alone = stubs.classification.Classify(classify(pixels(200), top_k=3))
    together, single = response.results[2].classification, alone.results[0].classification
    assert [x.name for x in together.labels] == [x.name for x in single.labels]


def test_an_answer_does_not_depend_on_the_rest_of_its_batch(stubs: Stubs) -> None:
    images = [pixels(value) for value in range(0, 250, 5)]
    together = stubs.classification.Classify(classify(*images, top_k=3)).results
    for image, result in zip(images, together, strict=True):
        alone = stubs.classification.Classify(classify(image, top_k=3)).results[0]
        ours = {x.name: x.score for x in result.classification.labels}
        assert ours == pytest.approx(
            {x.name: x.score for x in alone.classification.labels}, abs=1e-5
        )


def test_labels_below_the_threshold_are_left_out(stubs: Stubs) -> None:
    every = stubs.classification.Classify(classify(top_k=3)).results[0].classification.labels
    threshold = (every[0].score + every[1].score) / 2
    few = stubs.classification.Classify(classify(top_k=3, score_threshold=threshold))
    assert len(few.results[0].classification.labels) == 1


def test_no_label_over_the_threshold_is_an_answer_too(stubs: Stubs) -> None:
    answer = stubs.classification.Classify(classify(top_k=3, score_threshold=1))
    (result,) = answer.results
    assert result.WhichOneof("outcome") == "classification"
    assert not result.classification.labels


def test_a_deadline_holds_while_the_model_runs(stubs: Stubs) -> None:
    with fails_with(grpc.StatusCode.DEADLINE_EXCEEDED):
        stubs.classification.Classify(slowly(), timeout=0.05)
    # and the server is whole:
    assert stubs.classification.Classify(classify()).results


def test_a_message_over_the_limit_is_refused(stubs: Stubs) -> None:
    image = image_pb2.Image(encoded=bytes(65 << 20))
    with fails_with(grpc.StatusCode.RESOURCE_EXHAUSTED):
        stubs.classification.Classify(classify(image))


def test_a_stream_answers_in_order_and_survives_a_bad_request(stubs: Stubs) -> None:
    def requests():
        for number in range(40):
            model = "nope" if number % 10 == 3 else "tiny"
            yield pb.ClassifyStreamRequest(id=number, request=classify(model=model))

    answers = list(stubs.classification.ClassifyStream(requests()))
    assert [answer.id for answer in answers] == list(range(40))
    for number, answer in enumerate(answers):
        expected = "error" if number % 10 == 3 else "response"
        assert answer.WhichOneof("outcome") == expected
    assert answers[3].error.code == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_cancelled_stream_gives_its_memory_back(server: Server, stubs: Stubs) -> None:
    def requests():
        for number in range(100):
            yield pb.ClassifyStreamRequest(id=number, request=slowly())

    call = stubs.classification.ClassifyStream(requests())
    next(call)
    call.cancel()
    server.wait_until(lambda it: it.metric("sightline_slots_in_use") == 0)
    assert stubs.classification.Classify(classify()).results


@pytest.mark.parametrize("classes", [6, 30, 100])
def test_scores_that_are_no_number_come_last(classes: int) -> None:
    scores = np.full((2, classes), np.nan, np.float32)
    scores[1, 1:3] = 0.5, 0.9
    best, values = best_classes(scores, 3)
    assert best == [[0, 1, 2], [2, 1, 0]]
    np.testing.assert_array_equal(values, np.array([[np.nan] * 3, [0.9, 0.5, np.nan]], np.float32))


@given(st.integers(1, 6), st.integers(1, 120), st.integers(1, 120), st.integers(0, 2**32 - 1))
def test_the_best_classes_are_those_of_a_full_sort(
    rows: int, classes: int, k: int, seed: int
) -> None:
    top_k = min(k, classes)
    # few distinct values, so that many are equal
    scores = np.random.default_rng(seed).integers(0, 50, (rows, classes)).astype(np.float32)
    best, values = best_classes(scores, top_k)
    for row in range(rows):
        by_score_then_index = sorted(range(classes), key=lambda index: -scores[row][index])[:top_k]
        assert best[row] == by_score_then_index
        assert values[row] == scores[row][by_score_then_index].tolist()
