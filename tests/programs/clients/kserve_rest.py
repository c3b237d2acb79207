"""Asks a gateway by KServe's REST client; run by the Python that has it: ``kserve_rest.py URL TOKEN``."""

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

import numpy as np

kserve: Any = import_module("kserve")

ROWS = np.random.default_rng(5).random((3, 4)).astype(np.float32)
MODEL = "thyroid.prod"


async def main() -> None:
    url, headers = sys.argv[1], {"authorization": f"Bearer {sys.argv[2]}"}
    first = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v1"))
    second = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2"))
    found: dict[str, Any] = {
        "live": [await first.is_server_live(url), await second.is_server_live(url)],
        "ready": await second.is_server_ready(url),
        "model": [await client.is_model_ready(url, MODEL, headers=headers) for client in (first, second)],
        "first": await first.infer(url, {"instances": ROWS.tolist()}, model_name=MODEL, headers=dict(headers)),
    }
    found["explained"] = await first.explain(url, MODEL, {"instances": ROWS.tolist()}, headers=dict(headers))
    for binary in (False, True):
        given = kserve.InferInput("input", list(ROWS.shape), "FP32")
        given.set_data_from_numpy(ROWS, binary_data=binary)
        request = kserve.InferRequest(MODEL, [given], parameters={"binary_data_output": binary})
        answer = await second.infer(url, request, model_name=MODEL, headers=dict(headers))
        found[f"binary={binary}"] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
    print(json.dumps(found, default=lambda value: value.decode()))


asyncio.run(main())
