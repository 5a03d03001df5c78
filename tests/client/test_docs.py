import re
from pathlib import Path

import pytest

from sightline.v1 import models_pb2

GUIDE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_guide_has_a_snippet_for_every_method():
    for method in ("classify", "segment", "detect", "predict", "predict_stream", "follow"):
        assert any(f"client.{method}(" in snippet for snippet in SNIPPETS), method


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_of_the_guide_runs(snippet, target, script, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for path in ("photo.jpg", "street.jpg", "cells.png", "photos/a.jpg", "photos/b.jpg"):
        Path(path).write_text(path)
    identity = models_pb2.ModelIdentity(name="efficientnet-lite0", version=3)
    ready = models_pb2.ModelStatus.STATE_READY
    script.models.append([models_pb2.ModelStatus(identity=identity, state=ready)])

    exec(compile(snippet.replace("localhost:8001", target), "docs/client.md", "exec"), {})
    assert capsys.readouterr().out or script.requests
