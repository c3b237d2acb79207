"""HTTP/2 for one connection, as far as gRPC needs it: frames, header compression, flow control, limits and time-outs."""
