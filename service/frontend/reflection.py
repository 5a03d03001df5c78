"""Server reflection, by which tools such as ``grpcurl`` work without the protos: v1 and v1alpha.

grpcio-reflection has v1alpha only. The messages of v1 have the same fields, so the same servicer
answers both.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA_SERVICE = reflection.SERVICE_NAME
V1_SERVICE = "grpc.reflection.v1.ServerReflection"
_METHOD = "ServerReflectionInfo"

_messages: Any = reflection_pb2  # generated without types


def enable_reflection(service_names: Sequence[str], server: grpc.Server) -> None:
    """Answer questions about these services, and about reflection itself."""
    _describe_v1()
    names = (*service_names, V1ALPHA_SERVICE, V1_SERVICE)
    reflection.enable_server_reflection(names, server)
    servicer: Any = reflection.ReflectionServicer(names)
    handlers = {
        _METHOD: grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=_messages.ServerReflectionRequest.FromString,
            response_serializer=_messages.ServerReflectionResponse.SerializeToString,
        )
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1_SERVICE, handlers),))


def _describe_v1() -> None:
    """Put v1's file into the pool, so that a tool that lists the services can describe it, too."""
    file = descriptor_pb2.FileDescriptorProto()
    _messages.DESCRIPTOR.CopyToProto(file)
    old, new = ".grpc.reflection.v1alpha.", ".grpc.reflection.v1."
    file.name = file.name.replace("v1alpha", "v1")
    file.package = "grpc.reflection.v1"
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
