"""Sequences: tokens or values in, logits or predictions out; the server keeps the state."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.artifact.parity import Agreement, Outputs
from export.artifact.spec import ArtifactSpec
from export.errors import GraphError, LabelsError
from export.models.sequence.recurrent import RecurrentLayers, RecurrentNetwork
from export.models.sequence.sequence import SequenceNetwork, StateTensor
from export.pytorch.golden_sequences import golden_elements, golden_rows, random_rows
from export.pytorch.network import MAX_BATCH_SIZE, ArtifactOptions, Network
from export.pytorch.recurrent_operator import OperatorLayers
from service.artifact.manifest import Task, TensorSpec
from service.artifact.sections import SequenceSection, SequenceState

POSITION = "position"
"""The state tensor that counts time steps; the server counts them, so it is no output."""
OUTPUTS = {"tokens": "logits", "values": "predictions"}
SAME_WITHIN = 1e-3
"""The difference below which logits, or values in units of their scale, count as equal."""


class SequenceGraph(nn.Module):
    """A network's step, with each tensor of its state as an input and an output.

    ``inputs [N, T, ...], state [N, ...] ... -> predictions [N, T, ...], new state [N, ...] ...``
    """

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        if isinstance(network, RecurrentNetwork) and isinstance(network.layers, RecurrentLayers):
            network.layers = OperatorLayers(network.layers)
        self.network = network

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Run T time steps."""
        predictions, new = self.network.graph_step(inputs, state)
        return predictions, *new


def prepare(network: Network, options: ArtifactOptions) -> tuple[nn.Module, ArtifactSpec]:
    """The module and the spec of a sequence network.

    Raises:
        ExportError: something is missing, or the network does not fit its vocabulary.
    """
    module, section = network.module, network.section
    if not isinstance(module, SequenceNetwork) or not isinstance(section, SequenceSection):
        raise GraphError(
            f"{options.name} is no SequenceNetwork with a SequenceSection, so its state is unknown"
        )
    module = copy.deepcopy(module).cpu().float().eval()
    section = describe(module, section)
    elements = golden_elements(options.golden, section, module.scaler)
    buckets = tuple(
        {"time": time, **past}
        for time in chunks(section)
        for past in pasts(section.context)
        if time <= past.get("past", time)  # the server's cache has room for the steps to read
    )
    inputs, outputs = tensors(module, section)
    spec = ArtifactSpec(
        name=options.name,
        task=Task.SEQUENCE,
        inputs=inputs,
        outputs=outputs,
        golden=tuple(golden_rows(module, section, elements, **bucket) for bucket in buckets),
        probes=tuple(random_rows(module, section, **bucket) for bucket in buckets),
        agreement=agreement(section),
        buckets=buckets,
        section=section,
        architecture=network.architecture,
        origin=network.origin,
        metrics=options.metrics,
        version=options.version,
        max_batch_size=options.max_batch_size or MAX_BATCH_SIZE,
    )
    return SequenceGraph(module), spec


def describe(module: SequenceNetwork, section: SequenceSection) -> SequenceSection:
    """The section, completed by what the network itself knows."""
    scaler = module.scaler
    kept = [tensor for tensor in module.state_tensors if tensor.name != POSITION]
    states = tuple(
        SequenceState(
            input=tensor.name,
            output=output_name(tensor),
            update="replace" if tensor.grows_along is None else "append",
        )
        for tensor in kept
    )
    context = max((grown_axis(tensor) for tensor in kept), default=0)
    known = {
        "kind": "tokens" if scaler is None else "values",
        "series": 0 if scaler is None else len(scaler.loc),
        "loc": () if scaler is None else tuple(scaler.loc.tolist()),
        "scale": () if scaler is None else tuple(scaler.scale.tolist()),
        "states": states,
        "position_input": POSITION if context else "",
        "context": context,
    }
    return SequenceSection.model_validate({**section.model_dump(), **known})


