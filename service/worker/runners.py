"""How a session is run: on the CPU in place, on CUDA with tensors bound on the device."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from service.artifact.manifest import Bucket, Manifest
from service.devices import Device

Array = NDArray[np.generic]

ort: Any = onnxruntime  # it has no types to check against

_Shape = tuple[int, tuple[tuple[int, ...], ...], bool]
"""Rows of a batch, the row shape of each input, and whether optional outputs are computed."""


class Runner(Protocol):
    """Computes the first ``rows`` rows; ``with_optional`` adds outputs made on request."""

    def __call__(
        self, inputs: Sequence[Array], rows: int, run_options: Any, with_optional: bool
    ) -> list[Array]:
        """The outputs, ``[rows, ...]`` each."""
        ...


class CpuRunner:
    """``session.run`` reads numpy memory in place; IOBinding costs 30 us more for each call."""

    def __init__(self, session: Any, manifest: Manifest) -> None:
        self._session = session
        self._input_names = [spec.name for spec in manifest.inputs]
        self._output_names = [
            [spec.name for spec in manifest.outputs_of(with_optional=with_optional)]
            for with_optional in (False, True)
        ]
        self._has_optional = self._output_names[0] != self._output_names[1]

    def __call__(
        self, inputs: Sequence[Array], rows: int, run_options: Any, with_optional: bool
    ) -> list[Array]:
        """As a `Runner`."""
        feeds = {name: array[:rows] for name, array in zip(self._input_names, inputs, strict=True)}
        if self._has_optional and not with_optional:
            run_options = run_options or ort.RunOptions()
            run_options.only_execute_path_to_fetches = True
        return self._session.run(self._output_names[with_optional], feeds, run_options)


class CudaRunner:
    """Inputs and outputs stay on the device; a run copies rows in and outputs out.

    Batch sizes are rounded up to powers of two, because the first run of a new shape is slow
    (cuDNN's search). The outputs of the extra rows are ignored.
    """

    def __init__(self, session: Any, manifest: Manifest, device: Device, max_rows: int) -> None:
        self._session = session
        self._manifest = manifest
        self._device = device
        self._max_rows = max_rows
        self._buckets = {
            tuple(spec.row_shape(bucket) for spec in manifest.inputs): bucket
            for bucket in manifest.shapes
        }
        self._bound: dict[_Shape, tuple[Any, list[Any], list[Array], list[Any]]] = {}

    def _bind(
        self, size: int, bucket: Bucket, with_optional: bool
    ) -> tuple[Any, list[Any], list[Array], list[Any]]:
        """Bind device tensors for batches of ``size`` rows of one bucket; each only once."""
        binding: Any = self._session.io_binding()

        def on_device(shape: tuple[int, ...], dtype: str) -> Any:
            return ort.OrtValue.ortvalue_from_shape_and_type(
                list(shape), np.dtype(dtype), "cuda", self._device.index
            )

        inputs: list[Any] = []
        hosts: list[Array] = []
        for spec in self._manifest.inputs:
            shape = (size, *spec.row_shape(bucket))
            inputs.append(on_device(shape, spec.dtype))
            hosts.append(np.zeros(shape, spec.dtype))
            binding.bind_ortvalue_input(spec.name, inputs[-1])
        outputs: list[Any] = []
        for spec in self._manifest.outputs_of(with_optional=with_optional):
            outputs.append(on_device((size, *spec.row_shape(bucket)), spec.dtype))
            binding.bind_ortvalue_output(spec.name, outputs[-1])
        return binding, inputs, hosts, outputs

    def __call__(
        self, inputs: Sequence[Array], rows: int, run_options: Any, with_optional: bool
    ) -> list[Array]:
        """As a `Runner`."""
        size = min(1 << (rows - 1).bit_length(), self._max_rows)
        row_shapes = tuple(array.shape[1:] for array in inputs)
        shape = (size, row_shapes, with_optional)
        if shape not in self._bound:
            self._bound[shape] = self._bind(size, self._buckets[row_shapes], with_optional)
        binding, on_device, hosts, outputs = self._bound[shape]
        for value, host, array in zip(on_device, hosts, inputs, strict=True):
            host[:rows] = array[:rows]
            value.update_inplace(host)
        self._session.run_with_iobinding(binding, run_options)
        return [output.numpy()[:rows] for output in outputs]
