"""From a package's digest to the lane that answers for it."""

from __future__ import annotations

import msgspec

from lockgate.base.errors import CorruptArtifact
from lockgate.dataplane import compiled
from lockgate.dataplane.lane import Lane
from lockgate.domain.registry.manifest import Manifest
from lockgate.ports import Blobs


def load(digest: str, blobs: Blobs) -> Lane:
    """Load a package and prove that it answers. Slow: call it in a thread.

    Raises:
        NotFound: a blob is missing.
        CorruptArtifact: a blob is not what its digest says, or no manifest.
        NotServable: nothing here can answer for the package.
    """
    try:
        manifest = msgspec.json.decode(blobs.get(digest), type=Manifest)
    except msgspec.MsgspecError as error:
        raise CorruptArtifact(f"the blob {digest} is no manifest: {error}") from error
    return compiled.load(manifest, blobs)
