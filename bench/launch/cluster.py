"""Run units on the machines of a Ray cluster. Nothing else imports Ray.

Each worker is a Ray actor that takes its share of a node's CPUs and GPUs and has a worker process of its
own, so that what befalls a trial is found out as it is on one machine. Tasks, source models and plug-ins go
to the nodes through Ray's object store, each once a worker, and lie there in a temporary folder; what units
make comes back the same way, and the driver alone writes. When a node dies, its units run elsewhere.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError

from bench.errors import BenchError
from bench.launch.deaths import Deaths
from bench.launch.feed import Feed
from bench.launch.machine import usable_cores
from bench.launch.means import Means
from bench.launch.node import Node, versions
from bench.launch.published import Load
from bench.launch.shipping import needs, portable
from bench.launch.units import Death, Done, time_limit
from bench.suite.plan import Plan
from bench.trial import Group, Trial, Unit

CONNECT = 20.0  # s
WAIT = 1.0  # s between two looks at the cluster
PATIENCE = 120.0  # s that no worker at all may be there
STARTS = 3  # workers that fail to start, one after the other, until the run gives up
HELD = 2**30  # bytes of source models that the object store keeps for workers to come
TRANSFER = 600.0  # s that what a unit made may take to come over
AHEAD = 0.1  # s of work that may wait at a worker, so that it does not wait itself
DEPTH = 8  # units that may
ENVIRONMENT = "NTBENCH_"
TOKEN = " (where the cluster asks for a token, RAY_AUTH_MODE=token must be set here and on every node)"


class _RayNode(Node):
    """A worker on a node of Ray's."""

    def __init__(self, run: str, environment: dict[str, str]):
        self._id = ray.get_runtime_context().get_node_id()
        super().__init__(f"{run}-{self._id[:12]}", ray.get, environment)

    def configure(self, setup: dict[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
        """As a node does; besides, return the number ("id") that Ray knows it by."""
        return super().configure(setup, files) | {"id": self._id}


@dataclass(eq=False)
class _Slot:
    """A worker and what it has in work.

    Attributes
    ----------
    starting : reference or None
        Of the answer that it is ready.
    pending : dict of reference to unit
        In the order in which they are run: where units are quick, some wait there for their turn.
    began : float
        When the first of them did.
    sent : set of str
        Places of the files that it has.
    """

    index: int
    actor: Any
    starting: Any = None
    pending: dict[Any, Unit] = field(default_factory=dict)
    began: float = 0.0
    sent: set[str] = field(default_factory=set)
    node: str = "a node that starts"
    done: int = 0


class RayCluster:
    """Runs units on a Ray cluster; a context manager.

    Parameters
    ----------
    means : Means
        Resolved.
    """

    def __init__(self, means: Means):
        self._means, self._run = means, secrets.token_hex(6)
        self._slots: list[_Slot] = []
        self._plan: Plan | None = None
        self._pace: dict[Hashable, float] = {}
        self._stopping, self._failed_starts, self._mine = False, 0, False
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._nodes: dict[str, tuple[str, str]] = {}
        self._looked = self._alive = -math.inf

    # --- the cluster -------------------------------------------------------------------------------

    def __enter__(self) -> RayCluster:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not ray.is_initialized():
            self._connect()
            self._mine = True
        self._alive = time.monotonic()
        self._staff()
        return self

    def _connect(self) -> None:
        means = self._means
        address = means.address or os.environ.get("RAY_ADDRESS") or "local"
        options: dict[str, Any] = {}
        if address == "local":
            cores = usable_cores() if means.jobs is None else math.ceil(means.jobs * means.cpus)
            options = {"num_cpus": max(1, cores), "include_dashboard": False}
        _check_address(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        except (Exception, SystemExit) as error:  # Ray raises many kinds, bare ones among them, and exits
            ray.shutdown()
            what = "Ray cannot be started here" if address == "local" else f"--address {address}: no Ray cluster there"
            token = "" if address == "local" or os.environ.get("RAY_AUTH_MODE") else TOKEN
            raise BenchError(f"{what}: {_first_line(error)}{token}") from error

    def __exit__(self, kind: type | None, *exception: object) -> None:
        # One in the middle of a unit is not waited for; the next worker on its node takes away what it leaves.
        closing = [slot.actor.close.remote() for slot in self._slots if not slot.starting and not slot.pending]
        if closing:
            with suppress(RayError):
                ray.wait(closing, num_returns=len(closing), timeout=2 if kind else 10)
        for slot in self._slots:
            with suppress(RayError):
                ray.kill(slot.actor)
        if self._mine:
            ray.shutdown()

    @property
    def jobs(self) -> int:
        """How many workers there are, or will be when all have started."""
        return len(self._slots)

    def _room(self) -> int:
        """Return how many workers the nodes that are alive hold together."""
        means, room = self._means, 0
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                shares = [_whole(has.get("CPU", 0.0) / means.cpus)]
                if means.gpus:
                    each = _whole(1 / means.gpus)  # a share is of one GPU: what is left of it is nobody's
                    gpus = has.get("GPU", 0.0)
                    shares.append(_whole(gpus) * each if each else _whole(gpus / means.gpus))
                room += min(shares)
        return room

    def _staff(self) -> None:
        """Start workers where there is room, now and when nodes join."""
        if time.monotonic() - self._looked < WAIT:
            return
        self._looked = time.monotonic()
        wanted = self._room()
        if self._means.jobs is not None:
            wanted = min(wanted, self._means.jobs)
        while len(self._slots) < wanted:
            self._slots.append(self._hire(len(self._slots)))

    def _hire(self, index: int) -> _Slot:
        means = self._means
        environment = {name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT)}
        worker = ray.remote(_RayNode).options(num_cpus=means.cpus, num_gpus=means.gpus, max_restarts=0)
        slot = _Slot(index, worker.remote(self._run, environment))
        if self._plan is not None:
            self._configure(slot)
        return slot

    # --- units -------------------------------------------------------------------------------------

    def configure(self, plan: Plan, setup: dict[str, Any]) -> None:
        """Say what the units belong to; `setup` is as :func:`bench.launch.units.setup_to_json` gives it."""
        self._plan, self._deaths = plan, Deaths(plan)
        self._tasks, self._sources = Path(setup["task_folder"]), Path(setup["source_folder"])
        setup, files = portable(setup, plan)
        self._setup = ray.put(setup)
        self._common = {place: ray.put(_bytes(path)) for place, path in files.items()}
        self._data: dict[str, Any] = {}
        for slot in self._slots:
            self._configure(slot)

    def _configure(self, slot: _Slot) -> None:
        slot.starting = slot.actor.configure.remote(self._setup, self._common)

    def loads(self) -> list[Load]:
        """Return what each worker is doing, and on which node."""
        now, loads = time.perf_counter(), []
        for slot in list(self._slots):
            unit = next(iter(list(slot.pending.values())), None)  # a copy: the run goes on meanwhile
            loads.append(Load(str(slot.index), slot.node, unit, now - slot.began if unit else 0.0, slot.done))
        return loads

    def stop(self) -> None:
        """Start no further unit; those in flight are still finished and yielded."""
        self._stopping = True

    def run(self, units: Iterable[Unit]) -> Iterator[list[Done]]:
        """Yield what came of units, as many as have finished meanwhile, in the order in which they finish."""
        feed = Feed(units)
        while True:
            self._staff()
            self._hand_out(feed)
            starting = {slot.starting: slot for slot in self._slots if slot.starting}
            working = {reference: slot for slot in self._slots for reference in slot.pending}
            if not working and (self._stopping or feed.is_empty()):
                return
            self._check_patience(bool(working))
            waiting = starting | working
            if not waiting:
                time.sleep(WAIT)
                continue
            ready, _ = ray.wait(list(waiting), timeout=WAIT)
            if ready:
                ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
            done = [found for reference in ready for found in self._take(waiting[reference], reference, feed)]
            if done:
                yield done

    def _hand_out(self, feed: Feed) -> None:
        """Give units to workers that have room, one each in turn."""
        open_slots = [] if self._stopping else [slot for slot in self._slots if not slot.starting]
        while open_slots:
            taken = []
            for slot in open_slots:
                unit = feed.next(slot.index) if len(slot.pending) < DEPTH else None
                if unit is None:
                    continue
                if slot.pending and not self._is_quick(unit, slot):
                    feed.again(slot.index, [unit])
                    continue
                files, limit = self._files(slot, unit), time_limit(unit, self._means.timeout)
                slot.began = slot.began if slot.pending else time.perf_counter()
                slot.pending[slot.actor.run.remote(unit, files, limit)] = unit
                taken.append(slot)
            open_slots = taken

    def _is_quick(self, unit: Unit, slot: _Slot) -> bool:
        """Whether a unit may wait at a worker, going by what its like took: all that waits there is soon done."""
        waiting = [unit, *slot.pending.values()]
        return sum(self._pace.get(_likeness(other), math.inf) for other in waiting) < AHEAD

    def _files(self, slot: _Slot, unit: Unit) -> dict[str, Any]:
        """Return references to the files that a unit reads and that its worker was not sent before."""
        found = {}
        for place, path in needs(self._plan, unit, self._tasks, self._sources).items():
            if place in slot.sent:
                continue
            with suppress(OSError):  # where it is gone, the worker finds it missing, and the unit fails for it
                found[place] = self._model(place, path) if path.parent == self._sources else self._datum(place, path)
                slot.sent.add(place)
        return found

    def _datum(self, place: str, path: Path) -> Any:
        if place not in self._data:
            self._data[place] = ray.put(_bytes(path))
        return self._data[place]

    def _model(self, place: str, path: Path) -> Any:
        """Return the reference of a source model; those used least recently are let go where they are many."""
        if place not in self._held:
            self._held[place] = ray.put(_bytes(path)), path.stat().st_size
            while sum(size for _, size in self._held.values()) > HELD and len(self._held) > 1:
                self._held.popitem(last=False)
        self._held.move_to_end(place)
        return self._held[place][0]

    def _take(self, slot: _Slot, reference: Any, feed: Feed) -> list[Done]:
        """Take a worker's answer in; return what came of its units: nothing where it has started, or they run again."""
        if slot not in self._slots:
            return []  # it was lost with another answer of the same moment
        try:
            answer = ray.get(reference, timeout=TRANSFER)
        except RayTaskError:
            raise  # a fault of ours
        except RayError as error:
            return self._lose(slot, error, feed)
        self._alive, self._failed_starts = time.monotonic(), 0
        if reference == slot.starting:
            slot.starting, slot.node = None, self._called(answer["node"], answer["id"])
            _check_versions(answer["versions"])
            return []
        if "error" in answer:
            raise BenchError(f"a Ray worker cannot run trials: {answer['error']}")
        unit = slot.pending.pop(reference)
        slot.began, slot.done = time.perf_counter(), slot.done + 1
        self._pace[_likeness(unit)] = answer["seconds"]
        done = Done(unit, answer["records"], answer["files"], answer["log"], answer["seconds"])
        if answer["death"]:
            done.death = Death(*answer["death"])
            return self._died(done, slot, feed)
        return [done]

    def _called(self, machine: str, identity: str) -> str:
        """Return what a node is called: its machine's name, with a number where there are several nodes on one."""
        if identity not in self._nodes:
            others = sum(other == machine for other, _ in self._nodes.values())
            self._nodes[identity] = machine, f"{machine} ({others + 1})" if others else machine
        return self._nodes[identity][1]

    def _died(self, done: Done, slot: _Slot, feed: Feed) -> list[Done]:
        again, done.records = self._deaths.after(done)
        feed.again(slot.index, again)
        return [done] if done.records else []

    def _lose(self, slot: _Slot, error: RayError, feed: Feed) -> list[Done]:
        """Have another worker in the place of one that is lost; return its units that have failed for it."""
        if slot.starting:
            self._failed_starts += 1
            if self._failed_starts >= STARTS + len(self._slots):
                raise BenchError(f"Ray workers do not start: {error}")
        with suppress(RayError):
            ray.kill(slot.actor)
        self._slots[slot.index] = self._hire(slot.index)
        death = Death(f"its Ray worker was lost: {_first_line(error)}", lost=True)
        seconds = time.perf_counter() - slot.began
        lost = [Done(unit, [], seconds=seconds, death=death) for unit in slot.pending.values()]
        return [done for unit in lost for done in self._died(unit, slot, feed)]

    def _check_patience(self, working: bool) -> None:
        """Give up where no worker has answered or worked for long.

        Raises
        ------
        BenchError
            With what a worker needs.
        """
        if working:
            self._alive = time.monotonic()
        if time.monotonic() - self._alive > PATIENCE:
            gpus = f" and {self._means.gpus:g} GPUs" if self._means.gpus else ""
            raise BenchError(
                f"no node of the Ray cluster could start a worker within {PATIENCE:g} s; a worker needs "
                f"{self._means.cpus:g} CPUs{gpus} (--cpus, --gpus). The same command goes on from there"
            )


def _whole(number: float) -> int:
    """Return how many whole ones there are, whatever rounding did to the last."""
    return int(number + 1e-9)


def _likeness(unit: Unit) -> Hashable:
    """Return what units have in common that take about as long."""
    first = unit.members[0] if isinstance(unit, Group) else unit
    if isinstance(first, Trial):
        return first.target, first.backbone, first.strategy, first.target_size, len(unit.members)
    return type(first)


def _check_address(address: str) -> None:
    """Demand that somebody listens at HOST:PORT; Ray itself would try for ever."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return  # "local", "auto" or a form of Ray's own
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
    except (OSError, OverflowError) as error:
        raise BenchError(f"--address {address}: no Ray cluster there: {error}") from None


def _bytes(path: Path) -> np.ndarray:
    """Return a file's bytes as an array, which Ray shares between the processes of a node without copying."""
    return np.fromfile(path, np.uint8)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _check_versions(there: dict[str, str]) -> None:
    """Demand of a node what results depend on.

    Raises
    ------
    BenchError
        When its versions are not the driver's.
    """
    wrong = [f"{name} {there[name]} there, {own} here" for name, own in versions().items() if there[name] != own]
    if wrong:
        raise BenchError(f"a node of the Ray cluster has other versions: {'; '.join(wrong)}")
