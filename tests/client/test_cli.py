import importlib
import json
import subprocess
import sys

import grpc
import pytest
import typer
from typer.main import get_group

from sightline.cli import provided
from sightline.v1 import models_pb2


@pytest.fixture
def photo(tmp_path):
    def write(content: str):
        path = tmp_path / f"{content}.jpg"
        path.write_text(content)
        return path

    return write


def test_classify_prints_a_table(run, target, photo):
    result = run("classify", photo("tabby"), photo("tiger"), "--model", "cats", "--target", target)

    assert result.exit_code == 0
    for shown in ("tabby.jpg", "tiger.jpg", "tiger", "75.0%", "25.0%", "cats/3", "7.0"):
        assert shown in result.stdout


def test_classify_prints_one_json_object_for_each_image(run, target, photo):
    tabby = photo("tabby")
    result = run("classify", tabby, photo("tiger"), "--model", "cats", "--json", "--target", target)

    first, second = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert first == {
        "photo": str(tabby),
        "labels": [
            {"name": "tabby", "index": 1, "score": 0.75},
            {"name": "other", "index": 0, "score": 0.25},
        ],
        "model": {"name": "cats", "version": 3, "artifact_sha256": "ab" * 32},
        "timing": {
            "decode_s": 0.001,
            "queue_s": 0.002,
            "run_s": 0.003,
            "total_s": 0.007,
            "batch_size": 4,
            "device": "cpu",
        },
    }
    assert second["labels"][0]["name"] == "tiger"


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["table", "json"])
def test_an_image_without_an_answer_is_shown_and_the_exit_status_is_1(run, target, photo, as_json):
    photos = [photo("tabby"), photo("bad one"), "absent.jpg"]
    result = run("classify", *photos, "--model", "cats", "--target", target, *as_json)

    assert result.exit_code == 1
    where = result.stdout if as_json else result.stderr
    assert "tabby" in result.stdout
    for shown in ("bad one is no image", "absent.jpg", "there is no such file"):
        assert shown in where


def test_when_no_image_has_an_answer_there_is_no_table(run, target):
    result = run("classify", "absent.jpg", "--model", "cats", "--target", target)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "sightline: absent.jpg: there is no such file\n"


def test_an_unreachable_server_is_reported(run):
    result = run("models", "--target", "127.0.0.1:1", "--timeout", "1")

    assert result.exit_code == 1
    assert "is a server running there" in result.stderr


def test_a_json_error_has_its_status(run, target, photo):
    result = run("classify", photo("bad"), "--model", "cats", "--target", target, "--json")

    error = {"code": "INVALID_ARGUMENT", "message": "bad is no image"}
    assert json.loads(result.stdout) == {"photo": str(photo("bad")), "error": error}


def test_many_images_are_sent_in_chunks(run, target, photo, script):
    result = run("classify", *[photo("tabby")] * 40, "--model", "cats", "--target", target)

    assert result.exit_code == 0
    assert [len(request.images) for request in script.requests] == [16, 16, 8]


@pytest.mark.parametrize("choice", [("--version", "2"), ("--label", "canary")])
def test_options_reach_the_server(run, target, photo, script, choice):
    run("classify", photo("a"), "--model", "cats", "--top-k", 3, *choice, "--target", target)

    (request,) = script.requests
    assert request.top_k == 3
    assert str(getattr(request.model, choice[0][2:])) == choice[1]


def test_a_refusal_by_the_server_is_one_sentence_and_exit_status_1(
    run, target, photo, script, fail
):
    script.failures.append(fail(grpc.StatusCode.PERMISSION_DENIED, "not for you", breaks=True))

    result = run("classify", photo("tabby"), "--model", "cats", "--target", target)

    assert result.exit_code == 1
    assert result.stderr == f"sightline: {target}: not for you\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["classify"],
        ["classify", "a.jpg"],
        ["classify", "a.jpg", "--model", "cats", "--version", "1", "--label", "canary"],
        ["classify", "a.jpg", "--model", "cats", "--top-k", "0"],
        ["classify", "a.jpg", "--model", "cats", "--timeout", "0"],
        ["classify", "a.jpg", "--model", "cats", "--tls-root", "absent.pem"],
        ["models", "--nonsense"],
        ["nonsense"],
    ],
)
def test_wrong_usage_is_status_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_tls_is_chosen_by_its_options(run, photo, script, serve, certificates):
    def read(name: str) -> bytes:
        return (certificates / name).read_bytes()

    credentials = grpc.ssl_server_credentials(
        [(read("server.key"), read("server.pem"))], read("root.pem"), require_client_auth=True
    )
    files = {"root": "root.pem", "cert": "caller.pem", "key": "caller.key"}
    options = [part for k, v in files.items() for part in (f"--tls-{k}", certificates / v)]
    with serve(script, credentials=credentials) as target:
        command = ["classify", photo("tabby"), "--model", "cats", "--target", target]
        assert run(*command, *options).exit_code == 0
    assert run(*command, "--tls-key", certificates / "caller.key").exit_code == 2


