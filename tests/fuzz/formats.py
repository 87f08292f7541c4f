"""Mutations that keep a format's own checks valid: lengths, checksums and compression.

Without them almost all mutated files are refused by the first check.
"""

import hashlib
import io
import json
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random

from fuzz.mutators import (
    Examples,
    Members,
    mutate_bytes,
    mutate_document,
    mutate_json,
    write_json,
)

_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_SHAPES = ([], [0], [1], [2**62, 4], [2**31, 2**31], [-1], [2**64], [1] * 5000, [0, 2**62])
_TYPES = ("F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X", "")


def mutate_safetensors(random: Random, examples: Examples) -> bytes:
    """Change the header of a safetensors file, and write its length and checksum again."""
    content = random.choice(examples)
    end = 8 + int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8:end], object_pairs_hook=Members), content[end:]
    if random.random() < 0.5:
        for _ in range(random.choice((1, 1, 2))):
            _edit_entry(random, header, len(body))
    elif random.random() < 0.5:
        _edit_texts(random, header)
    else:
        mutate_document(random, header)
    if random.random() < 0.2:
        body = mutate_bytes(random, [body])
    text = write_json(header).encode()
    text += b" " * (-len(text) % 8)
    return stamp_checksum(struct.pack("<Q", len(text)) + text + body)


def stamp_checksum(content: bytes) -> bytes:
    """The file with a valid SHA-256 in its header, if the header has a place for it."""
    found = _CHECKSUM.search(content)
    if found is None:
        return content
    zeroed = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
    digest = hashlib.sha256(zeroed).hexdigest().encode()
    return zeroed[: found.start(1)] + digest + zeroed[found.end(1) :]


def _edit_entry(random: Random, header: Members, length: int) -> None:
    """Change type, shape, place or name of one tensor."""
    index = random.randrange(len(header))
    name, entry = header[index]
    if name == "__metadata__":
        return
    fields = dict(entry)
    kind = random.randrange(5)
    if kind == 0:
        fields["dtype"] = random.choice(_TYPES)
    elif kind == 1:
        fields["shape"] = random.choice((*_SHAPES, [*fields["shape"], 1], fields["shape"][1:]))
    elif kind == 2:
        ends = (0, 1, 4, length, length + 1, 2**40, 2**63, 2**64 - 1, -1)
        fields["data_offsets"] = [random.choice(ends), random.choice(ends)]
    elif kind == 3:
        name += random.choice(("x", "/", "\0", "\ud800", ".weight"))
    else:
        fields["shape"] = fields["shape"][::-1]
    header[index] = (name, Members(fields.items()))


def _edit_texts(random: Random, header: Members) -> None:
    """Change the JSON within a text of the metadata."""
    texts = dict(header).get("__metadata__", Members())
    indices = [index for index, (_, text) in enumerate(texts) if text[:1] in {"{", "["}]
    if indices:
        index = random.choice(indices)
        name, text = texts[index]
        changed = mutate_json(random, [text.encode()]).decode("utf-8", "surrogatepass")
        texts[index] = (name, changed)


def mutate_png(random: Random, examples: Examples) -> bytes:
    """Change the chunks of a PNG, each with its checksum."""
    content = random.choice([each for each in examples if each.startswith(b"\x89PNG")])
    chunks = _chunks(content)
    for _ in range(random.choice((1, 1, 2, 4))):
        index = random.randrange(len(chunks))
        kind, data = chunks[index]
        edit = random.randrange(6)
        if edit == 0 and kind == b"IHDR" and len(data) == 13:
            width, height, *rest = struct.unpack(">IIBBBBB", data)
            sides = (0, 1, width, height, 50, 2**16, 2**31 - 1, 2**32 - 1)
            rest = [
                x if random.random() < 0.7 else random.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
                for x in rest
            ]
            data = struct.pack(">IIBBBBB", random.choice(sides), random.choice(sides), *rest)
            chunks[index] = (kind, data)
        elif edit == 1:
            chunks.insert(random.randrange(len(chunks)), random.choice(_extra_chunks(random)))
        elif edit == 2 and len(chunks) > 1:
            del chunks[index]
        elif edit == 3:
            chunks.append(chunks[index])
        elif edit == 4 and kind == b"IDAT":
            try:
                pixels = zlib.decompress(data)
            except zlib.error:
                continue
            chunks[index] = (kind, zlib.compress(mutate_bytes(random, [pixels])))
        else:
            chunks[index] = (kind, mutate_bytes(random, [data]))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, start = [], 8
    while start + 12 <= len(content):
        (length,) = struct.unpack(">I", content[start : start + 4])
        chunks.append((content[start + 4 : start + 8], content[start + 8 : start + 8 + length]))
        start += length + 12
    return chunks


def _extra_chunks(random: Random) -> list[tuple[bytes, bytes]]:
    noise = random.randbytes(random.randint(0, 40))
    return [
        (b"tRNS", noise),
        (b"PLTE", noise),
        (b"eXIf", b"Exif\0\0" + noise),
        (b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + noise),
        (b"iCCP", b"a\0\0" + zlib.compress(noise)),
        (b"zTXt", b"a\0\0" + zlib.compress(noise)),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + noise),
        (b"acTL", struct.pack(">II", random.choice((0, 1, 2**31)), 0)),
        (b"fcTL", noise),
        (b"pHYs", noise),
    ]


