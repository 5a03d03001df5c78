"""All settings: defaults, then a TOML file, then ``SIGHTLINE_*`` variables, then flags.

A later source wins. Every setting belongs to a group, so every source refuses a misspelt name:
``SIGHTLINE_BATCHING__QUEUE_CAPACITY=512``, or in the file ``[batching] queue_capacity = 512``.
"""

import os
import re
import ssl
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

_PREFIX = "SIGHTLINE_"
# Kubernetes sets these in every pod of a namespace that has a Service named "sightline".
_SERVICE_LINK = re.compile(r"SIGHTLINE_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")


class SettingsError(Exception):
    """The settings are not valid; the message names the setting and what it may be."""


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _names(value: object) -> object:
    """A list of names, also where a source can only give text."""
    if isinstance(value, str):
        return tuple(filter(None, (name.strip() for name in value.split(","))))
    return value


class RepositorySettings(_Group):
    """Where the artifacts are."""

    path: Path = Path("models")
    """A folder of ``NAME/VERSION/`` artifacts."""
    required: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ()
    """Models that must be ready for the server to be ready, as a list or as ``NAME,NAME``; empty:
    all models of the folder. The version that answers requests without a version counts."""


class ServerSettings(_Group):
    """The two ports: gRPC for clients, HTTP for probes and metrics."""

    host: str = "127.0.0.1"
    """The address both ports listen on; ``0.0.0.0`` in a container."""
    grpc_port: int = Field(default=8001, ge=0, le=65535)
    """0: the system chooses a free port; it is logged."""
    http_port: int = Field(default=8002, ge=0, le=65535)
    frontends: int = Field(default=0, ge=0, le=256)
    """Frontend processes, which share the gRPC port; 0: one for every two cores, at least one."""
    max_concurrent_rpcs: int = Field(default=128, ge=1, le=4096)
    """RPCs in progress in one frontend, each with a thread; more get RESOURCE_EXHAUSTED."""
    max_message_bytes: int = Field(default=64 << 20, ge=1 << 10, le=(1 << 31) - 1)
    """Largest request or response; gRPC refuses a larger one with RESOURCE_EXHAUSTED."""
    max_metadata_bytes: int = Field(default=16 << 10, ge=8 << 10, le=1 << 20)
    """Largest metadata of a call, its names and values with 32 bytes for each entry; gRPC refuses
    larger metadata with RESOURCE_EXHAUSTED."""
    max_request_s: float = Field(default=60, gt=0, le=3600)
    """Deadline of a call that has none, and the longest time any call may take."""
    stream_window: int = Field(default=8, ge=1, le=256)
    """Requests of one stream that are in progress together."""
    drain_timeout_s: float = Field(default=30, ge=0, le=3600)
    """Time that calls in progress have to finish after SIGTERM."""
    tls_certificate: Path | None = None
    """PEM file; with ``tls_key`` it turns TLS on."""
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    """PEM file; when set, clients must present a certificate signed by it (mutual TLS)."""

    @model_validator(mode="after")
    def _tls_is_complete(self) -> "ServerSettings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together: set both or neither")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self


class WorkersSettings(_Group):
    """The processes that run the models."""

    devices: str = "auto"
    """``auto`` (every CUDA device, else the CPU), ``cpu``, or a list such as ``cuda:0,cuda:1``."""
    per_device: int = Field(default=1, ge=1, le=64)
    """Workers for each device; each worker holds its own copy of every model."""
    intra_op_threads: int = Field(default=0, ge=0, le=1024)
    """ONNX Runtime's threads in each CPU worker; 0: the cgroup's cores, divided by the workers."""
    cuda_tf32: bool = False
    """Let CUDA compute float32 products in TF32: faster, but less exact."""
    cuda_memory_bytes: int = Field(default=0, ge=0)
    """Limit of each session's CUDA arena; 0: no limit."""
    load_timeout_s: float = Field(default=300, gt=0)
    """A worker that takes longer to load one model is killed, and the model counts as failed."""
    calibration_s: float = Field(default=2, ge=0, le=60)
    """Time for finding the best batch size at the first load; 0: use the manifest's."""
    max_restart_delay_s: float = Field(default=30, ge=0.1, le=3600)
    """Longest pause before a process that keeps dying is started again: 0 s, 0.5 s, 1 s, 2 s ..."""


class BatchingSettings(_Group):
    """How requests are gathered into batches."""

    max_batch_size: int = Field(default=64, ge=1, le=1024)
    """Upper bound of every model's own ``max_batch_size``."""
    max_queue_delay_s: float = Field(default=0.002, ge=0, le=1)
    """Longest time a free worker waits for more requests that are expected."""
    queue_capacity: int = Field(default=1024, ge=1, le=1 << 20)
    """Items that wait for one model in one worker; more get RESOURCE_EXHAUSTED."""