@pytest.fixture
def known(script):
    identity = {"name": "cats", "version": 3, "artifact_sha256": "abcdef" * 10 + "0123"}
    script.models.append(
        [
            models_pb2.ModelStatus(
                identity=identity,
                task=models_pb2.TASK_CLASSIFICATION,
                state=models_pb2.ModelStatus.STATE_READY,
                version_labels=["stable", "canary"],
                devices=["cuda:0"],
            ),
            models_pb2.ModelStatus(
                identity={"name": "dogs", "version": 1},
                state=models_pb2.ModelStatus.STATE_FAILED,
                reason="wrong [hash]",
            ),
        ]
    )


def test_models_prints_a_table(run, target, known):
    result = run("models", "--target", target)

    assert result.exit_code == 0
    shown = ("cats", "classification", "ready", "stable", "canary", "cuda:0", "abcdefab ")
    for text in (*shown, "dogs", "failed", "wrong [hash]"):
        assert text in result.stdout


def test_models_prints_one_json_object_for_each_model(run, target, known):
    result = run("models", "--json", "--target", target)

    cats, dogs = map(json.loads, result.stdout.splitlines())
    assert (cats["identity"]["name"], cats["state"], cats["devices"]) == (
        "cats",
        "ready",
        ["cuda:0"],
    )
    assert (dogs["state"], dogs["reason"]) == ("failed", "wrong [hash]")


def test_models_of_an_unreachable_server_is_exit_status_1(run):
    result = run("models", "--target", "localhost:1", "--timeout", "0.1")

    assert result.exit_code == 1
    assert result.stderr.startswith("sightline: localhost:1: ")


def test_help_lists_every_command(run):
    result = run("--help")

    assert result.exit_code == 0
    own = ("classify", "segment", "detect", "predict", "follow", "models")
    for command in (*own, *provided.PROVIDERS):
        assert command in result.stdout


def test_version_is_printed(run):
    assert run("--version").stdout.startswith("sightline ")


@pytest.mark.parametrize("command", provided.PROVIDERS)
def test_a_provided_command_shows_its_own_help(run, command):
    result = run(command, "--help")

    assert result.exit_code == 0
    assert f"sightline {command}" in result.stdout.replace("root ", "sightline ")


@pytest.mark.parametrize("module", sorted({each.module for each in provided.PROVIDERS.values()}))
def test_every_command_that_a_package_has_is_listed(module):
    theirs = typer.Typer()
    importlib.import_module(module).register(theirs)
    listed = {name for name, each in provided.PROVIDERS.items() if each.module == module}
    assert set(get_group(theirs).commands) == listed


def test_a_command_that_is_not_installed_names_what_to_install(run, monkeypatch):
    absent = provided.Provider("service.commands_absent", "'sightline-server[cpu]'", "")
    monkeypatch.setitem(provided.PROVIDERS, "serve", absent)

    result = run("serve", "--models", "x")

    assert result.exit_code == 1
    assert "service.commands_absent is missing" in result.stderr
    assert "pip install 'sightline-server[cpu]'" in result.stderr


def imported_by(code: str) -> set[str]:
    report = "; import sys; print('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


HEAVY = {"torch", "onnxruntime", "onnx", "cv2", "PIL", "service", "export"}


def test_importing_sightline_needs_neither_a_runtime_nor_the_command_line():
    assert not imported_by("import sightline") & (HEAVY | {"rich", "typer", "pydantic"})


@pytest.mark.parametrize("arguments", [["--help"], ["segment", "--help"], ["follow", "--help"]])
def test_the_client_commands_import_nothing_heavy(arguments):
    run = (
        "from typer.testing import CliRunner; from sightline.cli.app import app;"
        f" assert CliRunner().invoke(app, {arguments}).exit_code == 0"
    )
    assert not imported_by(run) & HEAVY


def test_without_its_libraries_the_command_line_names_how_to_install_them():
    code = "import sys; sys.modules['typer'] = None\nfrom sightline.cli import main\nmain()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert result.returncode == 1
    assert result.stderr == (
        "sightline: the command line needs more: pip install 'sightline[cli]'\n"
    )
