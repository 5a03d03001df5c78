"""Threads that a process cannot do without."""

import logging
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")


def exits_process_on_error(body: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Wrap the body of a thread that its process cannot do without: an error ends the process.

    The supervisor starts another one, and what was under way is run again there.
    """

    @wraps(body)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            body(*args, **kwargs)
        except BaseException:
            name = threading.current_thread().name
            logger.critical("thread %r failed; its process ends for it", name, exc_info=True)
            os._exit(os.EX_SOFTWARE)  # in order, it would wait for the other threads

    return run
