"""What a pickle would import and call, read from its opcodes; nothing is unpickled.

Lists of what is dangerous have been got round again and again (the advisories of picklescan), so this is a list of what
models need. Whatever else a pickle names is a stranger.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass, field
from typing import IO, Any, cast

#: Modules whose classes (names that begin with a capital) are what estimators are made of.
_LIBRARIES = ("sklearn.", "lightgbm.", "xgboost.", "catboost.", "scipy.sparse.", "pandas.core.", "statsmodels.")
#: What else models hold, by full name.
_KNOWN = re.compile(
    r"""
    (__builtin__|builtins)\.(set|frozenset|dict|list|tuple|int|float|complex|bool|str|bytes|bytearray|slice|range|object)
    | collections\.(OrderedDict|defaultdict|deque|Counter)
    | copy_?reg\.(_reconstructor|__newobj__)
    | datetime\.(datetime|date|time|timedelta|timezone)
    | decimal\.Decimal | fractions\.Fraction | uuid\.UUID | pathlib\.(PurePosixPath|PosixPath)
    | _codecs\.encode
    | numpy\.(ndarray|dtype|bool_|u?int(8|16|32|64|c|p)?|float(16|32|64)|str_|bytes_|datetime64|ma\.core\.\w+)
    | numpy\.(_?core)\.(multiarray\.(_reconstruct|scalar)|numeric\._frombuffer)
    | numpy\.random\.(_pickle\.__\w+_ctor|_\w+\.\w+|bit_generator\.\w+)
    | joblib\.numpy_pickle\.(NumpyArrayWrapper|NDArrayWrapper)
    | pandas\._libs\.\w+(\.\w+)*
    | pandas\.(DataFrame|Series|\w*Index|\w*Dtype|Timestamp|Timedelta|Categorical|Interval)
    | pandas\.arrays\.\w+Array
    | pyarrow\.lib\.(_restore_array|type_for_alias|py_buffer|\w*Array|\w*DataType)
    | pandas\.core\.indexes\.\w+\._new_\w+
    | sklearn(\.\w+)*\.(__pyx_unpickle_\w+|newObj|_reconstruct\w*)
    | scipy\.interpolate\.\w+\.[A-Z]\w*
    | torch\.(\w*Storage|Size|device|dtype|float\d+|int\d+|Tensor|nn\.modules(\.\w+)*\.[A-Z]\w*)
    | torch\._utils\.(_rebuild_tensor(_v2)?|_rebuild_parameter)
    | torch\.nn\.parameter\.Parameter
    | torch\.storage\.\w*Storage
    """,
    re.VERBOSE,
)
_WORD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
#: Opcodes that push a text, that name what to import, and that call what was imported.
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_KEPT = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_FETCHED = {"GET", "BINGET", "LONG_BINGET"}
_CALLS = {"REDUCE", "NEWOBJ", "NEWOBJ_EX"}
#: What such a call comes right behind. A text that begins as a pickle by chance ("city", "Rome", "Rouen") has none.
_ARGUMENTS = {"TUPLE", "EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "POP", "POP_MARK", "DUP", "DICT", *_FETCHED}
_MARKED = {"INST", "OBJ"}
#: Opcodes that import, or ask for, what a table outside of the file names.
_OUTSIDE = {"EXT1", "EXT2", "EXT4"}
_NEUTRAL = {"FRAME", "PROTO"}


@dataclass(kw_only=True)
class Imports:
    """What one pickle names, in the order it does."""

    names: list[str] = field(default_factory=list[str])
    calls: bool = False
    #: Whether it was read to its end.
    whole: bool = False

    @property
    def strangers(self) -> list[str]:
        """Names that no model needs."""
        return [name for name in dict.fromkeys(self.names) if not known(name)]


def known(name: str) -> bool:
    """Whether models need what goes by this full name."""
    if _KNOWN.fullmatch(name):
        return True
    if not name.startswith(_LIBRARIES) or not _WORD.fullmatch(name):
        return False
    last = name.rpartition(".")[2].lstrip("_")
    return last[:1].isupper()


def imports_of(file: IO[bytes]) -> Imports:
    """Read one pickle from where the file stands; what is no pickle gives few names and is not ``whole``."""
    found = Imports()
    #: Texts on top of the stack with nothing else among them: only of these it is sure what they name.
    texts: list[str | None] = []
    memo: dict[int, str | None] = {}
    before, marked = "", False
    try:
        for opcode, argument, _ in pickletools.genops(file):
            name, given = opcode.name, cast(Any, argument)
            if name in _TEXTS:
                texts.append(str(given))
            elif name in _KEPT:
                memo[len(memo) if given is None else int(given)] = texts[-1] if texts else None
            elif name in _FETCHED:
                texts.append(memo.get(int(given)))
            elif name not in _NEUTRAL:
                if name in ("GLOBAL", "INST"):
                    found.names.append(str(given).replace(" ", ".", 1))
                elif name == "STACK_GLOBAL":
                    found.names.append(_named(texts))
                elif name in _OUTSIDE:
                    found.names.append(f"extension {given}")
                texts.clear()
            found.calls = found.calls or (name in _CALLS and before in _ARGUMENTS) or (name in _MARKED and marked)
            marked = marked or name == "MARK"
            before = before if name in _KEPT else name
            found.whole = name == "STOP"
    except Exception:  # bytes that are no pickle fail in any way, and some pickles are meant to
        found.whole = False
    return found


def _named(texts: list[str | None]) -> str:
    module, attribute = texts[-2:] if len(texts) > 1 else (None, None)
    return f"{module}.{attribute}" if module and attribute else "something whose name it works out"


def looks_like_one(found: Imports, head: bytes) -> bool:
    """Whether bytes that were read as a pickle are one, or would do harm before they prove to be none."""
    if head[:1] == b"\x80" and len(head) > 1 and head[1] <= 5:
        return True
    if found.whole:
        return bool(found.names or found.calls)
    return found.calls and any(_WORD.fullmatch(name) for name in found.names)


def as_told(value: Any) -> str:
    """A name out of a stranger's file, fit for a sentence."""
    text = str(value)
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:120]
