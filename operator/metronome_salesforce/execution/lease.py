"""One operator per MetronomeSync at a time, cluster-wide, by a Lease.

Two operators by mistake, an old pod that is slow to die, a laptop beside the cluster: only the
holder of the Lease may run a cycle or move a customer, and one that cannot renew it stops what it
does before anybody else may take it over.

Clocks of different machines are never compared: a Lease has expired when its record has not changed
for its whole duration while we watched, by our own monotonic clock. Writes are guarded by
resourceVersion, so of two that try only one succeeds.
"""

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from metronome_salesforce.kube import KubeError
from metronome_salesforce.spec import GROUP

Json = dict[str, Any]

LABEL = f"{GROUP}/sync"
_PREFIX = "metronome-sync-"
_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_SOMEBODY = "another operator"
_CALL_SECONDS = 5.0


class LeaseApi(Protocol):
    """The calls that a lease needs; all raise KubeError."""

    async def get_lease(self, namespace: str, name: str, seconds: float) -> Json | None:
        """The Lease, or None."""

    async def create_lease(self, namespace: str, lease: Json, seconds: float) -> Json:
        """Create it; a conflict if it exists."""

    async def replace_lease(self, namespace: str, lease: Json, seconds: float) -> Json:
        """Replace it; a conflict if its resourceVersion is not the newest."""


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds. `duration` is what others wait for; the rest keeps us well inside it.

    A holder that has not renewed for `give_up` stops its cycle; what is left of `duration` then is
    the time it has to do so.
    """

    duration: float = 30.0
    renew_every: float = 5.0
    give_up: float = 20.0
    poll: float = 2.0


class LeaseLostError(Exception):
    """The Lease is somebody else's now, or could not be renewed in time: stop the cycle."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What a Lease says, and since when (monotonic seconds) we have seen it say so."""

    holder: str | None
    duration: float
    stamp: str
    since: float


def observed(lease: Json, before: Observation | None, now: float) -> Observation:
    """Take note of a Lease; an unchanged record keeps the time when it was first seen."""
    spec = lease.get("spec") or {}
    holder = spec.get("holderIdentity") or None
    stamp = f"{spec.get('acquireTime')} {spec.get('renewTime')}"
    duration = float(spec.get("leaseDurationSeconds") or 0)
    if before is not None and (before.holder, before.stamp) == (holder, stamp):
        return Observation(holder, duration, stamp, before.since)
    return Observation(holder, duration, stamp, now)


def is_free(observation: Observation, identity: str, now: float) -> bool:
    """Whether the Lease may be taken: not held, left behind by our predecessor, or expired.

    No two living processes have one identity (a pod's name), so a Lease under ours that we do not
    hold was left by a process that is gone, such as one that was killed and restarted.
    """
    if observation.holder is None or observation.holder == identity:
        return True
    return now - observation.since >= observation.duration


def claim(lease: Json | None, sync: Json, identity: str, duration: float) -> Json:
    """The Lease as it has to be written to make it ours."""
    now = _micro_time()
    spec = (lease or {}).get("spec") or {}
    transitions = int(spec.get("leaseTransitions") or 0)
    if spec.get("holderIdentity") not in {None, "", identity}:
        transitions += 1
    metadata = (lease or {}).get("metadata") or _metadata(sync)
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": {
            "holderIdentity": identity,
            "leaseDurationSeconds": max(1, round(duration)),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        },
    }


def lease_name(sync_name: str) -> str:
    """The name of the Lease of a MetronomeSync; unique also for names of the full 253 letters."""
    if len(_PREFIX) + len(sync_name) <= _LONGEST_NAME:
        return _PREFIX + sync_name
    digest = hashlib.sha256(sync_name.encode()).hexdigest()[:16]
    return f"{_PREFIX}{sync_name[: _LONGEST_NAME - len(_PREFIX) - 17]}-{digest}".replace(".-", "--")


