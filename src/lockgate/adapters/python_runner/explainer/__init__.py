"""Why a model answers as it does: a program of the platform's own, in a process beside the gateway."""
