"""The Open Inference Protocol over gRPC, with health checks and reflection, on our own HTTP/2."""
