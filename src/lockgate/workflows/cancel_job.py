"""Stop a job, and tell whoever waits for it."""

from __future__ import annotations

from lockgate.edge_ports import JobBoard, JobView
from lockgate.ports import Store, Why


def cancel_job(store: Store, board: JobBoard, id: str, why: Why) -> JobView:
    """Nothing that it does from now on is kept; its process is ended with the next word of its worker.

    Raises:
        NotFound: no such job.
        NotAllowedNow: it is over.
    """
    with store.begin(why) as tx:
        before = board.get(id)
        view = board.cancel(tx, id)
        told = {"id": id, "kind": view.kind, "payload": view.payload, "error": f"cancelled by {why.actor}"}
        tx.record(
            "job.cancelled",
            f"job/{id}",
            before={"id": id, "state": before.state.value},
            after={**told, "state": view.state.value},
        )
        tx.emit("job.dead", told)
        return view
