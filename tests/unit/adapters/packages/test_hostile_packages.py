"""Files that were made to harm whoever opens them (G25), and sound ones that must not be taken for such."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree
from xgboost import XGBClassifier

from lockgate.adapters.packages.scan.contents import Trouble, troubles_of

#: What attackers have pickles call: the plain ones, and those that got round lists of what is dangerous.
CALLS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("os", "popen"),
    ("subprocess", "Popen"),
    ("subprocess", "check_output"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("__builtin__", "eval"),
    ("builtins", "compile"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("builtins", "open"),
    ("importlib", "import_module"),
    ("runpy", "run_path"),
    ("runpy", "_run_code"),
    ("pty", "spawn"),
    ("socket", "create_connection"),
    ("shutil", "rmtree"),
    ("ctypes", "CDLL"),
    ("webbrowser", "open"),
    ("pickle", "loads"),
    ("_pickle", "loads"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("functools", "partial"),
    ("functools", "reduce"),
    ("timeit", "timeit"),
    ("cProfile", "run"),
    ("profile", "run"),
    ("pdb", "run"),
    ("bdb", "Bdb.run"),
    ("code", "InteractiveInterpreter"),
    ("types", "FunctionType"),
    ("marshal", "loads"),
    ("asyncio.subprocess", "create_subprocess_exec"),
    ("idlelib.run", "Executive.runcode"),
    ("pip", "main"),
    ("ensurepip", "_run_pip"),
    ("venv", "create"),
    ("doctest", "debug_script"),
    ("trace", "Trace.run"),
    ("multiprocessing.util", "spawnv_passfds"),
    ("lib2to3.pgen2.grammar", "Grammar.loads"),
    ("torch.hub", "load"),
    ("torch.serialization", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py.crackfortran", "getlincoef"),
    ("pandas", "read_pickle"),
    ("pandas", "eval"),
    ("joblib", "load"),
    ("sklearn.utils", "_safe_assign"),
    ("cloudpickle.cloudpickle", "_make_function"),
    ("dill", "loads"),
    ("urllib.request", "urlopen"),
    ("requests.api", "get"),
    ("smtplib", "SMTP"),
    ("sys", "exit"),
    ("signal", "signal"),
    ("atexit", "register"),
]
ARGUMENT = "touch /tmp/lockgate-canary"
#: What happened that must not, once `watching` is on.
SEEN: list[str] = []
WATCHING = [False]


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHING[0] and event in ("os.system", "subprocess.Popen", "pickle.find_class", "os.exec"):
        SEEN.append(f"{event} {arguments}")


sys.addaudithook(_heard)


def by_stack(module: str, name: str) -> bytes:
    """Protocol 4, as pickle writes it."""
    return b"".join(
        [b"\x80\x04", _text(module), b"\x94", _text(name), b"\x94\x93", _text(ARGUMENT), b"\x85R."],
    )


def by_text(module: str, name: str) -> bytes:
    """Protocol 0, which is nothing but text."""
    return f"c{module}\n{name}\n(S'{ARGUMENT}'\ntR.".encode()


def by_instance(module: str, name: str) -> bytes:
    """The oldest way to call."""
    return f"(S'{ARGUMENT}'\ni{module}\n{name}\n.".encode()


def broken_after(module: str, name: str) -> bytes:
    """It has run by the time that it proves to be no whole pickle."""
    return by_text(module, name)[:-1] + b"\xff\xff not a pickle"


def hidden_by_pops(module: str, name: str) -> bytes:
    """Harmless names are laid on top and taken away again before the import."""
    harmless = _text("collections") + _text("OrderedDict")
    return b"\x80\x04" + _text(module) + _text(name) + harmless + b"00\x93" + _text(ARGUMENT) + b"\x85R."


def hidden_in_memo(module: str, name: str) -> bytes:
    """The names come out of the memo, in which another place was filled."""
    kept = _text(module) + b"q\x05" + _text(name) + b"q\x07" + b"00" + _text("collections") + _text("OrderedDict")
    return b"\x80\x04" + kept + b"00h\x05h\x07\x93" + _text(ARGUMENT) + b"\x85R."


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def zipped(data: bytes, name: str = "archive/data.pkl") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return made.getvalue()


def tarred(data: bytes, name: str = "data.pkl") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


WRAPS: list[Callable[[bytes], bytes]] = [
    bytes,
    zipped,
    gzip.compress,
    zlib.compress,
    tarred,
    lambda data: zipped(zipped(data, "inner.zip")),
    lambda data: gzip.compress(tarred(data)),
    # What begins as a pickle and ends as an archive.
    lambda data: data + zipped(b"nothing", "readme.txt"),
]
FORMS = [by_stack, by_text, by_instance, broken_after, hidden_by_pops, hidden_in_memo]
ENDINGS = (".pkl", ".bin", ".txt", ".json", ".csv", ".png", ".npy", ".pt", ".skops", ".dat", "", ".yaml", ".md")


def hostile_pickles() -> Iterator[tuple[str, bytes]]:
    """Every call, in forms, wraps and under names that take turns."""
    for at, (module, name) in enumerate(CALLS):
        for turn in range(4):
            number = 4 * at + turn
            form, wrap = FORMS[number % len(FORMS)], WRAPS[(number // len(FORMS)) % len(WRAPS)]
            if form in (by_text, by_instance, broken_after) and "." in name:
                form = by_stack
            label = f"{module}.{name}-{form.__name__}-{WRAPS.index(wrap)}"
            yield f"{label}{ENDINGS[number % len(ENDINGS)]}", wrap(form(module, name))


def archive_of(*entries: tuple[str, bytes], links: bool = False) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if links else 0o100644) << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """What harms without a pickle."""
    for at, name in enumerate(("../evil", "/etc/passwd", "a/../../b", "C:/x", "a\\..\\b", "x\x00y"[:1] + "/./z")):
        yield f"slip-{at}.zip", archive_of((name, b"x"))
    yield "link.zip", archive_of(("link", b"/etc/passwd"), links=True)
    yield "twice.zip", archive_of(("a", b"x"), ("a", b"y"))
    yield "bomb.zip", archive_of(("zeros", bytes(300 << 20)))
    yield "bomb.gz", gzip.compress(bytes(40 << 20))
    yield "bomb.zz", zlib.compress(bytes(40 << 20))
    deep = b"x"
    for _ in range(5):
        deep = zipped(deep, "in.zip")
    yield "deep.zip", deep
    broken = bytearray(archive_of(("a", b"some text that is long enough")))
    broken[40] ^= 0xFF
    yield "damaged.zip", bytes(broken)
    yield "torn.gz", gzip.compress(b"x" * 10_000)[:-20]
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("device", tarfile.CHRTYPE), ("../out", tarfile.REGTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    yield "links.tar", tar.getvalue()
    yield "model.safetensors", struct.pack("<Q", 1 << 60) + b"{" + b" " * 100
    yield "short.safetensors", b"{}"
    for magic, name in ((b"\x7fELF", "lib.so"), (b"\x00asm\x01", "a.wasm"), (b"\xcf\xfa\xed\xfe", "a.dylib")):
        yield name, magic + bytes(100)
    yield "tool.txt", b"MZ" + bytes(0x3A) + struct.pack("<I", 0x40) + b"PE\x00\x00" + bytes(100)
    yield "a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20)
    yield "a.rar", b"Rar!\x1a\x07" + bytes(20)
    yield ".git/hooks/post-checkout", b"#!/bin/sh\n"
    yield "config.json", b'{"layers": [{"class_name": "Lambda", "config": {"function": ["4wEAAAA", null, null]}}]}'
    objects = io.BytesIO()
    np.save(objects, np.array([Harmful()], dtype=object), allow_pickle=True)
    yield "objects.npy", objects.getvalue()
    for name, text in (
        ("key.pem", "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"),
        ("env.txt", "AWS_ACCESS_KEY_ID=AKIA" + "ABCDEFGHIJKLMNOP"),
        ("notes.md", "token: gh" + "p_" + "a" * 36),
        ("hub.yaml", "token: hf" + "_" + "a" * 34),
        ("warehouse.json", '{"token": "dapi' + "0123456789abcdef" * 2 + '"}'),
    ):
        yield name, text.encode()


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.getoutput, (ARGUMENT,)


def looked_at(folder: Path, name: str, data: bytes) -> list[Trouble]:
    path = folder / "file"
    path.write_bytes(data)
    return list(troubles_of(name, path))


def test_every_hostile_file_is_found_nothing_of_it_runs_and_memory_is_bounded(tmp_path: Path) -> None:
    corpus = [*hostile_pickles(), *hostile_files()]
    assert len(corpus) >= 250
    missed: list[str] = []
    tracemalloc.start()
    WATCHING[0] = True
    try:
        for name, data in corpus:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            if not looked_at(tmp_path, name, data):
                missed.append(name)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 256 << 20, f"{name} took {peak:,} bytes"
    finally:
        WATCHING[0] = False
        tracemalloc.stop()
    assert missed == []
    assert SEEN == []


@pytest.mark.parametrize("form", FORMS)
def test_the_one_who_reads_a_pickle_names_what_it_would_have_imported(
    tmp_path: Path, form: Callable[[str, str], bytes]
) -> None:
    [trouble] = looked_at(tmp_path, "model.txt", form("posix", "system"))
    assert trouble.kind == "pickle"
    assert "posix.system" in trouble.sentence or "whose name it works out" in trouble.sentence


def test_a_secret_is_found_and_not_repeated(tmp_path: Path) -> None:
    secret = "gh" + "p_" + "b" * 36
    [trouble] = looked_at(tmp_path, "notes.txt", f"use {secret} to push".encode())
    assert trouble.sentence == "notes.txt holds what looks like a GitHub token"


def sound_models() -> Iterator[tuple[str, bytes]]:
    chance = np.random.default_rng(0)
    rows = pd.DataFrame(chance.random((80, 4)), columns=list("abcd"))
    label = (rows["a"] > rows["b"]).astype(int)
    models: list[Any] = [
        ensemble.RandomForestClassifier(n_estimators=3),
        ensemble.HistGradientBoostingClassifier(max_iter=3),
        ensemble.GradientBoostingClassifier(n_estimators=3),
        ensemble.IsolationForest(n_estimators=3),
        linear_model.LogisticRegression(),
        linear_model.SGDClassifier(),
        naive_bayes.GaussianNB(),
        neighbors.KNeighborsClassifier(algorithm="kd_tree"),
        neighbors.KNeighborsClassifier(algorithm="ball_tree"),
        neural_network.MLPClassifier((4,), max_iter=5),
        svm.SVC(),
        tree.DecisionTreeClassifier(),
        pipeline.make_pipeline(preprocessing.StandardScaler(), preprocessing.PolynomialFeatures(), svm.LinearSVC()),
        XGBClassifier(n_estimators=3),
        lightgbm.LGBMClassifier(n_estimators=3, verbose=-1),
    ]
    for model in models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(rows, label)
        name = type(model).__name__
        for protocol in (2, 4, 5):
            yield f"{name}-{protocol}.pkl", pickle.dumps(model, protocol=protocol)
        if "LGBM" not in name and "XGB" not in name:
            yield f"{name}.skops", skops.io.dumps(model)
    yield "frame.pkl", pickle.dumps(rows)
    booster: Any = models[-2].get_booster()
    yield "booster.ubj", bytes(booster.save_raw("ubj"))
    yield "booster.json", bytes(booster.save_raw("json"))
    yield "booster.txt", models[-1].booster_.model_to_string().encode()
    parquet, array = io.BytesIO(), io.BytesIO()
    rows.to_parquet(parquet)
    np.save(array, rows.to_numpy())
    yield "rows.parquet", parquet.getvalue()
    yield "rows.npy", array.getvalue()
    yield "rows.csv", rows.to_csv().encode()
    yield "cities.csv", b"count\nname\nRome\n" + b"(Paris\ntRouen.\n" * 20
    compressed = io.BytesIO()
    np.savez_compressed(compressed, a=rows.to_numpy())
    yield "rows.npz", compressed.getvalue()
    yield "MLmodel", b"flavors:\n  sklearn:\n    pickled_model: model.pkl\n"


def test_sound_files_are_no_trouble(tmp_path: Path) -> None:
    wronged = [
        (name, [trouble.sentence for trouble in found])
        for name, data in sound_models()
        if (found := looked_at(tmp_path, name, data))
    ]
    assert wronged == []


def test_a_pickle_that_joblib_compressed_is_looked_into(tmp_path: Path) -> None:
    made = io.BytesIO()
    joblib.dump({"weights": [1.0, 2.0]}, made, compress=3)
    assert looked_at(tmp_path, "model.joblib", made.getvalue()) == []
    made = io.BytesIO()
    joblib.dump(Harmful(), made, compress=3)
    assert [trouble.kind for trouble in looked_at(tmp_path, "model.joblib", made.getvalue())] == ["pickle"]
