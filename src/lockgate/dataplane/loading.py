"""From a package's digest to the lane that answers for it."""

from __future__ import annotations

import msgspec

from lockgate.base.errors import CorruptArtifact, NotServable
from lockgate.dataplane import compiled
from lockgate.dataplane.lane import Lane
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.remote import GENERATION
from lockgate.ports import Blobs, Secrets

# Made now, by one thread: msgspec learns a dataclass at its first use, and crashes when two threads do so at once.
_manifests = msgspec.json.Decoder(Manifest)


def read_manifest(digest: str, blobs: Blobs) -> Manifest:
    """What a package says of itself.

    Raises:
        NotFound: the blob is missing.
        CorruptArtifact: it is not what its digest says, or no manifest.
    """
    try:
        return _manifests.decode(blobs.get(digest))
    except msgspec.MsgspecError as error:
        raise CorruptArtifact(f"the blob {digest} is no manifest: {error}") from error


def load(digest: str, blobs: Blobs, *, secrets: Secrets | None = None) -> Lane:
    """Load a package and prove that it answers. Slow: call it in a thread.

    Raises:
        NotFound: a blob is missing.
        CorruptArtifact: a blob is not what its digest says, or no manifest.
        NotServable: nothing here can answer for the package.
    """
    manifest = read_manifest(digest, blobs)
    if manifest.serving.lane == "upstream":
        return _upstream(manifest, blobs, secrets)
    return compiled.load(manifest, blobs)


def _upstream(manifest: Manifest, blobs: Blobs, secrets: Secrets | None) -> Lane:
    """The lane to a server elsewhere; imported only where a package needs it, since its client is not small."""
    from lockgate.dataplane.upstream import oip_lane, openai_lane

    if secrets is None:
        raise NotServable(f"{manifest.model} is answered elsewhere, and there are no secrets to reach it with")
    if manifest.task == GENERATION:
        return openai_lane.load(manifest, blobs, secrets)
    return oip_lane.load(manifest, blobs, secrets)
