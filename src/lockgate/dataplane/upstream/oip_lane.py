"""The upstream lane for servers of the Open Inference Protocol: Triton, KServe, MLServer, another Lockgate."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from lockgate.base.errors import CorruptArtifact, NotServable
from lockgate.dataplane.intake import Inputs, Intake
from lockgate.dataplane.journal import say
from lockgate.dataplane.lane import Answer, Lane, baseline_of
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.telemetry.seen import headers_of_call
from lockgate.dataplane.upstream import oip_client
from lockgate.dataplane.upstream.caller import Caller, Reply
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.remote import REMOTE_PATH, Remote
from lockgate.domain.registry.serving import Upstream
from lockgate.ports import Blobs, Secrets

#: Calls of one gateway that one server has under way.
SLOTS = 64


class OipLane(Lane):
    """Checked rows go to the server, and its answers come back in the form the package promises."""

    local = False
    shared = True
    slots = SLOTS
    shared = True
    platform = "upstream"

    def __init__(
        self, manifest: Manifest, baseline: Baseline, upstream: Upstream, remote: Remote, secrets: Secrets
    ) -> None:
        super().__init__(manifest, baseline, Intake.of_signature(manifest.signature))
        self.caller = Caller(
            manifest.model,
            upstream.url,
            upstream.token,
            secrets,
            timeout=manifest.serving.timeout,
            connections=SLOTS,
        )
        self._remote = remote
        self._path = "/v2/models/" + quote(upstream.model or manifest.model, safe="/")
        self._version: str | None = None

    def check(self) -> None:
        """Ask the server whether the model is ready; raises NotServable."""
        self.caller.check(f"{self._path}/ready")

    async def ask(self, inputs: Inputs, deadline: float | None) -> Answer:
        """Have the server answer; raises Refused as every lane, and 502 when its answer cannot be used."""
        body, headers = oip_client.request(self._remote, inputs)
        reply = await self.caller.ask(f"{self._path}/infer", body, headers | headers_of_call(), deadline)
        self.retries = self.caller.repeats
        if reply.status != 200:
            raise _refused(self.manifest.model, reply)
        try:
            answer, version = oip_client.answer(self._remote, self.manifest, reply.headers, reply.body, len(inputs[0]))
        except oip_client.NoAnswer as error:
            raise Refused(
                502,
                "upstream_failed",
                f"the server behind {self.manifest.model} gave an answer that cannot be used: {str(error)[:300]}",
                hint="package the model again if it has changed there",
            ) from error
        if version != self._version:
            # Nobody releases a version there through our gates; at least it is written down.
            say("a model elsewhere answers as version", model=self.manifest.model, version=version)
            self._version = version
        return answer

    def close(self) -> None:
        """Close the connections."""
        self.caller.close()


# Made by one thread, as in `loading`.
_remotes = msgspec.json.Decoder(Remote)


def load(manifest: Manifest, blobs: Blobs, secrets: Secrets) -> OipLane:
    """The lane of a package; the server is not asked, since a package must be there before its server is back.

    Raises:
        NotFound, CorruptArtifact: a blob is missing, or is not what its digest says.
        NotServable: the package says not where it is answered, or its token cannot be read.
    """
    upstream = manifest.serving.upstream
    entry = manifest.files.get(REMOTE_PATH)
    if upstream is None or entry is None:
        raise NotServable(f"{manifest.model} does not say which server answers for it")
    try:
        remote = _remotes.decode(blobs.get(entry.digest))
    except msgspec.MsgspecError as error:
        raise CorruptArtifact(f"{REMOTE_PATH} of {manifest.model} cannot be read: {error}") from error
    return OipLane(manifest, baseline_of(manifest, blobs), upstream, remote, secrets)


def _refused(model: str, reply: Reply) -> Refused:
    """What the server's refusal means to our caller."""
    who = f"the server behind {model}"
    told = _told(reply.body)
    match reply.status:
        case 400 | 422:
            return Refused(422, "model_error", f"{who} cannot take these values: {told}", hint="check the values")
        case 413:
            return Refused(413, "too_large", f"{who} does not take so much at once", hint="send fewer rows at once")
        case 429:
            after = reply.headers.get("retry-after", "")
            wait = after if after.isdigit() else "1"
            return Refused(
                503, "overloaded", f"{who} takes no more just now", hint="try again", headers=(("retry-after", wait),)
            )
        case 401 | 403:
            return Refused(502, "upstream_failed", f"{who} does not let us in", hint="an operator renews the token")
        case 404:
            return Refused(502, "upstream_failed", f"{who} has no such model any more", hint="an operator looks there")
        case _:
            return Refused(502, "upstream_failed", f"{who} failed ({reply.status}): {told}", hint="try again shortly")


def _told(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "it does not say why"
    error = found.get("error") if isinstance(found, dict) else None
    return " ".join(error.split())[:300] if isinstance(error, str) else "it does not say why"