class DecodingSettings(_Group):
    """How sequences are decoded."""

    max_live_sequences: int = Field(default=32, ge=1, le=1024)
    """Cache rows of one model in one worker: sequences that decode together; others wait. Each
    beam of a beam search and each open ``Follow`` takes one row."""
    state_bytes: int = Field(default=512 << 20, ge=1)
    """Memory for the recurrent states and KV cache of one model in one worker. If it is too small
    for ``max_live_sequences`` rows, there are fewer rows."""
    follow_idle_s: float = Field(default=300, gt=0, le=86_400)
    """A ``Follow`` without an observation for this long ends with DEADLINE_EXCEEDED."""


class ChannelSettings(_Group):
    """The shared memory between a frontend and the workers."""

    arena_bytes: int = Field(default=256 << 20, ge=1 << 20, le=1 << 40)
    """Memory for the requests of one frontend; when it is full, requests get RESOURCE_EXHAUSTED.
    The system provides each page when it is first used."""


class LimitsSettings(_Group):
    """Limits of one request."""

    max_items_per_request: int = Field(default=64, ge=1, le=4096)
    max_image_bytes: int = Field(default=32 << 20, ge=1)
    """Size of one encoded image."""
    max_image_pixels: int = Field(default=64_000_000, ge=1)
    """Width x height of one image; the header is checked before decoding."""
    max_image_side_px: int = Field(default=16_384, ge=1, le=65_535)
    max_sequence_steps: int = Field(default=4096, ge=1, le=1 << 20)
    """Steps of one prediction; shared memory for all steps is reserved before the first."""
    max_history_elements: int = Field(default=1 << 20, ge=1, le=1 << 24)
    """Characters, tokens, time steps or frames of one history."""
    decode_memory_bytes: int = Field(default=2 << 30, ge=1 << 20)
    """Memory for decoding large images in each frontend; further images wait."""


class LogSettings(_Group):
    """What is logged to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    """All settings, checked. Build them with :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    repository: RepositorySettings = RepositorySettings()
    server: ServerSettings = ServerSettings()
    workers: WorkersSettings = WorkersSettings()
    batching: BatchingSettings = BatchingSettings()
    decoding: DecodingSettings = DecodingSettings()
    channel: ChannelSettings = ChannelSettings()
    limits: LimitsSettings = LimitsSettings()
    log: LogSettings = LogSettings()


def load_settings(
    config: Path | None = None, flags: dict[str, dict[str, Any]] | None = None
) -> Settings:
    """Merge all sources and check them.

    Args:
        config: a TOML file, one table a group.
        flags: from the command line, group -> setting -> value; they win over all other sources.

    Raises:
        SettingsError: a value is out of range, or a key or variable is unknown.
    """
    _refuse_unknown_variables()
    file_values = _read_toml(config) if config else {}

    class _Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, file_values)

    try:
        # Validated a second time as plain Settings: the layered class is an implementation detail.
        layered = _Layered(**cast(Any, flags or {}))
        settings = Settings.model_validate(layered.model_dump())
    except ValueError as err:
        raise SettingsError(_explain(err)) from err
    _check_tls(settings.server)
    return settings


def _check_tls(server: ServerSettings) -> None:
    """Read the TLS files now: a frontend that cannot read them would die again and again."""
    if not (server.tls_certificate and server.tls_key):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = f"server.tls_certificate {server.tls_certificate}, server.tls_key {server.tls_key}"
    try:
        # Without this, OpenSSL asks at the terminal for an encrypted key; gRPC takes none.
        context.load_cert_chain(server.tls_certificate, server.tls_key, password=lambda: "")
        if server.tls_client_ca:
            files = f"server.tls_client_ca {server.tls_client_ca}"
            context.load_verify_locations(server.tls_client_ca)
    except OSError as err:  # includes ssl.SSLError
        reason = "it is no PEM file of its kind" if isinstance(err, ssl.SSLError) else err.strerror
        raise SettingsError(f"cannot use {files}: {reason}") from err


def _refuse_unknown_variables() -> None:
    """Refuse unknown variables; pydantic-settings ignores those outside its groups."""
    groups = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if not variable.startswith(_PREFIX) or _SERVICE_LINK.fullmatch(variable):
            continue
        group, found, _ = variable.removeprefix(_PREFIX).partition("__")
        if group not in groups or not found:
            known = ", ".join(f"{_PREFIX}{name}__..." for name in sorted(groups))
            raise SettingsError(f"unknown variable {variable}; settings are named {known}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as err:
        raise SettingsError(f"cannot read {path}: {err.strerror}") from err
    except tomllib.TOMLDecodeError as err:
        raise SettingsError(f"{path} is no valid TOML: {err}") from err


def _explain(err: ValueError) -> str:
    errors = getattr(err, "errors", None)
    if errors is None:
        return str(err)
    return "; ".join(_in_words(each) for each in errors())


def _in_words(error: Mapping[str, Any]) -> str:
    *groups, last = map(str, error["loc"])
    name = ".".join([*groups, last])
    if error["type"] != "extra_forbidden":
        return f"{name}: {error['msg']} (got {error['input']!r})"
    known = Settings.model_fields
    for group in groups:
        known = cast("type[BaseModel]", known[group].annotation).model_fields
    (nearest,) = get_close_matches(last, known, n=1, cutoff=0)
    return f"there is no setting {name}; did you mean {'.'.join([*groups, nearest])}?"
