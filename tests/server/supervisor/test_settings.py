from pathlib import Path

import pytest

from service.devices import Device, available_cores, resolve_devices
from service.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SIGHTLINE_"):
            monkeypatch.delenv(name)


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        "[batching]\nqueue_capacity = 1\nmax_batch_size = 2\n"
        "[server]\nfrontends = 3\ngrpc_port = 4\n"
    )
    monkeypatch.setenv("SIGHTLINE_BATCHING__MAX_BATCH_SIZE", "20")
    monkeypatch.setenv("SIGHTLINE_SERVER__FRONTENDS", "30")
    settings = load_settings(file, {"server": {"frontends": 33}})
    assert settings.batching.queue_capacity == 1
    assert settings.batching.max_batch_size == 20
    assert settings.server.frontends == 33
    assert settings.server.grpc_port == 4


def test_names_are_a_list_in_the_file_and_separated_by_commas_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.toml"
    file.write_text('[repository]\nrequired = ["a", "b"]\n')
    assert load_settings(file).repository.required == ("a", "b")
    monkeypatch.setenv("SIGHTLINE_REPOSITORY__REQUIRED", "b, c")
    assert load_settings(file).repository.required == ("b", "c")
    flags = {"repository": {"required": "d"}}
    assert load_settings(file, flags).repository.required == ("d",)


@pytest.mark.parametrize(
    "name", ["SIGHTLINE_TYPO", "SIGHTLINE_BATCHNG__QUEUE_CAPACITY", "SIGHTLINE_BATCHING__QUEUE"]
)
def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "5")
    with pytest.raises(SettingsError):
        load_settings()


def test_variables_that_kubernetes_sets_for_a_service_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT", "PORT_8001_TCP_ADDR"):
        monkeypatch.setenv(f"SIGHTLINE_{name}", "10.0.0.1")
    assert load_settings().server.grpc_port == 8001


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nport = 1", "server.port"),
        ("[server]\ngrpc_prot = 1", "did you mean server.grpc_port?"),
        ("[batchin]\n", "did you mean batching?"),
        ("[nothing]\n", "nothing"),
        ("[server]\ngrpc_port = 70000", "70000"),
        ("[server]\ntls_key = 'k.pem'", "tls_certificate"),
        ("server = [", "no valid TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=says):
        load_settings(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize("setting", ["gpu", "cuda", "cuda:x", "cpu,cpu", ""])
def test_invalid_devices_are_refused(setting: str) -> None:
    with pytest.raises(SettingsError):
        resolve_devices(setting)


def test_devices_resolve() -> None:
    assert resolve_devices("cpu") == [Device("cpu")]
    assert str(Device.parse("cuda:3")) == "cuda:3"


def test_there_is_at_least_one_core() -> None:
    assert available_cores() >= 1
