"""``python -m sightline`` is ``sightline``: the current folder is not where it imports from.

Python puts that folder first for ``-m``. It stays where this package lies in it: in a checkout.
"""

import os
import sys

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
if not sys.flags.safe_path and sys.path[0] == os.getcwd() != _HOME:  # noqa: PTH109
    del sys.path[0]  # before more is imported: any name could be a file of that folder

from sightline.cli import main  # noqa: E402

main()
