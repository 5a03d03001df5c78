"""A misspelt keyword argument is a ``TypeError`` that names the nearest one.

Python does this itself from 3.13 on; the message is the same.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type[Any])


def suggests_arguments(cls: Class) -> Class:
    """Give the public methods of a class, and its constructor, such an error."""
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if name == "__init__" or not name.startswith("_"):
            setattr(cls, name, _suggesting(method, f"{cls.__name__}.{name}"))
    return cls


def _suggesting(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    known = list(inspect.signature(method).parameters)[1:]  # without self
    knows_all = frozenset(known).issuperset

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not knows_all(kwargs):
            raise _error(name, kwargs, known)
        return method(*args, **kwargs)

    @functools.wraps(method)
    async def call_async(*args: Any, **kwargs: Any) -> Any:
        if not knows_all(kwargs):
            raise _error(name, kwargs, known)
        return await method(*args, **kwargs)

    return call_async if inspect.iscoroutinefunction(method) else call


def _error(name: str, given: Iterable[str], known: list[str]) -> TypeError:
    wrong = next(argument for argument in given if argument not in known)
    nearest = get_close_matches(wrong, known, n=1)
    hint = f". Did you mean '{nearest[0]}'?" if nearest else ""
    return TypeError(f"{name}() got an unexpected keyword argument '{wrong}'{hint}")
