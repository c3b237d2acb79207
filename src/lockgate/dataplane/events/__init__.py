"""Tells another system of requests and answers, as KServe's payload logger does: CloudEvents by HTTP."""