_TAGS = re.compile(r"(<[^>]*>|[^<]+)")
_XML = (
    "",
    "<object/>",
    "<object>",
    "</annotation>",
    "<a>" * 3_000,
    "<a>" * 3_000 + "</a>" * 3_000,
    "&lt;",
    "&a;",
    "&#0;",
    "&#xd800;",
    "<![CDATA[",
    "<!DOCTYPE a [<!ENTITY a 'b'>]>",
    "<?xml version='1.0' encoding='utf-7'?>",
    "<?xml version='1.0' encoding='idna'?>",
    "<?xml version='1.0' encoding='gbk'?>",
    "-1",
    "NaN",
    "1e999",
    "1e308",
    "9" * 5_000,
    "a\nb",
    "x" * 20_000,
    "../../../x.jpg",
)


def mutate_xml(random: Random, examples: Examples) -> bytes:
    """Change, remove, repeat and exchange tags and texts of an example that is XML."""
    parts = _TAGS.findall(random.choice(examples).decode())
    _edit(random, parts, _XML, lambda _: "")
    return "".join(parts).encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-16", "gbk")))


_LINES = (
    "",
    " ",
    "\t",
    "a" * 20_000,
    "a " * 3_000,
    "a b c",
    "/etc/hostname /etc/hostname",
    "../a.png ../a.png",
    "\0",
    "\u2028",
    "\x85",
    "\x0c",
    "\x1b[2J",
    "\ufeff",
    "0",
    "a/" * 5_000,
)


def mutate_lines(random: Random, examples: Examples) -> bytes:
    """Change, remove, repeat and exchange lines of an example that is text."""
    lines = random.choice(examples).decode().split("\n")
    _edit(random, lines, _LINES, lambda line: line + random.choice(_LINES))
    end = random.choice(("\n", "\n", "\n", "\r\n", "\r"))
    return end.join(lines).encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-32")))


def mutate_archive(random: Random, examples: Examples) -> bytes:
    """Change the files in a zip archive that `torch.save` wrote: its pickle, sizes and names."""
    archives = [each for each in examples if each.startswith(b"PK")]
    with zipfile.ZipFile(io.BytesIO(random.choice(archives))) as archive:
        files = [(info.filename, archive.read(info)) for info in archive.infolist()]
    for _ in range(random.choice((1, 1, 2))):
        index = random.randrange(len(files))
        pickles = [i for i, (name, _) in enumerate(files) if name.endswith("data.pkl")]
        if pickles and random.random() < 0.7:
            index = pickles[0]
        name, content = files[index]
        edit = random.randrange(8)
        if edit == 0 and len(files) > 1:
            del files[index]
        elif edit == 1:
            files[index] = (name + random.choice(("x", "/", "/../x")), content)
        elif edit == 2:
            files.append((name, content))
        elif edit == 3 or not name.endswith(".pkl"):
            files[index] = (name, mutate_bytes(random, [content]))
        else:
            files[index] = (name, mutate_pickle(random, content))
    packed = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", packed) as archive:
        for name, content in files:
            archive.writestr(zipfile.ZipInfo(name), content, packed)
    return output.getvalue()


def mutate_pickle(random: Random, content: bytes) -> bytes:
    """Change, remove, repeat and exchange instructions of a pickle."""
    try:
        places = [place for _, _, place in pickletools.genops(content)]
    except Exception:  # not a pickle any more
        return mutate_bytes(random, [content])
    parts = [content[x:y] for x, y in zip(places, [*places[1:], None], strict=True)]
    for _ in range(random.choice((1, 1, 2, 4))):
        index, other = (random.randrange(len(parts)) for _ in range(2))
        edit = random.randrange(5)
        if edit == 0:
            parts[index] = random.choice(_INSTRUCTIONS)
        elif edit == 1:
            parts.insert(index, random.choice(_INSTRUCTIONS))
        elif edit == 2:
            parts[index] = b""
        elif edit == 3:
            parts[index], parts[other] = parts[other], parts[index]
        else:
            parts.insert(index, parts[other])
    return b"".join(parts)


_INSTRUCTIONS = (
    b"N",
    b"K\x00",
    b"K\xff",
    b"J\xff\xff\xff\xff",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"\x88",
    b"}",
    b"]",
    b")",
    b"(",
    b"t",
    b"\x85",
    b"R",
    b"b",
    b"Q",
    b"0",
    b"q\x00",
    b"h\x00",
    b"X\x01\x00\x00\x00a",
    b"X\x04\x00\x00\x00meta",
    b"X\xff\xff\xff\x7f",
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch\nIntStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n",
    b"ccollections\nOrderedDict\n",
    b"cnumpy\nndarray\n",
)


def _edit(
    random: Random, parts: list[str], others: Sequence[str], change: Callable[[str], str]
) -> None:
    """Replace, insert, change, exchange and repeat parts, one to four times."""
    for _ in range(random.choice((1, 1, 2, 4))):
        index, other = (random.randrange(len(parts)) for _ in range(2))
        edit = random.randrange(5)
        if edit == 0:
            parts[index] = random.choice(others)
        elif edit == 1:
            parts.insert(index, random.choice(others))
        elif edit == 2:
            parts[index] = change(parts[index])
        elif edit == 3:
            parts[index], parts[other] = parts[other], parts[index]
        else:
            parts[index:index] = parts[min(index, other) : max(index, other)]
