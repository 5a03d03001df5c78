"""``inference.GRPCInferenceService``: tensors in, tensors out, whatever the graph is."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.artifact.manifest import ArtifactError, Manifest, Task, TensorSpec
from service.frontend.endpoints.tensor_request import DATATYPES
from service.supervisor.servable import check_servable
from sightline.inference import grpc_predict_v2_pb2 as pb
from sightline.inference import grpc_predict_v2_pb2_grpc as pb_grpc
from sightline.v1 import classification_pb2, classification_pb2_grpc, models_pb2, models_pb2_grpc
from tests.support.artifacts import write_artifact
from tests.support.requests import fails_with, pixels
from tests.support.running import Server, running_server
from tests.support.sequences import write_frame_artifact
from tests.support.tensor_artifacts import write_half, write_lookup, write_pair, write_wide

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MAX_ROWS = 40
MAX_MESSAGE_BYTES = 1 << 20
FIELDS = {
    "uint8": "uint_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "float32": "fp32_contents",
}
A = np.array([[1, 2], [3, 4.5]], np.float32)
B = np.array([[10, 20], [30, 1 << 20]])


@pytest.fixture(scope="module")
def tensor_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("tensors")
    write_pair(models)
    write_half(models)
    write_wide(models)
    write_lookup(models)
    write_artifact(models, "tiny", 1)
    write_artifact(models, "tiny", 2, classes=4)
    write_artifact(models, "slow", 1, slow=True)
    (models / "tiny" / "labels.json").write_text('{"stable": 1, "canary": 2}')
    write_frame_artifact(models)
    limits = {
        "SIGHTLINE_LIMITS__MAX_ITEMS_PER_REQUEST": str(MAX_ROWS),
        "SIGHTLINE_SERVER__MAX_MESSAGE_BYTES": str(MAX_MESSAGE_BYTES),
    }
    with running_server(models, environment=limits) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture(scope="module")
def channel(tensor_server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(tensor_server.target) as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    return pb_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, rows: NDArray[Any], *, typed: bool) -> pb.ModelInferRequest.InferInputTensor:
    made = pb.ModelInferRequest.InferInputTensor(
        name=name, datatype=DATATYPES[str(rows.dtype)], shape=rows.shape
    )
    if typed:
        getattr(made.contents, FIELDS[str(rows.dtype)]).extend(rows.reshape(-1).tolist())
    return made


def ask(
    model: str, outputs: tuple[str, ...] = (), *, typed: bool = False, **inputs: NDArray[Any]
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(
        model_name=model,
        id="seven",
        inputs=[tensor(name, rows, typed=typed) for name, rows in inputs.items()],
        outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
    )
    if not typed:
        request.raw_input_contents.extend(rows.tobytes() for rows in inputs.values())
    return request


def read(response: pb.ModelInferResponse) -> dict[str, NDArray[Any]]:
    """The outputs, from wherever they stand."""
    dtypes = {datatype: dtype for dtype, datatype in DATATYPES.items()}
    found: dict[str, NDArray[Any]] = {}
    for number, output in enumerate(response.outputs):
        dtype = dtypes[output.datatype]
        if response.raw_output_contents:
            values = np.frombuffer(response.raw_output_contents[number], dtype)
        else:
            values = np.array(getattr(output.contents, FIELDS[dtype]), dtype)
        found[output.name] = values.reshape(tuple(output.shape))
    return found


# -- answers


def test_raw_tensors_are_answered_raw(stub: Any) -> None:
    response = stub.ModelInfer(ask("pair", a=A, b=B))
    assert (response.model_name, response.model_version, response.id) == ("pair", "1", "seven")
    assert len(response.raw_output_contents) == len(response.outputs) == 1
    assert not response.outputs[0].HasField("contents")
    np.testing.assert_array_equal(read(response)["sum"], A + B)


def test_typed_tensors_are_answered_typed(stub: Any) -> None:
    response = stub.ModelInfer(ask("pair", typed=True, a=A, b=B))
    assert not response.raw_output_contents
    np.testing.assert_array_equal(read(response)["sum"], A + B)


def test_inputs_may_come_in_any_order(stub: Any) -> None:
    np.testing.assert_array_equal(read(stub.ModelInfer(ask("pair", b=B, a=A)))["sum"], A + B)


def test_each_declared_shape_is_taken(stub: Any) -> None:
    a, b = np.ones((1, 5), np.float32), np.arange(5)[None]
    np.testing.assert_array_equal(read(stub.ModelInfer(ask("pair", a=a, b=b)))["sum"], a + b)


def test_named_outputs_come_in_the_order_asked_and_those_on_request_too(stub: Any) -> None:
    answer = read(stub.ModelInfer(ask("pair", ("product", "sum"), a=A, b=B)))
    assert list(answer) == ["product", "sum"]
    np.testing.assert_array_equal(answer["product"], A * B)
    np.testing.assert_array_equal(answer["sum"], A + B)


def test_more_rows_than_a_batch_holds_are_answered(stub: Any) -> None:
    a = np.arange(2 * MAX_ROWS, dtype=np.float32).reshape(MAX_ROWS, 2)
    answer = read(stub.ModelInfer(ask("pair", a=a, b=np.ones_like(a, np.int64))))
    np.testing.assert_array_equal(answer["sum"], a + 1)


def test_unknown_parameters_change_nothing(stub: Any) -> None:
    request = ask("pair", a=A, b=B)
    request.parameters["mine"].string_param = "x"
    np.testing.assert_array_equal(read(stub.ModelInfer(request))["sum"], A + B)


def test_compressed_requests_are_answered(stub: Any) -> None:
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        response = stub.ModelInfer(ask("pair", a=A, b=B), compression=compression)
        np.testing.assert_array_equal(read(response)["sum"], A + B)


def test_half_precision_travels_raw(stub: Any) -> None:
    x = np.array([[1, 2, 3, 4]], np.float16)
    answer = read(stub.ModelInfer(ask("half", x=x)))
    assert (answer["twice"].dtype, answer["whole"].dtype) == (np.float16, np.int32)
    np.testing.assert_array_equal(answer["twice"], 2 * x)
    np.testing.assert_array_equal(answer["whole"], 2 * x)


@pytest.mark.parametrize("typed", [False, True])
def test_a_classifier_asked_with_tensors_gives_the_scores_of_classify(
    stub: Any, channel: grpc.Channel, typed: bool
) -> None:
    answer = read(
        stub.ModelInfer(ask("tiny", typed=typed, images=np.full((1, 4, 4, 1), 200, np.uint8)))
    )
    stubs: Any = classification_pb2_grpc.ClassificationServiceStub(channel)
    scores = answer["scores"][0]
    classified = stubs.Classify(
        classification_pb2.ClassifyRequest(
            model=models_pb2.ModelSelector(name="tiny"), images=[pixels(200)], top_k=len(scores)
        )
    )
    labels = classified.results[0].classification.labels
    assert len(labels) == len(scores)
    for label in labels:
        assert label.score == scores[label.index]


def test_a_version_is_a_number_or_a_label_or_the_default(stub: Any) -> None:
    request = ask("tiny", images=np.zeros((1, 4, 4, 1), np.uint8))
    for version, answered in (("", "1"), ("2", "2"), ("canary", "2"), ("stable", "1")):
        request.model_version = version
        assert stub.ModelInfer(request).model_version == answered


def test_rows_and_requests_are_counted(stub: Any, tensor_server: Server) -> None:
    items = 'sightline_items_total{code="OK",model="wide"}'
    calls = 'sightline_requests_total{code="OK",method="ModelInfer",model="wide"}'
    stub.ModelInfer(ask("wide", x=np.ones((3, 1), np.float32)))  # its first
    tensor_server.wait_until(lambda server: server.metric(calls) == 1)
    assert tensor_server.metric(items) == 3


# -- refusals


def change(edit: Callable[[Any], object], **options: Any) -> pb.ModelInferRequest:
    request = ask("pair", **{"a": A, "b": B, **options})
    edit(request)
    return request


def name_output(name: str) -> Callable[[Any], object]:
    return lambda request: request.outputs.add(name=name)


def set_shape(number: int, *shape: int) -> Callable[[Any], object]:
    def edit(request: Any) -> None:
        request.inputs[number].shape[:] = shape

    return edit


def set_datatype(datatype: str) -> Callable[[Any], object]:
    def edit(request: Any) -> None:
        request.inputs[0].datatype = datatype

    return edit


def set_parameter(
    name: str, place: Callable[[Any], Any] = lambda request: request
) -> Callable[[Any], object]:
    def edit(request: Any) -> None:
        place(request).parameters[name].int64_param = 3

    return edit


def leave(request: Any) -> None: ...


BAD: dict[str, tuple[pb.ModelInferRequest, str]] = {
    "unknown input": (ask("pair", a=A, c=B), "no input 'c'; it takes ['a', 'b']"),
    "missing input": (ask("pair", a=A), "has the input 'b' 0 times"),
    "no input": (ask("pair"), "has the input 'a' 0 times"),
    "input twice": (change(lambda r: r.inputs.append(r.inputs[0])), "has the input 'a' 2 times"),
    "both forms": (change(lambda r: r.inputs[0].contents.SetInParent()), "one or the other"),
    "too few raw": (change(lambda r: r.raw_input_contents.pop()), "1 entries for 2 inputs"),
    "datatype": (change(set_datatype("FP64")), "'a' is FP32, not 'FP64'"),
    "short raw": (
        change(lambda r: r.raw_input_contents.__setitem__(0, b"1234")),
        "has 4 bytes; FP32 [2, 2] has 16",
    ),
    "other rows": (change(set_shape(0, 3, 2)), "have [2, 3] rows"),
    "no rows": (
        ask("pair", a=np.zeros((0, 2), np.float32), b=np.zeros((0, 2), np.int64)),
        f"1 to {MAX_ROWS} rows, this one 0",
    ),
    "too many rows": (
        ask("pair", a=np.zeros((41, 2), np.float32), b=np.zeros((41, 2), np.int64)),
        f"1 to {MAX_ROWS} rows, this one 41; split it",
    ),
    "negative": (change(lambda r: [set_shape(i, -2, -2)(r) for i in (0, 1)]), "this one -2"),
    "scalar": (change(lambda r: [set_shape(i)(r) for i in (0, 1)]), "this one 0"),
    "undeclared shape": (
        ask("pair", a=np.zeros((1, 3), np.float32), b=np.zeros((1, 3), np.int64)),
        "takes a [N, 2], b [N, 2] or a [N, 5], b [N, 5], and this request has a [N, 3]",
    ),
    "two shapes": (
        ask("pair", a=np.zeros((1, 2), np.float32), b=np.zeros((1, 5), np.int64)),
        "this request has a [N, 2], b [N, 5]",
    ),
    "huge shape": (
        change(set_shape(0, 2, 2**60)),
        "and this request has a [N, 1152921504606846976",
    ),
    "unknown output": (
        change(name_output("c")),
        "no output 'c'; it answers with ['sum', 'product']",
    ),
    "output twice": (change(lambda r: [name_output("sum")(r) for _ in "ab"]), "'sum' twice"),
    "sequence": (change(set_parameter("sequence_id")), "use SequenceService"),
    "timeout": (change(set_parameter("timeout")), "'timeout' is not supported here: leave it out"),
    "priority": (change(set_parameter("priority")), "the earliest deadline runs first"),
    "shared memory": (
        change(set_parameter("shared_memory_region", lambda request: request.inputs[1])),
        "send the values in the request",
    ),
    "classification": (
        change(set_parameter("classification", lambda request: request.outputs.add(name="sum"))),
        "the answer has all scores",
    ),
    "too few typed": (
        change(lambda r: r.inputs[0].contents.fp32_contents.pop(), typed=True),
        "has 3 values; [2, 2] has 4",
    ),
    "other field": (
        change(lambda r: r.inputs[0].contents.int_contents.append(1), typed=True),
        "belong in contents.fp32_contents, not int_contents",
    ),
    "typed half": (
        pb.ModelInferRequest(
            model_name="half", inputs=[{"name": "x", "datatype": "FP16", "shape": [1, 4]}]
        ),
        "only in raw_input_contents",
    ),
    "typed byte": (
        pb.ModelInferRequest(
            model_name="tiny",
            inputs=[
                {
                    "name": "images",
                    "datatype": "UINT8",
                    "shape": [1, 4, 4, 1],
                    "contents": {"uint_contents": [256] * 16},
                }
            ],
        ),
        "its values are 0 to 255",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_an_invalid_request_is_refused_with_a_reason(stub: Any, case: str) -> None:
    request, reason = BAD[case]
    with fails_with(INVALID, reason):
        stub.ModelInfer(request)


def test_an_answer_larger_than_a_message_is_refused(stub: Any) -> None:
    assert read(stub.ModelInfer(ask("wide", x=np.ones((2, 1), np.float32))))["y"].shape[0] == 2
    with fails_with(INVALID, "1600000 bytes and a message has at most 1048576"):
        stub.ModelInfer(ask("wide", x=np.ones((20, 1), np.float32)))


def test_unknown_models_and_versions_are_not_found(stub: Any) -> None:
    request = ask("pair", a=A, b=B)
    for version in ("2", "0", "nope", "9" * 30):
        request.model_version = version
        with fails_with(grpc.StatusCode.NOT_FOUND):
            stub.ModelInfer(request)
    for call in (stub.ModelReady, stub.ModelMetadata):
        unknown = pb.ModelReadyRequest(name="nope")
        if call is stub.ModelMetadata:
            unknown = pb.ModelMetadataRequest(name="nope")
        with fails_with(grpc.StatusCode.NOT_FOUND):
            call(unknown)


def test_sequences_are_left_to_their_own_service(stub: Any, channel: grpc.Channel) -> None:
    models: Any = models_pb2_grpc.ModelServiceStub(channel)
    listed = models.ListModels(models_pb2.ListModelsRequest(task=models_pb2.TASK_SEQUENCE)).models
    name = listed[0].identity.name
    for call, request in (
        (stub.ModelInfer, pb.ModelInferRequest(model_name=name)),
        (stub.ModelReady, pb.ModelReadyRequest(name=name)),
        (stub.ModelMetadata, pb.ModelMetadataRequest(name=name)),
    ):
        with fails_with(grpc.StatusCode.FAILED_PRECONDITION, "use SequenceService"):
            call(request)


def test_other_services_refer_tensor_models_to_the_inference_service(channel: grpc.Channel) -> None:
    stubs: Any = classification_pb2_grpc.ClassificationServiceStub(channel)
    request = classification_pb2.ClassifyRequest(
        model=models_pb2.ModelSelector(name="pair"), images=[pixels()]
    )
    with fails_with(grpc.StatusCode.FAILED_PRECONDITION, "use GRPCInferenceService"):
        stubs.Classify(request)


def test_a_missed_deadline_is_reported_as_deadline_exceeded(stub: Any) -> None:
    bright = np.full((1, 4, 4, 1), 250, np.uint8)  # seconds of work
    with fails_with(grpc.StatusCode.DEADLINE_EXCEEDED):
        stub.ModelInfer(ask("slow", images=bright), timeout=0.05)


def test_garbage_is_an_invalid_argument(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with fails_with(INVALID):
        call(b"\xff\xff\xff")


inputs = st.builds(
    lambda name, datatype, shape, values: {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "contents": {"fp32_contents": values, "int64_contents": [int(v) for v in values]},
    },
    st.sampled_from(["a", "b", "c", ""]),
    st.sampled_from(["FP32", "INT64", "", "BYTES"]),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5), max_size=4),
    st.lists(st.floats(-9, 9, width=32), max_size=4),
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(inputs, max_size=3), st.lists(st.binary(max_size=32), max_size=3))
def test_any_request_is_answered_or_an_invalid_argument(
    stub: Any, given_inputs: list[dict[str, Any]], raw: list[bytes]
) -> None:
    request = pb.ModelInferRequest(model_name="pair", inputs=given_inputs, raw_input_contents=raw)
    try:
        stub.ModelInfer(request)
    except grpc.RpcError as err:
        assert err.code() is INVALID


# -- what is served


def test_server_and_models_are_ready(stub: Any, channel: grpc.Channel) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest()).live
    assert stub.ServerReady(pb.ServerReadyRequest()).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name="pair")).ready
    assert stub.ServerMetadata(pb.ServerMetadataRequest()).name == "sightline"
    health: Any = health_pb2_grpc.HealthStub(channel)
    asked = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
    assert health.Check(asked).status == health_pb2.HealthCheckResponse.SERVING


def test_metadata_name_tensors_shapes_and_versions(stub: Any) -> None:
    found = stub.ModelMetadata(pb.ModelMetadataRequest(name="pair"))
    assert [(each.name, each.datatype, list(each.shape)) for each in found.inputs] == [
        ("a", "FP32", [-1, -1]),
        ("b", "INT64", [-1, -1]),
    ]
    assert [each.name for each in found.outputs] == ["sum", "product"]
    assert found.platform == "onnx_onnxv1"
    assert found.properties["on_request"] == "product"
    assert found.properties["shapes"] == '[{"time": 2}, {"time": 5}]'
    tiny = stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny", version="canary"))
    assert list(tiny.versions) == ["1", "2"]
    assert tiny.properties["version"] == "2"
    assert list(tiny.outputs[0].shape) == [-1, 4]


def test_model_service_lists_them_under_their_task(channel: grpc.Channel) -> None:
    models: Any = models_pb2_grpc.ModelServiceStub(channel)
    listed = models.ListModels(models_pb2.ListModelsRequest(task=models_pb2.TASK_TENSORS)).models
    assert [each.identity.name for each in listed] == ["half", "lookup", "pair", "wide"]


def test_tensors_of_unknown_size_cannot_be_served(manifest: Manifest) -> None:
    free = TensorSpec(name="x", dtype="float32", axes=("batch", "time"))
    changed = {"task": Task.TENSORS, "preprocessing": None, "labels": (), "inputs": (free,)}
    with pytest.raises(ArtifactError, match="does not name all others"):
        check_servable(manifest.model_copy(update=changed))
    check_servable(manifest.model_copy(update={**changed, "buckets": ({"time": 3},)}))


def look_up(stub: Any, indices: list[int]) -> list[float]:
    request = pb.ModelInferRequest(model_name="lookup")
    request.inputs.add(name="i", datatype="INT64", shape=[len(indices), 1])
    request.raw_input_contents.append(np.array(indices, np.int64).tobytes())
    return np.frombuffer(stub.ModelInfer(request).raw_output_contents[0], np.float32).tolist()


@pytest.mark.parametrize("bad", range(6))
def test_a_request_of_several_batches_fails_when_any_of_them_fails(stub: Any, bad: int) -> None:
    assert look_up(stub, [9, 8, 7, 6, 5, 4]) == [900, 800, 700, 600, 500, 400]
    indices = [1, 2, 3, 4, 5, 6]
    indices[bad] = 99
    with fails_with(grpc.StatusCode.INTERNAL):
        look_up(stub, indices)
    assert look_up(stub, [1, 2, 3, 4, 5, 6]) == [100, 200, 300, 400, 500, 600]
