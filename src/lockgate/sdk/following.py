"""Waiting for long work, telling each step as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lockgate.base.errors import GateRefused, LockgateError, NotAllowedNow, NotServable, Unavailable
from lockgate.sdk.transport import Json, Transport

#: Takes one step in words.
Tell = Callable[[str], None]

_LOOK = 0.25


class Follower:
    """Looks again and again, and raises with the reason when it did not work out.

    All methods raise Unavailable when ``patience`` seconds were not enough.
    """

    def __init__(self, api: Transport, sleep: Callable[[float], None] = time.sleep) -> None:
        self._api = api
        self._sleep = sleep

    def packaging(self, version: Json, job: str, *, tell: Tell, patience: float = 3600.0) -> Json:
        """Until a version is packaged; gives the version.

        Raises:
            NotServable: it could not be packaged; says why.
        """
        path = f"/models/{version['model']}/versions/{version['number']}"

        def look() -> tuple[Json, str, bool]:
            now, work = self._api.get(path), self._api.get(f"/jobs/{job}")
            over = now["state"] != "packaging" or work["state"] in ("failed", "cancelled")
            return {**now, "job": work}, str(work["progress"] or work["state"]), over

        now = self._until(look, tell, patience, f"the packaging of {version['id']}")
        work: Json = now.pop("job")
        if now["state"] == "ready":
            return now
        why = str(now["failure"] or work["error"] or f"its job was {work['state']}")
        raise NotServable(f"{now['id']} could not be packaged: {why}", hint=str(now["hint"]))

    def gates(
        self, promotion: str, *, tell: Tell, patience: float = 3600.0, judged: Callable[[Json], None] | None = None
    ) -> Json:
        """Until a promotion's gates have spoken; gives the promotion. ``judged`` is given it before anything is raised.

        Raises:
            GateRefused: a gate did not pass; its problems are what each such gate says.
        """

        def look() -> tuple[Json, str, bool]:
            now = self._api.get(f"/promotions/{promotion}")
            over = now["state"] != "gating"
            work = "" if over or not now.get("job") else self._api.get(f"/jobs/{now['job']}")["progress"]
            return now, str(work or now["sentence"] or now["state"]), over

        now = self._until(look, tell, patience, f"promotion {promotion}")
        if judged is not None:
            judged(now)
        if now["state"] == "refused":
            raise self._refusal(now)
        if now["state"] == "rejected":
            raise NotAllowedNow(f"{now['version']} was turned down: {now['sentence']}")
        return now

    def rollout(self, promotion: str, *, tell: Tell, patience: float = 7 * 86400.0) -> Json:
        """Until the rollout that a promotion led to is over; gives the rollout.

        Raises:
            NotAllowedNow: it was aborted; says why.
        """
        id = str(self._api.get(f"/releases/{self._api.get(f'/promotions/{promotion}')['release']}")["rollout"])

        def look() -> tuple[Json, str, bool]:
            now = self._api.get(f"/rollouts/{id}")
            return now, describe_rollout(now), now["phase"] in ("completed", "aborted")

        now = self._until(look, tell, patience, f"rollout {id}")
        if now["phase"] == "aborted":
            raise NotAllowedNow(f"the rollout of {now['candidate']} was aborted: {now['reason']}")
        newest = self._api.get("/routes", limit=1)["items"][0]["generation"]
        self.gateways(newest, endpoint=str(now["endpoint"]), tell=tell)
        return now

    def gateways(self, generation: int, *, endpoint: str, tell: Tell, patience: float = 30.0) -> None:
        """Until every gateway that lives answers an endpoint by a generation of routes, or a newer one."""

        def look() -> tuple[Json, str, bool]:
            heard = self._api.get("/gateway/workers")
            # One that cannot load a version goes on by the route it had, and says so.
            late = [worker for worker in heard if _answers(endpoint, worker) < generation]
            step = f"{len(heard) - len(late)} of {len(heard)} gateways answer by generation {generation}"
            held = [worker for worker in late if endpoint in worker.get("held", {})]
            told = dict.fromkeys(why for worker in held for why in worker["problems"].values())
            if held:
                step += f"; {', '.join(worker['worker'] for worker in held)} cannot: {'; '.join(told)}"
            return {}, step, bool(heard) and not late

        self._until(look, tell, patience, f"the way of generation {generation} to the gateways")

    def _until(self, look: Callable[[], tuple[Json, str, bool]], tell: Tell, patience: float, what: str) -> Json:
        last, until = "", time.monotonic() + patience
        while True:
            now, step, over = look()
            if step != last:
                tell(step)
                last = step
            if over:
                return now
            if time.monotonic() >= until:
                raise Unavailable(f"{what} is not over after {patience:.0f} s", hint="it goes on; look again later")
            self._sleep(_LOOK)

    def _refusal(self, promotion: Json) -> LockgateError:
        results: list[Any] = []
        if promotion["report"]:
            results = self._api.get(f"/reports/{promotion['report']}")["results"]
        bad = [result for result in results if result["verdict"] != "pass"]
        return GateRefused(
            str(promotion["sentence"] or "a gate does not let this version through"),
            problems=[
                f"{' '.join(part for part in (result['gate'], result['name']) if part)}: {result['sentence']}"
                for result in bad
            ],
            hint="; ".join(dict.fromkeys(str(result["hint"]) for result in bad if result["hint"])),
        )


def _answers(endpoint: str, worker: Json) -> int:
    """The generation by which a gateway answers an endpoint."""
    return int(worker.get("held", {}).get(endpoint, worker["generation"]))


def describe_rollout(rollout: Json) -> str:
    """Where a rollout stands, in one line."""
    steps, at = rollout["strategy"]["steps"], int(rollout["step"])
    where = f"step {at + 1} of {len(steps)}, {describe_step(steps[at])}" if at < len(steps) else "all traffic"
    reason = f": {rollout['reason']}" if rollout["reason"] else ""
    return f"{rollout['candidate']} {rollout['phase']}, {where}{reason}"


def describe_step(step: Json) -> str:
    """What a step shows the candidate, such as ``5% for 600 s``."""
    share = f"{step['weight'] / 100:g}%"
    time = "until a person lets it go on" if step.get("manual") else f"for {step['seconds']:g} s"
    asked = step.get("experiment")
    if asked:
        shares = "shares that follow it" if asked["bandit"] else share
        return f"experiment on {asked['metric']} with {shares}, {step['seconds']:g} s at most"
    shown = {"shadow": f"shadow of {share}", "preview": "preview by its number"}.get(step["kind"], share)
    return f"{shown} {time}"
