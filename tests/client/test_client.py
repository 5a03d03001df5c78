import inspect
import re
from pathlib import Path

import grpc
import numpy as np
import pytest

import sightline
from sightline import (
    AsyncClient,
    Classification,
    Client,
    ItemFailed,
    ModelStatus,
    Retry,
    State,
    Task,
    rpcs,
)
from sightline.v1 import classification_pb2, models_pb2
from tests.support.script import Failure


def test_an_image_gets_its_labels_with_their_model_and_timing(client, script):
    answer = client.classify(b"tabby", model="cats")

    assert [(label.name, label.index) for label in answer.labels] == [("tabby", 1), ("other", 0)]
    assert answer.best is answer.labels[0]
    assert answer.best.score == 0.75
    assert answer.model == sightline.ModelIdentity("cats", 3, "ab" * 32)
    assert answer.timing == sightline.Timing(0.001, 0.002, 0.003, 0.007, 4, "cpu")


@pytest.mark.parametrize("kind", [str, Path, bytes, bytearray, memoryview])
def test_an_image_may_be_a_path_or_bytes(client, tmp_path, kind):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"tabby")
    photo = kind(path) if kind in (str, Path) else kind(b"tabby")

    assert client.classify(photo, model="cats").best.name == "tabby"


def test_an_image_may_be_an_array(client, script):
    client.classify(np.zeros((2, 3, 3), np.uint8), model="cats")

    pixels = script.requests[0].images[0].pixels
    assert (pixels.height, pixels.width, pixels.channels) == (2, 3, 3)


def test_unset_options_are_left_to_the_server(client, script):
    client.classify(b"tabby", model="cats")

    assert script.requests == [
        classification_pb2.ClassifyRequest(
            model=models_pb2.ModelSelector(name="cats"), images=[{"encoded": b"tabby"}]
        )
    ]


@pytest.mark.parametrize("choice", [{"version": 3}, {"label": "canary"}])
def test_options_reach_the_server(client, script, choice):
    client.classify(b"tabby", model="cats", top_k=2, score_threshold=0.5, **choice)

    (request,) = script.requests
    assert request.model == models_pb2.ModelSelector(name="cats", **choice)
    assert (request.top_k, request.score_threshold) == (2, 0.5)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"version": 1, "label": "canary"}, "not both"),
        ({"version": 0}, "1 and up"),
        ({"version": 1 << 32}, "1 and up"),
        ({"top_k": 0}, "top_k is 1 to"),
        ({"top_k": -1}, "top_k is 1 to"),
        ({"score_threshold": 1.5}, r"0\.0 to 1\.0"),
        ({"score_threshold": float("nan")}, r"0\.0 to 1\.0"),
        ({"model": ""}, "name the model"),
    ],
)
@pytest.mark.parametrize("method", ["classify", "classify_many", "classify_stream"])
def test_an_impossible_option_is_refused_before_anything_is_sent(
    client, script, method, options, advice
):
    with pytest.raises(ValueError, match=advice):
        getattr(client, method)([b"tabby"], **{"model": "cats"} | options)
    assert not script.requests


def test_an_image_that_the_server_cannot_read_raises(client):
    with pytest.raises(sightline.InvalidInput, match="bad one is no image"):
        client.classify(b"bad one", model="cats")


def test_bad_images_fail_alone(client, script, tmp_path):
    photos = [b"first", b"bad one", tmp_path / "absent.jpg", b"", b"last"]

    outcomes = client.classify_many(photos, model="cats")

    assert [type(o) for o in outcomes] == [Classification, *[ItemFailed] * 3, Classification]
    assert [o.best.name for o in (outcomes[0], outcomes[4])] == ["first", "last"]
    assert outcomes[1].code is grpc.StatusCode.INVALID_ARGUMENT
    assert "bad one is no image" in outcomes[1].message
    assert "absent.jpg" in outcomes[2].message
    assert isinstance(outcomes[2].error.__cause__, FileNotFoundError)
    assert "0 bytes" in outcomes[3].message
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("status", "asked"), [(grpc.StatusCode.DEADLINE_EXCEEDED, 3), (grpc.StatusCode.NOT_FOUND, 2)]
)
def test_a_request_that_fails_leaves_the_others_their_answers(client, script, status, asked):
    script.failures.extend([None, Failure(status)])

    outcomes = client.classify_many([b"tabby"] * 130, model="cats")

    assert len(outcomes) == 130
    assert [type(each) for each in outcomes[:64]] == [Classification] * 64
    assert {each.code for each in outcomes[64:128]} == {status}
    assert len(script.requests) == asked  # what nobody can answer is not asked again and again
    assert isinstance(outcomes[-1], Classification) == (asked == 3)


def test_when_no_image_has_an_answer_the_first_error_is_raised(client):
    with pytest.raises(sightline.InvalidInput, match="bad first"):
        client.classify_many([b"bad first", b"bad second"], model="cats")


