"""Asks a gateway by Triton's gRPC client; run by the Python that has it: ``triton_grpc.py HOST:PORT TOKEN``."""

import json
import queue
import sys
from importlib import import_module
from typing import Any

import numpy as np

grpc: Any = import_module("tritonclient.grpc")
utils: Any = import_module("tritonclient.utils")

ROWS = np.random.default_rng(5).random((3, 4)).astype(np.float32)


def tensor(name: str, values: Any, datatype: str) -> Any:
    given = grpc.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def main() -> None:
    client = grpc.InferenceServerClient(sys.argv[1])
    headers = {"authorization": f"Bearer {sys.argv[2]}"}
    found: dict[str, Any] = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model": client.is_model_ready("thyroid.prod", headers=headers),
        "version": client.is_model_ready("thyroid.prod", "3", headers=headers),
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata("thyroid.prod", headers=headers, as_json=True),
        "index": client.get_model_repository_index(headers=headers, as_json=True),
        "loaded": client.load_model("thyroid.prod", headers=headers),
    }
    try:
        client.unload_model("thyroid.prod", headers=headers)
    except utils.InferenceServerException as error:
        found["unload"] = f"{error.status()}: {error.message()}"
    answers: dict[str, Any] = {}
    for packing in (None, "gzip", "deflate"):
        result = client.infer(
            "thyroid.prod",
            [tensor("input", ROWS, "FP32")],
            request_id="42",
            outputs=[grpc.InferRequestedOutput(name) for name in ("probabilities", "label")],
            headers=headers,
            compression_algorithm=packing,
            client_timeout=10,
        )
        answers[f"packing={packing}"] = read(result)
        found["id"] = result.get_response().id
    answers["default"] = read(client.infer("thyroid.prod", [tensor("input", ROWS, "FP32")], headers=headers))
    answers["half"] = read(
        client.infer("thyroid.prod", [tensor("input", ROWS.astype(np.float16), "FP16")], headers=headers)
    )
    columns = [tensor(f"x{at}", ROWS[:, at].astype(np.float64), "FP64") for at in range(4)]
    answers["columns"] = read(client.infer("thyroid.prod", columns, headers=headers))
    found["answers"] = answers
    people = client.infer(
        "dose.dev",
        [
            tensor("age", np.array([[30], [40]]), "INT64"),
            tensor("weight", np.array([[0.5], [0.25]]), "FP64"),
            tensor("sex", np.array([["F"], ["M"]], dtype=object), "BYTES"),
        ],
        headers=headers,
    )
    found["people"] = people.as_numpy("prediction").tolist()
    told: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def tell(result: Any, error: Any) -> None:
        told.put((result, error))

    for _ in range(50):
        client.async_infer("thyroid.prod", [tensor("input", ROWS, "FP32")], tell, headers=headers)
    many = [told.get(timeout=20) for _ in range(50)]
    found["many"] = [error and str(error) for result, error in many if error or read(result) != answers["default"]]
    print(json.dumps(found))


def read(result: Any) -> dict[str, Any]:
    return {
        "labels": [text.decode() for text in result.as_numpy("label").tolist()],
        "scores": result.as_numpy("probabilities").tolist(),
    }


if __name__ == "__main__":
    main()
