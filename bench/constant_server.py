"""The transport ceiling, the frontend's own gRPC server: ``python -m bench.constant_server PORT``.

It answers a constant. No decoding, no channel, no model: what a call costs before it does anything.
"""

import gc
import sys
from collections.abc import Iterator
from functools import cache

import grpc

from service.frontend import create_server, open_port
from service.interceptors import Door
from service.settings import ServerSettings
from service.tally import Tally
from sightline.v1 import classification_pb2 as pb
from sightline.v1 import classification_pb2_grpc as pb_grpc
from sightline.v1 import models_pb2


@cache
def answer_of(items: int) -> pb.ClassifyResponse:
    """An answer as large as a real one: five labels an item."""
    labels = [pb.Label(name=f"class-{i:04}", index=i, score=0.2) for i in range(1, 6)]
    result = pb.ClassifyResult(classification=pb.Classification(labels=labels))
    identity = models_pb2.ModelIdentity(name="constant", version=1, artifact_sha256="0" * 64)
    timing = models_pb2.Timing(queue_seconds=1e-3, run_seconds=1e-3, total_seconds=2e-3)
    return pb.ClassifyResponse(results=[result] * items, model=identity, timing=timing)


class ConstantServicer(pb_grpc.ClassificationServiceServicer):
    """Answers every request with the same labels."""

    def Classify(
        self, request: pb.ClassifyRequest, context: grpc.ServicerContext
    ) -> pb.ClassifyResponse:
        """One result an image."""
        return answer_of(len(request.images))

    def ClassifyStream(
        self, request_iterator: Iterator[pb.ClassifyStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ClassifyStreamResponse]:
        """One answer a message."""
        for each in request_iterator:
            answer = answer_of(len(each.request.images))
            yield pb.ClassifyStreamResponse(id=each.id, response=answer)


def main(port: str) -> None:
    settings = ServerSettings()
    server = create_server(settings, Door(settings.max_request_s, Tally()))
    pb_grpc.add_ClassificationServiceServicer_to_server(ConstantServicer(), server)
    open_port(server, settings, int(port))
    server.start()
    gc.collect()
    gc.freeze()  # as the frontend does
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
