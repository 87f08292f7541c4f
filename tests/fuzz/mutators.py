"""Mutations of bytes and of JSON, and the choice among them.

    mutate = choose((3, mutate_json), (1, mutate_bytes))
    mutate(Random(7), [b'{"a": 1}'])        # a function of the random numbers alone

A mutator takes the examples of valid files and returns the content of an invalid one, or of
another valid one.
"""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Examples = Sequence[bytes]
Mutator = Callable[[Random, Examples], bytes]

_TOKENS = (
    b"\0",
    b"\n",
    b"\r",
    b'"',
    b"\\",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",  # a surrogate, which UTF-8 does not have
    b"\x1b[2J",
    b"../",
    b"%s",
    b"-1",
    b"NaN",
    b"1e999",
    b"9" * 30,
)
_NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def choose(*weighted: tuple[int, Mutator]) -> Mutator:
    """A mutator that applies one of several, drawn with these weights."""
    weights, mutators = zip(*weighted, strict=True)

    def mutate(random: Random, examples: Examples) -> bytes:
        return random.choices(mutators, weights)[0](random, examples)

    return mutate


def mutate_bytes(random: Random, examples: Examples) -> bytes:
    """Flip, overwrite, remove, repeat, insert and exchange bytes of an example."""
    content = bytearray(random.choice(examples))
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        random.choice(_EDITS)(random, content, examples)
    return bytes(content)


def _span(random: Random, content: bytes | bytearray) -> slice:
    start = random.randint(0, len(content))
    longest = random.choice((1, 4, 32, len(content)))
    return slice(start, start + random.randint(0, longest))


def _flip(random: Random, content: bytearray, _: Examples) -> None:
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _overwrite(random: Random, content: bytearray, _: Examples) -> None:
    size = random.choice((1, 2, 4, 8))
    number = random.choice(_NUMBERS) % 256**size
    start = random.randint(0, len(content))
    content[start : start + size] = number.to_bytes(size, random.choice(("little", "big")))


def _remove(random: Random, content: bytearray, _: Examples) -> None:
    del content[_span(random, content)]


def _truncate(random: Random, content: bytearray, _: Examples) -> None:
    del content[random.randint(0, len(content)) :]


def _repeat(random: Random, content: bytearray, _: Examples) -> None:
    part, start = content[_span(random, content)], random.randint(0, len(content))
    content[start:start] = part * random.choice((1, 1, 2, 50))


def _insert(random: Random, content: bytearray, _: Examples) -> None:
    start = random.randint(0, len(content))
    content[start:start] = random.choice((*_TOKENS, random.randbytes(random.randint(1, 32))))


def _splice(random: Random, content: bytearray, examples: Examples) -> None:
    other = random.choice(examples)
    content[random.randint(0, len(content)) :] = other[random.randint(0, len(other)) :]


_EDITS = (_flip, _flip, _overwrite, _overwrite, _remove, _truncate, _repeat, _insert, _splice)


class Raw(str):
    """Text that is written into JSON as it is."""


class Members(list[tuple[str, Any]]):
    """The members of an object in JSON, in which names may be repeated."""


_VALUES = (
    *map(Raw, ("null", "true", "false", "0", "-1", "1", "-0.0", "0.5", "1e308", "-1e308", "1e999")),
    *map(Raw, ("NaN", "Infinity", "-Infinity", "9" * 400, "9" * 5000, str(2**63), str(2**64))),
    *map(Raw, ('""', '"0"', '"\\ud800"', '"\\u0000"', '"\\u001b[2J"', '"a\\nb"', '"../../x"')),
    *map(Raw, ('"' + "x" * 20_000 + '"', "[]", "{}", "[[]]", "[null]", '{"": null}', "[1, 2]")),
    Raw("[" * 150 + "]" * 150),
    Raw("[" * 5_000 + "]" * 5_000),
    Raw('{"a":' * 5_000 + "1" + "}" * 5_000),
    Raw("[" * 5_000),
)
_NAMES = ("", "format", "__class__", "\ud800", "\0", "a\nb", "\x1b[2J", "x" * 5_000, "-1")


def mutate_json(random: Random, examples: Examples) -> bytes:
    """Change values, names and the structure of an example that is JSON."""
    documents = [json.loads(example, object_pairs_hook=Members) for example in examples]
    return write_json(mutate_document(random, random.choice(documents), documents)).encode()


def mutate_document(random: Random, document: Any, others: Sequence[Any] = ()) -> Any:
    """Change a document of lists, `Members` and plain values in place, and return it.

    `others` are documents whose parts may replace a part.
    """
    root = [document]
    others = [*others, document]
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        container, index = random.choice(_places(root))
        if isinstance(container, Members) and random.random() < 0.3:
            _edit_members(random, container, index)
        elif random.random() < 0.15 and container is not root:
            _edit_items(random, container, index)
        elif random.random() < 0.2:
            other, place = random.choice(_places([random.choice(others)]))
            _set(container, index, json_copy(_get(other, place)))
        else:
            _set(container, index, random.choice(_VALUES))
    return root[0]


def _places(value: Any) -> list[tuple[list[Any], int]]:
    """Each container and index below a value."""
    places: list[tuple[list[Any], int]] = []
    pending = [value]
    while pending:
        container = pending.pop()
        for index in range(len(container)):
            places.append((container, index))
            item = _get(container, index)
            if isinstance(item, list):
                pending.append(item)
    return places


def _get(container: list[Any], index: int) -> Any:
    return container[index][1] if isinstance(container, Members) else container[index]


def _set(container: list[Any], index: int, value: Any) -> None:
    container[index] = (container[index][0], value) if isinstance(container, Members) else value


def _edit_members(random: Random, members: Members, index: int) -> None:
    name, value = members[index]
    kind = random.randrange(4)
    if kind == 0:
        del members[index]
    elif kind == 1:
        members[index] = (random.choice((*_NAMES, name + "s", name.upper())), value)
    elif kind == 2:
        members.append((name, random.choice((*_VALUES, value))))
    else:
        members.append((random.choice(_NAMES), random.choice(_VALUES)))


def _edit_items(random: Random, items: list[Any], index: int) -> None:
    if random.random() < 0.4:
        del items[index]
    else:
        items.extend([items[index]] * random.choice((1, 1, 2, 200)))


def json_copy(value: Any) -> Any:
    """A deep copy of a document."""
    if isinstance(value, Members):
        return Members((name, json_copy(item)) for name, item in value)
    return [json_copy(item) for item in value] if isinstance(value, list) else value


def write_json(value: Any) -> str:
    """A document as text, with `Raw` parts as they are."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Members):
        return "{" + ",".join(f"{json.dumps(x)}:{write_json(y)}" for x, y in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write_json, value)) + "]"
    return json.dumps(value)
