from pathlib import Path

import grpc
import pytest

import sightline
from sightline import Tls

ONCE = sightline.Retry(max_attempts=1)


def server_credentials(folder: Path, *, mutual: bool) -> grpc.ServerCredentials:
    def read(name: str) -> bytes:
        return (folder / name).read_bytes()

    return grpc.ssl_server_credentials(
        [(read("server.key"), read("server.pem"))],
        root_certificates=read("root.pem") if mutual else None,
        require_client_auth=mutual,
    )


@pytest.fixture
def tls_target(serve, script, certificates):
    with serve(script, credentials=server_credentials(certificates, mutual=False)) as target:
        yield target


@pytest.fixture
def mutual_target(serve, script, certificates):
    with serve(script, credentials=server_credentials(certificates, mutual=True)) as target:
        yield target


def caller(folder: Path) -> Tls:
    return Tls(
        root_certificates=folder / "root.pem",
        client_certificate=folder / "caller.pem",
        client_key=folder / "caller.key",
    )


def test_a_call_is_encrypted_with_a_known_authority(connect, tls_target, certificates):
    with connect(tls_target, tls=Tls(root_certificates=certificates / "root.pem")) as client:
        assert client.classify(b"tabby", model="cats").best.name == "tabby"


@pytest.mark.parametrize("tls", [None, Tls()], ids=["plain", "public authorities"])
def test_no_request_is_sent_to_an_untrusted_server(connect, tls_target, script, tls):
    with (
        connect(tls_target, tls=tls, retries=ONCE) as client,
        pytest.raises(sightline.Unavailable),
    ):
        client.classify(b"tabby", model="cats")
    assert not script.requests


def test_mutual_tls_lets_a_certified_caller_in(connect, mutual_target, certificates):
    with connect(mutual_target, tls=caller(certificates)) as client:
        assert client.classify(b"tabby", model="cats").best.name == "tabby"


def test_mutual_tls_keeps_others_out(connect, mutual_target, script, certificates):
    anonymous = Tls(root_certificates=certificates / "root.pem")
    with (
        connect(mutual_target, tls=anonymous, retries=ONCE) as client,
        pytest.raises(sightline.Unavailable),
    ):
        client.classify(b"tabby", model="cats")
    assert not script.requests


@pytest.mark.parametrize("half", [{"client_key": "a.key"}, {"client_certificate": "a.pem"}])
def test_a_certificate_without_its_key_is_refused(half):
    with pytest.raises(ValueError, match="go together"):
        Tls(**half)


def test_a_certificate_file_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match=r"absent\.pem"):
        sightline.Client(tls=Tls(root_certificates="absent.pem"))
