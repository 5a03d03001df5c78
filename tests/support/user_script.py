"""A user's program that calls every method of both clients; it is type-checked, and never run.

``tests/client/test_types.py`` expects no error here under strict pyright and strict mypy, and one
error for each keyword argument that it misspells.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import sightline
from sightline import (
    AsyncClient,
    AsyncFollow,
    AsyncStepStream,
    Classification,
    Client,
    Continuation,
    Detection,
    Detections,
    FinishReason,
    Follow,
    HistoryLike,
    ImageLike,
    ItemFailed,
    ModelIdentity,
    ModelStatus,
    Outcome,
    Prediction,
    Region,
    Retry,
    Segmentation,
    State,
    Step,
    StepStream,
    Task,
    Timing,
    Tls,
)

IMAGES: list[ImageLike] = ["cat.jpg", Path("dog.jpg"), b"...", np.zeros((4, 4, 3), np.uint8)]
HISTORIES: list[HistoryLike] = ["To be", [1, 2, 3], [0.5, 1.5], np.zeros((4, 2))]
TLS = Tls(root_certificates="root.pem", client_certificate="me.pem", client_key=Path("me.key"))
RETRY = Retry(max_attempts=2, initial_backoff_s=0.1, max_backoff_s=1.0)


def make_client() -> Client:
    return Client(
        "localhost:8001",
        tls=TLS,
        max_message_bytes=1 << 20,
        retries=RETRY,
        default_timeout_s=5.0,
    )


def ask_about_models(client: Client) -> None:
    client.wait_until_ready("cats", timeout_s=60)
    models = client.models(task=Task.CLASSIFICATION, timeout_s=1)
    assert_type(models, list[ModelStatus])
    model = client.model("cats", version=3, timeout_s=1)
    assert_type(model.identity, ModelIdentity)
    assert_type(model.state, State)
    assert_type(model.labels, tuple[str, ...])
    client.model("cats", label="canary")


def ask_about_labels(client: Client) -> None:
    answer = client.classify(
        IMAGES[0], model="cats", version=3, top_k=3, score_threshold=0.5, timeout_s=1
    )
    assert_type(answer, Classification)
    assert_type(answer.best.name, str)
    assert_type(answer.best.score, float)
    assert_type(answer.timing, Timing)
    many = client.classify_many(
        IMAGES, model="cats", label="canary", top_k=3, score_threshold=0.5, timeout_s=1
    )
    assert_type(many, list[Outcome[Classification]])
    stream = client.classify_stream(
        iter(IMAGES),
        model="cats",
        version=3,
        top_k=3,
        score_threshold=0.5,
        batch_size=4,
        window=2,
        timeout_s=1,
    )
    for outcome in stream:
        if isinstance(outcome, ItemFailed):
            print(outcome.message, outcome.code.name)
        else:
            assert_type(outcome, Classification)


def ask_about_pixels(client: Client) -> None:
    answer = client.segment(
        "street.jpg",
        model="street",
        version=3,
        mask_size="model",
        score_maps=["car"],
        overlay=True,
        polygons=True,
        timeout_s=1,
    )
    assert_type(answer, Segmentation)
    assert_type(answer.mask, NDArray[np.uint8])
    assert_type(answer.where("car"), NDArray[np.bool_])
    assert_type(answer.regions, tuple[Region, ...])
    many = client.segment_many(
        IMAGES,
        model="street",
        label="canary",
        mask_size="original",
        score_maps=["car"],
        overlay=True,
        polygons=True,
        timeout_s=1,
    )
    assert_type(many, list[Outcome[Segmentation]])
    stream = client.segment_stream(
        IMAGES,
        model="street",
        version=3,
        mask_size="original",
        score_maps=["car"],
        overlay=True,
        polygons=True,
        batch_size=4,
        window=2,
        timeout_s=1,
    )
    assert_type(next(stream), Outcome[Segmentation])


def ask_about_objects(client: Client) -> None:
    answer = client.detect(
        "cells.png",
        model="cells",
        version=3,
        score_threshold=0.5,
        iou_threshold=0.5,
        max_detections=9,
        classes=["nucleus"],
        suppression="soft",
        proposals=[[0, 0, 4, 4]],
        timeout_s=1,
    )
    assert_type(answer, Detections)
    assert_type(answer.detections, tuple[Detection, ...])
    assert_type(answer.boxes, NDArray[np.float32])
    assert_type(answer.detections[0].mask, NDArray[np.bool_] | None)
    many = client.detect_many(
        IMAGES,
        model="cells",
        label="canary",
        score_threshold=0.5,
        iou_threshold=0.5,
        max_detections=9,
        classes=["nucleus"],
        suppression="per_class",
        timeout_s=1,
    )
    assert_type(many, list[Outcome[Detections]])
    stream = client.detect_stream(
        IMAGES,
        model="cells",
        version=3,
        score_threshold=0.5,
        iou_threshold=0.5,
        max_detections=9,
        classes=["nucleus"],
        suppression="class_agnostic",
        batch_size=4,
        window=2,
        timeout_s=1,
    )
    assert_type(next(stream), Outcome[Detections])


def export(masks: Segmentation, boxes: Detections) -> None:
    print(masks.to_coco(image_id=1), boxes.to_coco(image_id=1))


def ask_about_sequences(client: Client) -> None:
    answer = client.predict(
        "To be",
        model="text",
        version=3,
        max_steps=20,
        temperature=0.8,
        top_k=40,
        top_p=0.9,
        repetition_penalty=1.1,
        seed=7,
        beams=1,
        stop=["\n"],
        exclude_stop=True,
        alternatives=3,
        interval=0.8,
        timeout_s=1,
    )
    assert_type(answer, Continuation)
    assert_type(answer.text, str)
    assert_type(answer.values, NDArray[np.float32])
    assert_type(answer.finish_reason, FinishReason)
    assert_type(answer.steps, tuple[Step, ...])
    many = client.predict_many(HISTORIES, model="text", label="canary", max_steps=2, seed=7)
    assert_type(many, list[Outcome[Continuation]])
    with client.predict_stream("To be", model="text", max_steps=2, top_k=40, timeout_s=1) as steps:
        assert_type(steps, StepStream)
        for step in steps:
            assert_type(step.alternatives[0].token, int)
        assert_type(steps.finish_reason, FinishReason | None)
    with client.follow(
        model="numbers", max_steps=2, interval=0.8, resume=True, remember=100, timeout_s=1
    ) as stream:
        assert_type(stream, Follow)
        assert_type(stream.observe([1.5]), Prediction)


def make_async_client() -> AsyncClient:
    return AsyncClient(
        "localhost:8001",
        tls=TLS,
        max_message_bytes=1 << 20,
        retries=RETRY,
        default_timeout_s=5.0,
    )


async def camera() -> AsyncIterator[NDArray[np.uint8]]:
    yield np.zeros((4, 4, 3), np.uint8)


async def ask_asynchronously() -> None:
    async with make_async_client() as client:
        await client.wait_until_ready("cats", timeout_s=60)
        assert_type(await client.models(task=Task.SEQUENCE), list[ModelStatus])
        first, second = await asyncio.gather(
            client.classify(IMAGES[0], model="cats", top_k=3),
            client.segment(IMAGES[0], model="street", overlay=True),
        )
        assert_type(first, Classification)
        assert_type(second, Segmentation)
        many = await client.detect_many(camera(), model="cells", classes=["nucleus"])
        assert_type(many, list[Outcome[Detections]])
        async for outcome in client.classify_stream(camera(), model="cats", batch_size=1):
            assert_type(outcome, Outcome[Classification])
        assert_type(await client.predict([1.5], model="numbers", interval=0.8), Continuation)
        async with client.predict_stream("To be", model="text", seed=7) as steps:
            assert_type(steps, AsyncStepStream)
            async for step in steps:
                assert_type(step, Step)
        async with client.follow(model="numbers", resume=True) as stream:
            assert_type(stream, AsyncFollow)
            assert_type(await stream.observe([1.5]), Prediction)


def names() -> Iterator[str]:
    try:
        with make_client() as client:
            yield client.classify("cat.jpg", model="cats").best.name
    except sightline.Unavailable as error:
        yield f"{error} {error.code.name} {error.retry_after_s}"
    except sightline.SightlineError:
        yield sightline.__version__
