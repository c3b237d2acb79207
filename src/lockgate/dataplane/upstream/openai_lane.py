"""The upstream lane for servers that speak OpenAI's protocol: vLLM, llama.cpp, a managed endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.base.errors import NotServable
from lockgate.dataplane.intake import Inputs, Intake, Values
from lockgate.dataplane.lane import Answer, Lane, baseline_of
from lockgate.dataplane.refusal import Refused
from lockgate.dataplane.upstream.caller import Caller
from lockgate.domain.monitoring.baseline import Baseline
from lockgate.domain.registry.manifest import Manifest
from lockgate.domain.registry.serving import Upstream
from lockgate.ports import Blobs, Secrets

#: Calls of one gateway that one server has under way: they take seconds each, and cost a gateway little.
SLOTS = 256


class _NoRows(Intake):
    """What a model takes that has no rows: none, and it says so."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest.signature, matrix=False, names=(), dtypes=())
        self._model = manifest.model

    def from_matrix(self, flat: Values, rows: int) -> Inputs:
        raise _generative(self._model)

    def from_columns(self, given: Mapping[str, Values], rows: int) -> Inputs:
        raise _generative(self._model)


class OpenAILane(Lane):
    """A model that writes. It takes no rows, so its requests come by the relay, and only their costs are watched."""

    local = False
    shared = True
    slots = SLOTS
    platform = "upstream"

    def __init__(self, manifest: Manifest, baseline: Baseline, upstream: Upstream, secrets: Secrets) -> None:
        super().__init__(manifest, baseline, _NoRows(manifest))
        self.caller = Caller(
            manifest.model, upstream.url, upstream.token, secrets, timeout=manifest.serving.timeout, connections=SLOTS
        )
        #: What the model is called there.
        self.name = upstream.model or manifest.model
        #: Requests under way.
        self.underway = 0
        #: Whether the server can be asked to tell, at the end of a stream, how many tokens it took.
        self.tells_usage = True

    def check(self) -> None:
        """Ask the server for its models, which all of them can tell; raises NotServable."""
        self.caller.check("/models")

    async def ask(self, inputs: Inputs, deadline: float | None) -> Answer:
        """Refuses: there are no rows that it could answer."""
        raise _generative(self.manifest.model)

    def close(self) -> None:
        """Close the connections."""
        self.caller.close()


def _generative(model: str) -> Refused:
    return Refused(422, "generative", f"{model} answers chats, not rows", hint="POST to /openai/v1/chat/completions")


def load(manifest: Manifest, blobs: Blobs, secrets: Secrets) -> OpenAILane:
    """The lane of a package; the server is not asked, as for any package that is answered elsewhere.

    Raises:
        NotServable: the package says not where it is answered, or its token cannot be read.
    """
    upstream = manifest.serving.upstream
    if upstream is None:
        raise NotServable(f"{manifest.model} does not say which server answers for it")
    return OpenAILane(manifest, baseline_of(manifest, blobs), upstream, secrets)
