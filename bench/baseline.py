"""A competent user's server, the baseline: ``python -m bench.baseline PORT DIR DEVICE``.

It serves the networks as users export them, normalised float32 in and logits out, so it normalises
in numpy. (Bytes in, with normalisation in the graph, are our exporter's addition.) The images of
one call run as one batch; calls are not batched with each other.
"""

import asyncio
import io
import sys
from pathlib import Path

import grpc
import numpy as np
import onnxruntime as ort
from PIL import Image

from sightline.v1 import classification_pb2 as pb
from sightline.v1 import classification_pb2_grpc as pb_grpc
from sightline.v1 import image_pb2


class Model:
    """One session, on one thread."""

    def __init__(self, path: Path, provider: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(path, options, providers=[provider])
        self.input = self.session.get_inputs()[0]
        self.height, self.width = self.input.shape[2:4]
        classes = self.session.get_outputs()[0].shape[1]
        self.labels = [f"class-{index:04}" for index in range(classes)]

    def row(self, image: image_pb2.Image) -> np.ndarray:
        """Normalised, ``[C, H, W]`` float32."""
        return ((self.pixels(image).astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)

    def pixels(self, image: image_pb2.Image) -> np.ndarray:
        """Pixels of the network's size, ``[H, W, C]``."""
        if image.WhichOneof("source") == "pixels":
            p = image.pixels
            return np.frombuffer(p.data, np.uint8).reshape(p.height, p.width, p.channels)
        photo = Image.open(io.BytesIO(image.encoded)).convert("RGB")
        scale = 256 / min(photo.size)
        size = round(photo.width * scale), round(photo.height * scale)
        photo = photo.resize(size, Image.Resampling.BILINEAR)
        left, top = (photo.width - self.width) // 2, (photo.height - self.height) // 2
        return np.asarray(photo.crop((left, top, left + self.width, top + self.height)))

    def classify(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        """The best labels of every image."""
        rows = np.stack([self.row(image) for image in request.images])
        logits = np.asarray(self.session.run(None, {self.input.name: rows})[0])
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = exponentials / exponentials.sum(axis=1, keepdims=True)
        response = pb.ClassifyResponse()
        for row in scores:
            labels = response.results.add().classification.labels
            for i in np.argsort(row)[::-1][: request.top_k or 5]:
                labels.add(name=self.labels[i], index=i, score=row[i])
        return response


class Servicer(pb_grpc.ClassificationServiceServicer):
    """Decodes and runs in a thread, so that the event loop stays free."""

    def __init__(self, models: dict[str, Model]) -> None:
        self.models = models

    async def Classify(
        self, request: pb.ClassifyRequest, context: grpc.aio.ServicerContext
    ) -> pb.ClassifyResponse:
        """One call."""
        return await asyncio.to_thread(self.models[request.model.name].classify, request)


async def main(port: str, models: dict[str, Model]) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    pb_grpc.add_ClassificationServiceServicer_to_server(Servicer(models), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    _, port, folder, device = sys.argv
    provider = f"{'CPU' if device == 'cpu' else 'CUDA'}ExecutionProvider"
    files = Path(folder).glob("*.onnx")
    asyncio.run(main(port, {file.stem: Model(file, provider) for file in files}))