def chunks(section: SequenceSection) -> tuple[int, ...]:
    """The numbers of time steps of a run: 1 for a decode step, the chunk for prefill.

    With a KV cache, the last part of a history is padded to a chunk, because entries beyond a
    sequence's position are never read. A recurrent state would include the padding, so there are
    powers of two between 1 and the chunk.
    """
    if all(state.update == "append" for state in section.states) and section.states:
        return tuple(sorted({1, -(-section.chunk // 2), section.chunk}))
    powers = (2**exponent for exponent in range(section.chunk.bit_length()))
    return tuple(sorted({*powers, section.chunk}))


def pasts(context: int) -> tuple[dict[str, int], ...]:
    """The lengths of the KV cache that a run may read, in eighths of the context.

    Reading the cache is half of a small Transformer's step, and the longest sequence of a batch
    decides for all.
    """
    if not context:
        return ({},)
    sizes = {-(-context * eighths // 8) for eighths in range(1, 9)}
    return tuple({"past": size} for size in sorted(sizes))


def output_name(tensor: StateTensor) -> str:
    """The output's name of a state tensor."""
    return f"new_{tensor.name}"


def grown_axis(tensor: StateTensor) -> int:
    """The time steps of a KV cache tensor; 0 for a recurrent state."""
    return 0 if tensor.grows_along is None else tensor.shape[tensor.grows_along]


def tensors(
    module: SequenceNetwork, section: SequenceSection
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The graph's inputs and outputs."""
    row = ("batch", "time", *((section.series,) if section.series else ()))
    answer = ("batch", "time", section.series or check_vocabulary(module, section))
    dtype = "float32" if section.series else "int64"
    inputs = [TensorSpec(name=section.kind, dtype=dtype, axes=row)]
    outputs = [TensorSpec(name=OUTPUTS[section.kind], dtype="float32", axes=answer)]
    for tensor in module.state_tensors:
        dtype = "float32" if tensor.dtype.is_floating_point else "int64"
        axes = ("batch", *named(tensor, "past"))
        inputs.append(TensorSpec(name=tensor.name, dtype=dtype, axes=axes))
        if tensor.name != POSITION:
            axes = ("batch", *named(tensor, "time"))
            outputs.append(TensorSpec(name=output_name(tensor), dtype=dtype, axes=axes))
    return tuple(inputs), tuple(outputs)


def named(tensor: StateTensor, axis: str) -> tuple[int | str, ...]:
    """The tensor's shape, with a name for the axis along which it grows, if any."""
    return tuple(
        axis if index == tensor.grows_along else size for index, size in enumerate(tensor.shape)
    )


@torch.inference_mode()
def check_vocabulary(module: SequenceNetwork, section: SequenceSection) -> int:
    """The number of tokens.

    Raises:
        LabelsError: the vocabulary has another number of tokens.
    """
    size = module(torch.zeros(1, 1, dtype=torch.int64)).shape[-1]
    if size != len(section.vocabulary):
        raise LabelsError(
            f"the network has {size} tokens and its vocabulary {len(section.vocabulary)}; give one"
            " text per token, in the order of training"
        )
    return size


def agreement(section: SequenceSection) -> Agreement:
    """The task's answer: the best next token, or the next values."""

    def same_tokens(actual: Outputs, expected: Outputs) -> NDArray[np.float64]:
        ours, theirs = actual[0], expected[0]
        chosen = np.take_along_axis(theirs, ours.argmax(-1)[..., None], axis=-1)[..., 0]
        return (chosen >= theirs.max(-1) - SAME_WITHIN).mean(axis=1)

    def same_values(actual: Outputs, expected: Outputs) -> NDArray[np.float64]:
        difference = np.abs(actual[0] - expected[0]) / np.array(section.scale)
        return (difference < SAME_WITHIN).mean(axis=(1, 2))

    if section.kind == "tokens":
        return Agreement("best next token", same_tokens)
    return Agreement("next values", same_values)
