"""What is in a file, whatever it is called: looked at by its bytes, archives down to what they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lockgate.adapters.packages.scan.pickles import as_told, imports_of, looks_like_one
from lockgate.base.errors import UnsafeArtifact
from lockgate.base.paths import check_inside

#: Bytes of a member that are unpacked to be looked at; what is larger is looked at so far.
_MOST = 64 << 20
#: Archives inside archives.
_DEEPEST = 3
#: An archive that unpacks to so many times its size, and to so much, is made to fill a disk.
_RATIO, _BOMB = 200, 256 << 20
_MOST_MEMBERS = 20_000
_HEAD = 1 << 16
#: Bytes of a text that are searched for secrets.
_TEXT = 4 << 20
#: Longest header of a safetensors file, as its own reader has it.
_SAFETENSORS_HEADER = 100_000_000

_PROGRAMS = {
    b"\x7fELF": "a program for Linux",
    b"MZ": "a program for Windows",
    b"\xca\xfe\xba\xbe": "a program or a Java class",
    b"\xfe\xed\xfa\xce": "a program for macOS",
    b"\xfe\xed\xfa\xcf": "a program for macOS",
    b"\xcf\xfa\xed\xfe": "a program for macOS",
    b"\xce\xfa\xed\xfe": "a program for macOS",
    b"\x00asm": "a WebAssembly program",
}
_SEALED = {b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a RAR archive", b"\x28\xb5\x2f\xfd": "a zstd archive"}
#: How Keras writes down a layer that is a function somebody wrote.
_LAMBDA = re.compile(rb'"class_name"\s*:\s*"Lambda"')
_SECRETS = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{60,}"),
    "a GitLab token": re.compile(rb"\bglpat-[A-Za-z0-9_-]{20}\b"),
    "a Slack token": re.compile(rb"\bxox[baprs]-[0-9A-Za-z-]{20,}"),
    "a Google API key": re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{34}\b"),
    "an Azure storage key": re.compile(rb"AccountKey=[A-Za-z0-9+/]{86}=="),
    "a Databricks token": re.compile(rb"\bdapi[0-9a-f]{32}\b"),
    "a token of Lockgate": re.compile(rb"\blg_[A-Za-z0-9_-]{32,}"),
}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """One thing in one file that no package should hold."""

    #: Path in the package; of what lies in an archive, with the archive's path and ``!`` before it.
    where: str
    #: What kind of trouble: pickle, program, archive, secret, link.
    kind: str
    sentence: str


def troubles_of(name: str, path: Path) -> Iterator[Trouble]:
    """Everything that is wrong with one file of a package; reads it, and runs nothing."""
    parts = {part.lower() for part in name.split("/")}
    if ".git" in parts or ".hg" in parts:
        yield Trouble(where=name, kind="link", sentence=f"{name} belongs to a repository, whose hooks run as programs")
    with path.open("rb") as file:
        yield from _looked_at(name, file, path.stat().st_size, 0)


def _looked_at(name: str, file: IO[bytes], size: int, depth: int) -> Iterator[Trouble]:
    head = file.read(_HEAD)
    for magic, what in _PROGRAMS.items():
        if head.startswith(magic) and (magic != b"MZ" or _is_windows(head)):
            yield Trouble(where=name, kind="program", sentence=f"{name} is {what}")
            return
    for magic, what in _SEALED.items():
        if head.startswith(magic):
            yield Trouble(where=name, kind="archive", sentence=f"{name} is {what}, which nobody here looks into")
            return
    if _is_safetensors(head, size):
        return
    if _claims_safetensors(name, head, size):
        yield Trouble(where=name, kind="archive", sentence=f"{name} has no header that a safetensors file may have")
    file.seek(0)
    if zipfile.is_zipfile(file):
        if not head.startswith(b"PK"):
            # An archive is found by its end; what reads from the beginning finds something else.
            yield from _pickled(name, file, head)
        file.seek(0)
        yield from _zipped(name, file, depth)
        return
    file.seek(0)
    packed = _unpacker(head)
    if packed is not None or head[257:262] == b"ustar":
        yield from _packed(name, file, size, packed, depth)
        return
    yield from _pickled(name, file, head, start=_objects(head))
    if head.startswith(b"\x89HDF"):
        file.seek(0)
        yield from _layers(name, file.read(_MOST))
    if b"\x00" not in head[:1024]:
        file.seek(0)
        text = file.read(_TEXT)
        yield from _secrets(name, text)
        yield from _layers(name, text)


def _pickled(name: str, file: IO[bytes], head: bytes, start: int = 0) -> Iterator[Trouble]:
    file.seek(start)
    found = imports_of(file)
    if not start and not looks_like_one(found, head):
        return
    strangers = found.strangers
    if strangers:
        told = ", ".join(map(as_told, strangers[:3]))
        sentence = f"{name} is a pickle that imports {told}, which no model needs"
        yield Trouble(where=name, kind="pickle", sentence=sentence)
    elif not found.whole:
        yield Trouble(where=name, kind="pickle", sentence=f"{name} is a pickle that cannot be followed to its end")


def _objects(head: bytes) -> int:
    """Where the pickle of a NumPy file of objects begins; 0 for anything else."""
    if not head.startswith(b"\x93NUMPY") or b"'|O'" not in head[:4096]:
        return 0
    wide = head[6] > 1
    length = int.from_bytes(head[8:12] if wide else head[8:10], "little")
    return (12 if wide else 10) + length


def _layers(name: str, text: bytes) -> Iterator[Trouble]:
    if _LAMBDA.search(text):
        yield Trouble(where=name, kind="program", sentence=f"{name} holds a Lambda layer, which is code of its own")


def _secrets(name: str, text: bytes) -> Iterator[Trouble]:
    for what, pattern in _SECRETS.items():
        if pattern.search(text):
            # The secret itself is not repeated: reports are read by many.
            yield Trouble(where=name, kind="secret", sentence=f"{name} holds what looks like {what}")


# --- archives


def _zipped(name: str, file: IO[bytes], depth: int) -> Iterator[Trouble]:
    if depth >= _DEEPEST:
        yield _archive(name, "lies in too many archives")
        return
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            unpacked, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
            if len(members) > _MOST_MEMBERS:
                yield _archive(name, f"holds {len(members):,} files")
                return
            if unpacked > _BOMB and unpacked > _RATIO * max(1, packed):
                yield _archive(name, f"unpacks from {packed:,} to {unpacked:,} bytes")
                return
            seen = set[str]()
            for member in members:
                yield from _member(name, member, seen)
                if member.is_dir():
                    continue
                if member.flag_bits & 1:
                    yield _archive(name, f"holds {as_told(member.filename)}, which is encrypted")
                    continue
                with archive.open(member) as inner:
                    data = inner.read(_MOST)
                    # Reading to the end proves the checksum.
                    while inner.read(1 << 20):
                        pass
                yield from _looked_at(
                    f"{name}!{as_told(member.filename)}", io.BytesIO(data), member.file_size, depth + 1
                )
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError) as error:
        yield _archive(name, f"cannot be looked through: {as_told(error)}")


def _member(name: str, member: zipfile.ZipInfo, seen: set[str]) -> Iterator[Trouble]:
    shown = as_told(member.filename)
    if member.filename in seen:
        yield _archive(name, f"holds {shown} twice")
    seen.add(member.filename)
    if stat.S_ISLNK(member.external_attr >> 16):
        yield Trouble(where=f"{name}!{shown}", kind="link", sentence=f"{name} holds a link, {shown}")
    try:
        check_inside(member.filename.rstrip("/"))
    except UnsafeArtifact:
        yield _archive(name, f"holds {shown}, which would be unpacked elsewhere")


def _packed(
    name: str, file: IO[bytes], size: int, unpack: Callable[[IO[bytes]], bytes] | None, depth: int
) -> Iterator[Trouble]:
    if depth >= _DEEPEST:
        yield _archive(name, "lies in too many archives")
        return
    try:
        inner: IO[bytes] = file if unpack is None else io.BytesIO(unpack(file))
        if unpack is not None and _length(inner) > max(_RATIO * size, 1 << 20):
            yield _archive(name, f"unpacks from {size:,} bytes to more than {_RATIO} times as many")
            return
        inner.seek(0)
        if inner.read(262)[257:262] != b"ustar":
            inner.seek(0)
            yield from _looked_at(f"{name}!", inner, _length(inner), depth + 1)
            return
        inner.seek(0)
        yield from _tarred(name, inner, depth)
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        yield _archive(name, f"cannot be looked through: {as_told(error)}")


def _tarred(name: str, file: IO[bytes], depth: int) -> Iterator[Trouble]:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for count, member in enumerate(archive):
            shown = as_told(member.name)
            if count >= _MOST_MEMBERS:
                yield _archive(name, f"holds more than {_MOST_MEMBERS:,} files")
                return
            if not (member.isfile() or member.isdir()):
                yield Trouble(
                    where=f"{name}!{shown}", kind="link", sentence=f"{name} holds a link or a device, {shown}"
                )
                continue
            try:
                check_inside(member.name.removeprefix("./").rstrip("/") or "x")
            except UnsafeArtifact:
                yield _archive(name, f"holds {shown}, which would be unpacked elsewhere")
            inner = archive.extractfile(member) if member.isfile() else None
            if inner is not None:
                yield from _looked_at(f"{name}!{shown}", io.BytesIO(inner.read(_MOST)), member.size, depth + 1)


def _unpacker(head: bytes) -> Callable[[IO[bytes]], bytes] | None:
    """What brings a compressed file out of its compression, up to a bound."""
    if head.startswith(b"\x1f\x8b"):
        return lambda file: gzip.GzipFile(fileobj=file).read(_MOST + 1)
    if head.startswith(b"BZh"):
        return lambda file: bz2.BZ2File(file).read(_MOST + 1)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lambda file: lzma.LZMAFile(file).read(_MOST + 1)
    # As joblib compresses; a text may begin like it, too.
    if head[:1] == b"\x78" and head[1:2] in (b"\x01", b"\x5e", b"\x9c", b"\xda") and _inflates(head):
        return lambda file: zlib.decompressobj().decompress(file.read(), _MOST + 1)
    return None


def _inflates(head: bytes) -> bool:
    try:
        return bool(zlib.decompressobj().decompress(head, 64))
    except zlib.error:
        return False


# --- forms


def _is_windows(head: bytes) -> bool:
    at = int.from_bytes(head[0x3C:0x40], "little")
    return len(head) > 0x40 and head[at : at + 4] == b"PE\x00\x00"


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and head[8:9] == b"{" and 1 < length <= min(size - 8, _SAFETENSORS_HEADER)


def _claims_safetensors(name: str, head: bytes, size: int) -> bool:
    return name.lower().endswith(".safetensors") or (
        head[8:9] == b"{"
        and size > 9
        and int.from_bytes(head[:8], "little") > max(size, _SAFETENSORS_HEADER)
        and b"\x00" in head[:8]
        and b'"dtype"' in head
    )


def _length(file: IO[bytes]) -> int:
    at = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(at)
    return end


def _archive(name: str, what: str) -> Trouble:
    return Trouble(where=name, kind="archive", sentence=f"{name} {what}")
