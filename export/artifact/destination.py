"""Writing an artifact: first in a temporary folder, then into its place in one step."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from export.errors import DestinationError
from service.artifact.manifest import NAME_PATTERN


class Destination:
    """The folder ``output/NAME/VERSION``, as a context: it appears complete or not at all.

    Args:
        output: the model repository; made if it is missing.
        name: of the model.
        version: None for one more than the newest version.

    Raises:
        DestinationError: the name is invalid, the version exists, or the folder is not writable.
    """

    def __init__(self, output: Path, name: str, version: int | None) -> None:
        if not re.fullmatch(NAME_PATTERN, name):
            raise DestinationError(
                f"{name!r} is no model name; use lower-case letters, digits, '.', '_' and '-'"
            )
        self._model_dir = output / name
        self.version = next_version(self._model_dir) if version is None else version
        self._place = self._model_dir / str(self.version)
        self._refuse_existing()

    def __enter__(self) -> Self:
        absent = [path for path in (self._model_dir, *self._model_dir.parents) if not path.exists()]
        self._made_dirs = absent  # innermost first
        try:
            self._model_dir.mkdir(parents=True, exist_ok=True)
            self.partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=self._model_dir))
        except OSError as err:
            raise DestinationError(f"cannot write to {self._model_dir}: {err.strerror}") from err
        return self

    def publish(self) -> Path:
        """Rename the finished artifact into its place."""
        self._refuse_existing()
        self.partial.chmod(0o755)  # mkdtemp allows only its owner; a server may run as another user
        try:
            self.partial.rename(self._place)
        except OSError as err:
            raise DestinationError(f"cannot rename to {self._place}: {err.strerror}") from err
        return self._place

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._place.exists() and not self.partial.exists():
            return
        shutil.rmtree(self.partial)
        for path in self._made_dirs:
            if not any(path.iterdir()):
                path.rmdir()

    def _refuse_existing(self) -> None:
        if self._place.exists():
            raise DestinationError(
                f"{self._place} exists, and a version never changes; leave the version out to get"
                " the next one"
            )


def next_version(model_dir: Path) -> int:
    """One more than the newest version in ``model_dir``, or 1."""
    if not model_dir.is_dir():
        return 1
    return 1 + max(
        (int(path.name) for path in model_dir.iterdir() if path.name.isdecimal()), default=0
    )


def project_commit() -> str:
    """The commit of this package's checkout, with ``-dirty`` if changed; empty without one."""
    here = Path(__file__)
    try:
        for arguments in (
            ["ls-files", "--error-unmatch", here.name],
            ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        ):
            answer = subprocess.run(
                ["git", "-C", str(here.parent), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
    except (OSError, subprocess.SubprocessError):  # no git, or installed and not checked out
        return ""
    return answer.stdout.strip()
