"""What the package says it needs is what its generated code needs."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
GENERATED = [*ROOT.glob("sightline/v1/*_pb2*.py"), *ROOT.glob("sightline/inference/*_pb2*.py")]
VERSION = re.compile(
    r"^# Protobuf Python Version: (?P<protobuf>\S+)|^GRPC_GENERATED_VERSION = '(?P<grpcio>\S+)'",
    re.MULTILINE,
)


def test_no_library_older_than_the_stubs_may_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {each.name: each for each in map(Requirement, project["dependencies"])}
    found = [match for path in GENERATED for match in VERSION.finditer(path.read_text())]
    assert {match.lastgroup for match in found} == {"protobuf", "grpcio"}
    for match in found:
        name = str(match.lastgroup)
        oldest = min(
            (each.version for each in needed[name].specifier if each.operator == ">="),
            default="0",
        )
        assert tuple(map(int, oldest.split("."))) >= tuple(map(int, match[name].split("."))), name