def test_images_that_fail_together_each_have_their_own_reason(client):
    # 64 fill the first request, so the bad ones travel together, and the call as a whole fails.
    outcomes = client.classify_many([b"good"] * 64 + [b"bad a", b"bad b"], model="cats")

    assert [o.message for o in outcomes[64:]] == ["bad a is no image", "bad b is no image"]


def test_many_images_are_split_into_requests_that_the_server_accepts(client, script):
    outcomes = client.classify_many((str(n).encode() for n in range(130)), model="cats")

    assert [o.best.name for o in outcomes] == [str(n) for n in range(130)]
    assert [len(request.images) for request in script.requests] == [64, 64, 2]


def test_no_images_make_no_call(client, script):
    assert client.classify_many([], model="cats") == []
    assert not script.requests


def test_an_object_that_is_no_image_is_a_type_error(client):
    with pytest.raises(TypeError, match="not int"):
        client.classify_many([b"good", 5], model="cats")


def test_requests_stay_within_the_message_limit(connect, target, script):
    photos = [bytes([65 + n]) * 1500 for n in range(10)]
    with connect(target, max_message_bytes=4096) as client:
        outcomes = client.classify_many(photos, model="cats")

    assert all(isinstance(outcome, Classification) for outcome in outcomes)
    assert [len(request.images) for request in script.requests] == [2] * 5
    assert max(request.ByteSize() for request in script.requests) <= 4096


def test_an_image_over_the_message_limit_is_refused_before_it_is_sent(
    connect, target, script, tmp_path
):
    path = tmp_path / "huge.jpg"
    path.write_bytes(bytes(5000))
    with connect(target, max_message_bytes=4096) as client:
        for photo in (bytes(5000), path, np.zeros((50, 40, 3), np.uint8)):
            with pytest.raises(
                sightline.MessageTooLarge, match=r"Client\(max_message_bytes=\.\.\."
            ):
                client.classify(photo, model="cats")
        outcomes = client.classify_many([b"good", path], model="cats")

    assert isinstance(outcomes[1].error, sightline.MessageTooLarge)
    assert len(script.requests) == 1  # the good one's


def test_a_server_with_a_lower_message_limit_answers_images_that_fit_alone(connect, script, serve):
    with (
        serve(script, max_receive_message_length=4096) as target,
        connect(target) as client,
    ):
        outcomes = client.classify_many([bytes([n]) * 3000 for n in (65, 66)], model="cats")
        assert [o.best.name[0] for o in outcomes] == ["A", "B"]
        with pytest.raises(sightline.MessageTooLarge, match="SIGHTLINE_SERVER__MAX_MESSAGE_BYTES"):
            client.classify(bytes(5000), model="cats")


def test_an_answer_for_another_number_of_images_is_a_server_error(client, script):
    script.alter = lambda response: response.ClearField("results")

    with pytest.raises(sightline.ServerError, match="answered 0 of 1"):
        client.classify(b"tabby", model="cats")


def test_no_label_over_the_threshold_is_an_answer_without_a_best():
    answer = Classification(
        (), sightline.ModelIdentity("cats", 1, ""), sightline.Timing(0, 0, 0, 0, 0, "cpu")
    )

    with pytest.raises(LookupError, match="score_threshold"):
        _ = answer.best


def status(state: models_pb2.ModelStatus.State, **fields) -> models_pb2.ModelStatus:
    return models_pb2.ModelStatus(
        identity=models_pb2.ModelIdentity(name="cats", version=3, artifact_sha256="ab" * 32),
        task=models_pb2.TASK_CLASSIFICATION,
        state=state,
        **fields,
    )


READY, LOADING, FAILED = (
    models_pb2.ModelStatus.STATE_READY,
    models_pb2.ModelStatus.STATE_LOADING,
    models_pb2.ModelStatus.STATE_FAILED,
)


def test_models_are_listed_with_all_their_fields(client, script):
    described = {"architecture": "resnet18", "version_labels": ["stable"], "max_batch_size": 8}
    described |= {"devices": ["cpu"], "input_height": 32, "input_width": 32, "input_channels": 3}
    script.models.append([status(READY, **described)])

    (model,) = client.models()

    assert model == ModelStatus(
        identity=sightline.ModelIdentity("cats", 3, "ab" * 32),
        task=Task.CLASSIFICATION,
        state=State.READY,
        reason="",
        architecture="resnet18",
        labels=(),
        version_labels=("stable",),
        max_batch_size=8,
        devices=("cpu",),
        input_height=32,
        input_width=32,
        input_channels=3,
    )
    assert model.is_ready
    assert client.models(task=Task.DETECTION) == []


