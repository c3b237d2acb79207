"""What a server elsewhere told of the model that answers for a package, kept in the package."""

from __future__ import annotations

from dataclasses import dataclass

#: Where a package that is answered elsewhere keeps its `Remote`, as JSON.
REMOTE_PATH = "lockgate/upstream.json"
#: The flavor of such a package, and how its original is stored: not here.
FLAVOR = "upstream"
#: The task of a model that writes: it has no rows, so its inputs and answers are not watched, only counted and timed.
GENERATION = "generation"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteTensor:
    """An input or output as the server names it."""

    name: str
    datatype: str
    #: Rows first, as -1.
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Remote:
    """One model on one server, when it was packaged."""

    #: Name and version of the server, as it tells them; empty where it does not.
    server: str = ""
    #: The model's version there, or several; empty where it does not tell.
    version: str = ""
    #: Extensions of the protocol that the server has.
    extensions: tuple[str, ...] = ()
    #: In the order of the signature's inputs.
    inputs: tuple[RemoteTensor, ...] = ()
    outputs: tuple[RemoteTensor, ...] = ()
    #: Which outputs a classifier's labels and probabilities, or a regression's numbers, are; empty where none is.
    label_output: str = ""
    score_output: str = ""

    @property
    def binary(self) -> bool:
        """Whether tensors may be sent and asked for as raw bytes."""
        return "binary_tensor_data" in self.extensions
