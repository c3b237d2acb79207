"""Asks a gateway by KServe's gRPC client; run by the Python that has it: ``kserve_grpc.py HOST:PORT TOKEN``."""

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
    headers = [("authorization", f"Bearer {sys.argv[2]}")]
    async with kserve.InferenceGRPCClient(sys.argv[1], timeout=10) as client:
        found: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready(MODEL, headers=headers),
        }
        for binary in (False, True):
            given = kserve.InferInput("input", list(ROWS.shape), "FP32")
            given.set_data_from_numpy(ROWS, binary_data=binary)
            request = kserve.InferRequest(MODEL, [given], request_id="42")
            answer = await client.infer(request, headers=headers)
            outputs = {output.name: output.as_numpy().tolist() for output in answer.outputs}
            found[f"binary={binary}"] = {"id": answer.id, "parameters": sorted(answer.parameters), **outputs}
    print(json.dumps(found, default=lambda value: value.decode()))


asyncio.run(main())