class SyncLease:
    """The Lease of one MetronomeSync (its body), as one process sees and holds it."""

    def __init__(self, api: LeaseApi, sync: Json, identity: str, timing: Timing) -> None:
        self._api = api
        self._sync = sync
        self._identity = identity
        self._timing = timing
        self._namespace: str = sync["metadata"]["namespace"]
        self._name = lease_name(sync["metadata"]["name"])
        self._seen: Observation | None = None
        self._held: Json | None = None
        self._renewed = 0.0

    async def try_acquire(self) -> str | None:
        """Try once; None when the Lease is ours now, else the holder to wait for.

        Raises KubeError when the API server could not be asked.
        """
        asked = _now()
        lease = await self._api.get_lease(self._namespace, self._name, _CALL_SECONDS)
        if lease is not None:
            self._seen = observed(lease, self._seen, _now())
            if not is_free(self._seen, self._identity, _now()):
                return self._seen.holder
        wanted = claim(lease, self._sync, self._identity, self._timing.duration)
        try:
            self._held = await self._write(wanted, new=lease is None)
        except KubeError as error:
            if error.conflict:
                return _SOMEBODY
            raise
        self._renewed = asked
        return None

    async def keep(self) -> None:
        """Renew for as long as the Lease is ours; raises LeaseLostError when it is not."""
        every = self._timing.renew_every
        wait = every
        while True:
            await asyncio.sleep(wait)
            wait = every if await self._renew() else every / 5

    async def release(self) -> None:
        """Give the Lease back so that the next one need not wait; failing to is no error."""
        held, self._held = self._held, None
        if held is None:
            return
        spec = {**held["spec"], "renewTime": _micro_time()}
        del spec["holderIdentity"]
        with contextlib.suppress(KubeError):
            await self._write({**held, "spec": spec}, new=False)

    async def _renew(self) -> bool:
        """Renew once; False when that failed and there is still time to try again."""
        asked = _now()
        left = self._renewed + self._timing.give_up - asked
        try:
            async with asyncio.timeout(max(left, 0.1)):
                if await self._renewed_now():
                    self._renewed = asked
                    return True
        except (KubeError, TimeoutError):
            if _now() - self._renewed >= self._timing.give_up:
                raise LeaseLostError(
                    f"the Lease {self._name} could not be renewed for {self._timing.give_up:.0f}"
                    " seconds"
                ) from None
        return False

    async def _renewed_now(self) -> bool:
        held = self._held
        if held is None:
            raise RuntimeError("a Lease that is not held cannot be renewed")
        spec = {**held["spec"], "renewTime": _micro_time()}
        try:
            self._held = await self._write({**held, "spec": spec}, new=False)
        except KubeError as error:
            if not (error.conflict or error.not_found):
                raise
            await self._look_again()
            return False
        return True

    async def _look_again(self) -> None:
        """Find out after a refused write whether the Lease is lost, or a write's answer was."""
        lease = await self._api.get_lease(self._namespace, self._name, _CALL_SECONDS)
        if lease is None:
            wanted = claim(None, self._sync, self._identity, self._timing.duration)
            self._held = await self._write(wanted, new=True)
            return
        holder = (lease.get("spec") or {}).get("holderIdentity")
        if holder != self._identity:
            self._held = None
            raise LeaseLostError(f"the Lease {self._name} was taken over by {holder or 'nobody'}")
        self._held = lease

    async def _write(self, lease: Json, *, new: bool) -> Json:
        if new:
            return await self._api.create_lease(self._namespace, lease, _CALL_SECONDS)
        return await self._api.replace_lease(self._namespace, lease, _CALL_SECONDS)


class SharedLease:
    """One Lease for all that one process does for a MetronomeSync at the same time.

    A cycle and a link run may act together: the first of them takes the Lease, the last one gives
    it back. Each that got it waits for `lost` beside its work, and stops when that ends.
    """

    def __init__(self, lease: SyncLease) -> None:
        self._lease = lease
        self._users = 0
        self._turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def lost(self) -> asyncio.Task[None]:
        """Ends with LeaseLostError when the Lease is lost, and never before; for its users.

        To be waited for with `asyncio.wait`, as cancelling it would end the renewals.
        """
        if self._keeper is None:
            raise RuntimeError("a Lease that is not held cannot be lost")
        return self._keeper

    async def try_acquire(self) -> str | None:
        """Try once; None when the Lease is held by us now, else the holder to wait for.

        Raises KubeError when the API server could not be asked.
        """
        async with self._turn:
            if self._keeper is not None and self._keeper.done():
                return _SOMEBODY  # lost; those who used it are about to stop
            if self._keeper is None:
                holder = await self._lease.try_acquire()
                if holder is not None:
                    return holder
                # From the first moment: whatever its users do first may take long, too.
                self._keeper = asyncio.create_task(self._lease.keep())
            self._users += 1
            return None

    async def release(self) -> None:
        """End one use, and give the Lease back after the last one; failing to is no error."""
        async with self._turn:
            self._users -= 1
            if self._users or self._keeper is None:
                return
            keeper, self._keeper = self._keeper, None
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._lease.release()


def _metadata(sync: Json) -> Json:
    metadata = sync["metadata"]
    return {
        "name": lease_name(metadata["name"]),
        "namespace": metadata["namespace"],
        "labels": {
            "app.kubernetes.io/managed-by": "metronome-salesforce-operator",
            LABEL: metadata["name"][:_LONGEST_LABEL].rstrip("-."),
        },
        # The Lease goes when its MetronomeSync goes.
        "ownerReferences": [
            {
                "apiVersion": sync["apiVersion"],
                "kind": sync["kind"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
        ],
    }


def _now() -> float:
    return asyncio.get_running_loop().time()


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
