"""The generator of the threaded client; `make check` proves that its output is current."""

import pytest

from tools.twins import translated

SOURCE = {
    "methods.py": "async def ask(self) -> AsyncReply:\n    return await self.transport.ask()\n",
    "streams.py": "async for reply in replies:\n    yield reply\n",
}
PATTERNS = {
    r"async (def|for)": r"\1",
    r"await ": "",
    r"\bAsync(?=[A-Z])": "",
    r"for (\w+) in (.+):\n +yield \1\n": r"yield from \2\n",
}


def test_each_pattern_is_replaced_in_order():
    assert translated(SOURCE, PATTERNS) == {
        "methods.py": "def ask(self) -> Reply:\n    return self.transport.ask()\n",
        "streams.py": "yield from replies\n",
    }


def test_a_pattern_that_no_module_needs_is_an_error():
    with pytest.raises(ValueError, match="'sleep' is never used"):
        translated(SOURCE, PATTERNS | {"sleep": "time.sleep"})


@pytest.mark.parametrize("word", ["async with lock:", "asyncio.sleep(1)", "await(x)", "aiter(x)"])
def test_an_asynchronous_word_that_is_left_is_an_error(word):
    with pytest.raises(ValueError, match=r"lock\.py: 'a\w+' is left"):
        translated(SOURCE | {"lock.py": word}, PATTERNS)
