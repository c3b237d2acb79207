"""``python -m lockgate.dataplane.main``: one gateway worker, told what to do by LOCKGATE_* in its environment."""

from __future__ import annotations

import os
import resource
import sys

from lockgate.base.errors import BadSettings
from lockgate.dataplane.options import read_options

#: One process a core is the plan, so no library may bring threads of its own; read when they are imported.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: A call that ends in a thread waits up to so long for the loop, which under load never rests by itself; and so does
#: the loop, each time it computes or writes, for a thread that loads a package.
_SWITCH_SECONDS = 0.0001
#: Open files, connections among them, that are asked for as far as the hard limit allows.
_DESCRIPTORS = 65_536


def main() -> int:
    """Serve until told to stop; the exit status."""
    try:
        options = read_options(os.environ)
    except BadSettings as error:
        sys.stderr.write("\n".join((error.message, *error.problems)) + "\n")
        return 2
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    _allow_connections()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # Imported only now, under one thread.
    import uvloop

    from lockgate.dataplane.server import Server

    async def serve() -> None:
        await Server(options).run()

    uvloop.run(serve())
    return 0


def _allow_connections() -> None:
    """Each connection takes a descriptor, and the usual soft limit of 1,024 is far below what a gateway accepts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
