"""Asks a gateway by Triton's HTTP client; run by the Python that has it: ``triton_http.py HOST:PORT TOKEN``."""

import json
import sys
from importlib import import_module
from typing import Any

import numpy as np

http: Any = import_module("tritonclient.http")
utils: Any = import_module("tritonclient.utils")

ROWS = np.random.default_rng(5).random((3, 4)).astype(np.float32)


def tensor(name: str, values: Any, datatype: str, *, binary: bool) -> Any:
    given = http.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def main() -> None:
    client = http.InferenceServerClient(sys.argv[1])
    headers = {"authorization": f"Bearer {sys.argv[2]}"}
    found: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model": client.is_model_ready("thyroid.prod", headers=headers),
        "version": client.is_model_ready("thyroid.prod", "3", headers=headers),
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata("thyroid.prod", headers=headers),
        "index": client.get_model_repository_index(headers=headers),
        "loaded": client.load_model("thyroid.prod", headers=headers),
    }
    try:
        client.unload_model("thyroid.prod", headers=headers)
    except utils.InferenceServerException as error:
        found["unload"] = str(error)
    answers: dict[str, Any] = {}
    for sent in (True, False):
        for wanted in (True, False):
            outputs = [http.InferRequestedOutput(name, binary_data=wanted) for name in ("label", "probabilities")]
            for packing in (None, "gzip", "deflate"):
                result = client.infer(
                    "thyroid.prod",
                    [tensor("input", ROWS, "FP32", binary=sent)],
                    outputs=outputs,
                    request_id="42",
                    # The client writes into what it is given.
                    headers=dict(headers),
                    request_compression_algorithm=packing,
                    response_compression_algorithm=packing,
                )
                answers[f"sent={sent} wanted={wanted} packing={packing}"] = read(result)
    # Without outputs the client asks for all of them in binary.
    answers["default"] = read(
        client.infer("thyroid.prod", [tensor("input", ROWS, "FP32", binary=True)], headers=headers)
    )
    half = ROWS.astype(np.float16)
    answers["half"] = read(
        client.infer("thyroid.prod", [tensor("input", half, "FP16", binary=True)], headers=headers, model_version="3")
    )
    found["answers"] = answers
    mixed = [
        tensor("age", np.array([61, 62], np.int64), "INT64", binary=True),
        tensor("weight", np.array([70.0, 80.5]), "FP64", binary=False),
        tensor("sex", np.array(["F", "M"], np.object_), "BYTES", binary=True),
    ]
    found["mixed"] = client.infer("dose.dev", mixed, headers=headers).as_numpy("prediction").tolist()
    large = client.infer(
        "thyroid.prod",
        [tensor("input", np.tile(ROWS, (1000, 1)), "FP32", binary=True)],
        headers=dict(headers),
        response_compression_algorithm="gzip",
    )
    found["large"] = [large.as_numpy("probabilities").shape, large.as_numpy("label").shape]
    try:
        client.infer("thyroid.prod", [tensor("input", ROWS, "FP32", binary=True)], headers=headers, timeout=1)
    except utils.InferenceServerException as error:
        found["late"] = [error.status(), str(error)]
    print(json.dumps(found))


def read(result: Any) -> Any:
    labels = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("label").ravel().tolist()]
    return {"labels": labels, "scores": result.as_numpy("probabilities").tolist()}


main()