def test_one_model_has_the_labels_of_its_classes(client, script):
    script.models.append([status(READY, labels=["tabby", "tiger"])])

    assert client.model("cats", label="stable").labels == ("tabby", "tiger")
    with pytest.raises(sightline.ModelNotFound):
        client.model("dogs")


def test_values_newer_than_this_client_are_unknown(client, script):
    unknown = models_pb2.ModelStatus(
        task=77,  # pyright: ignore[reportArgumentType] - a value that the stubs do not know
        state=78,  # pyright: ignore[reportArgumentType] - likewise
    )
    script.models.append([unknown])

    (model,) = client.models()

    assert (model.task, model.state) == (Task.UNKNOWN, State.UNKNOWN)


@pytest.mark.parametrize("name", [None, "cats"])
def test_waiting_ends_when_the_model_is_ready(client, script, name):
    script.models += [[status(LOADING)], [status(READY)], [status(FAILED)]]

    client.wait_until_ready(name)

    assert len(script.models) == 1  # it looked twice


@pytest.mark.parametrize("name", [None, "cats"])
def test_waiting_for_a_model_that_has_failed_ends_at_once_with_the_reason(client, script, name):
    script.models.append([status(FAILED, reason="wrong hash")])

    with pytest.raises(sightline.Unavailable, match="cats/3: wrong hash"):
        client.wait_until_ready(name)


def test_a_failed_wait_names_what_was_missing(client, script):
    script.models.append([status(LOADING)])

    with pytest.raises(sightline.DeadlineExceeded, match=r"within 0\.5 s: cats/3 is loading"):
        client.wait_until_ready(timeout_s=0.5)


def test_waiting_for_an_unreachable_server_reports_it(connect):
    with (
        connect("localhost:1") as client,
        pytest.raises(sightline.DeadlineExceeded, match="no server answers at localhost:1"),
    ):
        client.wait_until_ready(timeout_s=0.2)


def public_methods(cls: type) -> dict[str, list[tuple[object, ...]]]:
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
        for name, method in inspect.getmembers(cls, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_both_clients_have_the_same_methods_and_options():
    assert public_methods(Client) == public_methods(AsyncClient)


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_every_option_is_an_argument_of_its_own(cls):
    kinds = {kind for method in public_methods(cls).values() for _, kind, _ in method}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 3}, "argument 'topk'. Did you mean 'top_k'?"),
        ({"score_treshold": 0.5}, "argument 'score_treshold'. Did you mean 'score_threshold'?"),
        ({"nonsense": 1}, "argument 'nonsense'"),
    ],
)
@pytest.mark.parametrize("method", ["classify", "classify_many", "classify_stream"])
def test_a_misspelt_argument_is_a_type_error_that_names_the_nearest(
    client, script, method, options, message
):
    with pytest.raises(TypeError, match=re.escape(message) + "$") as error:
        getattr(client, method)([b"tabby"], model="cats", **options)
    assert f"Client.{method}() got an unexpected keyword" in str(error.value)
    assert not script.requests


@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_a_misspelt_argument_of_a_client_itself_is_named(cls):
    with pytest.raises(TypeError, match=r"'retrys'\. Did you mean 'retries'\?"):
        cls("localhost:1", retrys=Retry())


def test_the_methods_of_the_asyncio_client_are_coroutine_functions():
    methods = {name for name in public_methods(AsyncClient) if name != "__init__"}
    awaited = {n for n in methods if inspect.iscoroutinefunction(getattr(AsyncClient, n))}
    assert methods - awaited == {
        *("classify_stream", "segment_stream", "detect_stream", "predict_stream", "follow")
    }


def test_every_rpc_is_one_of_the_contract():
    known = [rpc for name, rpc in vars(rpcs).items() if name.isupper()]
    assert len(known) == 11
    for rpc in known:
        service, method = rpc.path.removeprefix("/").split("/")
        file = rpc.request.DESCRIPTOR.file
        described = file.services_by_name[service.removeprefix("sightline.v1.")].methods_by_name[
            method
        ]
        assert described.input_type is rpc.request.DESCRIPTOR
        assert described.output_type is rpc.response.DESCRIPTOR
        assert isinstance(rpc, rpcs.StreamRpc) == described.client_streaming
        assert isinstance(rpc, rpcs.UnaryRpc) != described.server_streaming


@pytest.mark.parametrize("limit", [0, 1 << 31])
def test_a_message_limit_that_grpc_cannot_keep_is_refused(limit):
    with pytest.raises(ValueError, match="max_message_bytes"):
        Client(max_message_bytes=limit)


def test_everything_public_is_exported():
    everything = {name: getattr(sightline, name) for name in sightline.__all__}  # imported lazily
    exported = {n for n, v in vars(sightline).items() if inspect.isclass(v) and n[0] != "_"}
    assert exported - {"PackageNotFoundError"} <= set(everything)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sightline.nonsense  # pyright: ignore[reportAttributeAccessIssue] - it is absent
