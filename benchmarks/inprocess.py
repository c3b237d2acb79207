"""What 1,000 rows cost with no server at all: ``python -m benchmarks.inprocess BODY MODEL SECONDS`` on standard output.

Reads a request's body as JSON with simdjson, makes the model's matrix of it, and runs ONNX Runtime on one thread; the
median and the 99th percentile in milliseconds, again and again for so many seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import simdjson


def main(body: Path, model: Path, seconds: float) -> dict[str, float]:
    """Decode and answer the same body until the time is up."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session: Any = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name, raw = session.get_inputs()[0].name, body.read_bytes()
    shape = json.loads(raw)["inputs"][0]["shape"]
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        read: Any = simdjson.Parser().parse(raw)
        flat = np.frombuffer(read["inputs"].at_pointer("/0/data").as_buffer(of_type="d"), dtype=np.float64)
        session.run(None, {name: flat.reshape(shape).astype(np.float32)})
        took.append(time.perf_counter() - began)
    return {"p50_ms": float(np.median(took)) * 1e3, "p99_ms": float(np.quantile(took, 0.99)) * 1e3, "times": len(took)}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))))
