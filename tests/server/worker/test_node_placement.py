"""Which nodes may lie on the CPU when the model runs on a GPU."""

import pytest

from service.worker.node_placement import refused_nodes

CPU, CUDA, OTHER = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        ([(CUDA, ["Conv", "Relu", "Gemm"])], {}),
        # As ONNX Runtime places the Transformer: the length is read on the GPU, the rest is not.
        ([(CUDA, ["MatMul", "Shape"]), (CPU, ["Gather", "Range", "Unsqueeze"])], {}),
        ([(CUDA, ["Conv"]), (CPU, ["Shape", "Concat"]), (CUDA, ["Resize"])], {}),
        # A data operator without a kernel for CUDA is refused, also beside shapes.
        ([(CUDA, ["Shape"]), (CPU, ["Gather", "NonMaxSuppression"])], {"NonMaxSuppression": 1}),
        ([(CUDA, ["Shape"]), (CPU, ["Conv", "Conv", "Range"])], {"Conv": 2}),
        # Without a shape in the graph, nothing computes with one.
        ([(CUDA, ["Conv"]), (CPU, ["Gather", "Mul"])], {"Gather": 1, "Mul": 1}),
        ([(CUDA, ["Shape"]), (OTHER, ["Range"])], {"Range": 1}),
        ([], {}),
    ],
)
def test_on_cuda_only_computations_with_shapes_may_lie_on_the_cpu(
    placement: list[tuple[str, list[str]]], expected: dict[str, int]
) -> None:
    assert refused_nodes(placement, CUDA) == expected


def test_on_the_cpu_everything_lies_on_the_cpu() -> None:
    assert refused_nodes([(CPU, ["Conv", "NonMaxSuppression"])], CPU) == {}
    assert refused_nodes([(OTHER, ["Shape"])], CPU) == {"Shape": 1}
