"""Takes a body piece by piece into the blob store, never whole into memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from lockgate.base.errors import Invalid, TooLarge, Unavailable
from lockgate.ports import Blobs


class Stored(BaseModel):
    """What was kept."""

    digest: str
    #: Bytes.
    size: int


async def keep_upload(request: Request, blobs: Blobs, limit: int) -> Stored:
    """Keep a request's body.

    Raises:
        TooLarge: more than ``limit`` bytes; nothing is kept.
        Invalid: an empty body.
        Unavailable: no room for it.
    """
    size = 0
    try:
        with tempfile.NamedTemporaryFile(prefix="lockgate-upload-") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise TooLarge(
                        f"the upload is larger than {limit} bytes", hint="LOCKGATE_MAX_UPLOAD sets the limit"
                    )
                await run_in_threadpool(file.write, chunk)
            if size == 0:
                raise Invalid("the upload is empty")
            await run_in_threadpool(file.flush)
            digest = await run_in_threadpool(blobs.put_file, Path(file.name))
    except OSError as error:
        raise Unavailable("there is no room for the upload", hint="free some disk space, then send it again") from error
    return Stored(digest=digest, size=size)
