"""Directional derivatives of a forward pass that has been taken, without taking it again.

One-step weighting (Ren et al., 2018) needs, of the losses of a batch, the derivative along one direction of
the parameters. Forward-mode differentiation gives it without a graph through the update: tangents are pushed
through the pass, operation by operation. A tape pushes them afterwards, over operations recorded while the
pass was taken for the training's own gradient, so nothing of that pass is computed twice.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.errors import BenchError
from bench.weighting import tape_layers  # noqa: F401 - registers rules
from bench.weighting.operations import Operation, cannot
from bench.weighting.tape_rules import Push, refuse, rule_for


class _Node:
    """A recorded call: where its tangents come from, where they go, and how.

    Attributes
    ----------
    inputs : list
        Of each argument the slot of its value, None where no gradient flows, or a list of those.
    reads : list of int
        The slots in `inputs`.
    outputs : list
        Slots of the results, or None.
    held : list of (Tensor, int)
        What the push reads, with versions.
    """

    __slots__ = ("held", "inputs", "name", "outputs", "push", "reads")

    def __init__(
        self, name: str, inputs: list[Any], outputs: list[int | None], push: Push, held: list[tuple[Tensor, int]]
    ):
        self.name, self.inputs, self.outputs, self.push, self.held = name, inputs, outputs, push, held
        self.reads: list[int] = []
        for entry in inputs:
            if entry.__class__ is list:
                self.reads += [slot for slot in entry if slot is not None]
            elif entry is not None:
                self.reads.append(entry)


class _Known:
    """The slot of a tensor's present value, the version that it then has, and of a view how it is had."""

    __slots__ = ("parent", "slot", "tensor", "version", "view")

    def __init__(self, tensor: Tensor, slot: int, version: int):
        self.tensor, self.slot, self.version = weakref.ref(tensor), slot, version
        self.parent: weakref.ref[Tensor] | None = None
        self.view: Callable[[Tensor], Tensor] | None = None


class Tape(TorchDispatchMode):
    """Records the operations of a forward pass, so that derivatives along directions can be had afterwards.

    Within the context everything is computed as without it, the graph for ``backward`` included. Operations
    are recorded as far as gradients flow through them. Nearly all that a tape keeps alive, the graph does too.

    Examples
    --------
    >>> with Tape() as tape:
    ...     losses = cross_entropy(network(x), y, reduction="none")
    >>> slopes = tape.tangent(losses, zip(parameters, direction))
    """

    def __init__(self) -> None:
        super().__init__()
        self._nodes: list[_Node] = []
        self._known: dict[int, _Known] = {}
        self._lost: dict[int, str] = {}  # slots of values that nobody can follow, and why
        self._slots = 0
        self._used = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is ever compiled, and the guard against it costs more than recording does

    # --- recording ---------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute as ever, and record the call where a gradient flows."""
        kwargs = kwargs or {}
        operation = Operation.of(func)
        if operation.stops or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        full = operation.complete(args, kwargs)
        slots = [self._slots_of(value) for value in full]
        if slots.count(None) == len(slots):
            return func(*args, **kwargs)
        if operation.writes:
            return self._in_place(operation, full, slots)
        out = func(*args, **kwargs)
        push, held = rule_for(operation).make(operation, full, out)
        # A view does not show its version, that of what it views, before this function has returned.
        version = full[0]._version if operation.views else 0
        self._append(operation.name, slots, push, [(tensor, tensor._version) for tensor in held], out, version)
        if operation.views and isinstance(out, Tensor):
            known = self._known[id(out)]
            known.parent, known.view = weakref.ref(full[0]), partial(_viewed, operation, full[1:])
        return out

    def _in_place(self, operation: Operation, full: list[Any], slots: list[Any]) -> Any:
        """Compute and record what changes its first argument."""
        form, target = operation.functional, full[0]
        if form is None:
            out = operation(*full)
            self._append(operation.name, slots, refuse(operation.name, "it changes an argument"), [], out, 0)
            return out
        rule, version = rule_for(form), target._version + 1  # which it shows when all this has returned
        before = self._known.get(id(target))
        computed = list(full)
        if rule.reads_first(full):
            full[0] = target.detach().clone().requires_grad_(target.requires_grad)
        out = operation(*computed)
        push, held = rule.make(form, full, out)
        versions = [(tensor, version if tensor is target else tensor._version) for tensor in held]
        self._append(operation.name, slots, push, versions, out, version)
        if before is not None and before.parent is not None and before.tensor() is target:
            self._write_back(target, before)
        return out

    def _write_back(self, target: Tensor, before: _Known) -> None:
        """Record that what a tensor is a view of has changed with it."""
        now = self._known[id(target)]
        now.parent, now.view = before.parent, before.view
        parent = before.parent()
        known = self._known.get(id(parent))
        if parent is None or known is None or known.tensor() is not parent or known.version != before.version:
            return
        view, shape = before.view, parent.shape

        def push(whole: Tensor | None, part: Tensor | None) -> Tensor:
            one = whole if part is None else part
            whole = one.new_zeros(shape) if whole is None else whole.clone(memory_format=torch.contiguous_format)
            view(whole).copy_(0 if part is None else part)
            return whole

        self._append("a change through a view", [known.slot, now.slot], push, [], parent, now.version)
        if known.parent is not None:
            self._write_back(parent, known)

    def _append(
        self, name: str, slots: list[Any], push: Push, held: list[tuple[Tensor, int]], out: Any, version: int
    ) -> None:
        results = (out,) if isinstance(out, Tensor) else out
        outputs = [self._name(v, version) if isinstance(v, Tensor) and v.is_floating_point() else None for v in results]
        self._nodes.append(_Node(name, slots, outputs, push, held))

    def _name(self, tensor: Tensor, version: int) -> int:
        """Give the present value of a tensor, which has this version, a slot."""
        self._slots += 1
        self._known[id(tensor)] = _Known(tensor, self._slots, version)
        return self._slots

    def _slots_of(self, value: Any) -> Any:
        """Return the slot of an argument, or those of a list; None where no gradient flows."""
        if isinstance(value, Tensor):
            return self._slot(value) if value.requires_grad else None
        if isinstance(value, list) and value and isinstance(value[0], Tensor | None):
            slots = [self._slots_of(part) for part in value]
            return None if slots.count(None) == len(slots) else slots
        return None

    def _slot(self, tensor: Tensor) -> int:
        known = self._known.get(id(tensor))
        if known is not None and known.tensor() is tensor:
            if known.version == tensor._version:
                return known.slot
            why = "a tensor was changed in place through a view of it"
        else:
            why = "" if tensor.is_leaf else "part of it was computed outside the tape"
        slot = self._name(tensor, tensor._version)
        if why:
            self._lost[slot] = why
        return slot

    # --- tangents ----------------------------------------------------------------------------------

    @torch.no_grad()
    def tangent(self, output: Tensor, directions: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Return the derivative of `output` along directions of the tensors that it was computed from.

        The tape is used up: it lets go of all that it holds.

        Parameters
        ----------
        output : Tensor
            Computed within the context.
        directions : iterable of (Tensor, Tensor)
            Leaves of the graph, such as parameters, each with a direction of its shape. Those that the pass
            did not use add nothing; of leaves that are not named the direction is zero.

        Returns
        -------
        Tensor
            Of the shape of `output`: sum over leaves of (d output / d leaf) applied to its direction.

        Raises
        ------
        BenchError
            When the tape has been used, `output` was not computed under it, a direction has another shape
            than its tensor, or a tensor has been overwritten since.
        TrialError
            Where an operation has no forward derivative; it is named.
        """
        if self._used:
            raise BenchError("a tape gives one derivative: it has been used")
        self._used = True
        try:
            known = self._known.get(id(output))
            if known is None or known.tensor() is not output or known.version != output._version:
                raise BenchError("the output was not computed under this tape, or has been overwritten since")
            found = self._sweep(known.slot, self._seeds(directions))
        finally:
            self._nodes, self._known = [], {}
        return torch.zeros_like(output) if found is None else found

    def _seeds(self, directions: Iterable[tuple[Tensor, Tensor]]) -> dict[int, Tensor]:
        seeds = {}
        for leaf, direction in directions:
            if direction.shape != leaf.shape:
                raise BenchError(f"a direction of shape {tuple(direction.shape)} for a tensor of {tuple(leaf.shape)}")
            if not leaf.requires_grad or not leaf.is_leaf:
                raise BenchError("directions are for leaves that require a gradient: the tape follows no others")
            known = self._known.get(id(leaf))
            if known is not None and known.tensor() is leaf:
                if known.version != leaf._version:
                    raise BenchError("a parameter has been overwritten since the tape was recorded")
                seeds[known.slot] = direction.detach()
        return seeds

    def _sweep(self, goal: int, values: dict[int, Tensor]) -> Tensor | None:
        """Push tangents from the seeds to a slot; each is dropped after its last use."""
        device = next(iter(values.values())).device.type if values else "cpu"
        # What was recorded already has the types that autocast chose.
        with torch.autocast(device, enabled=False):
            for node, last, wanted in self._plan(goal, values):
                for tensor, version in node.held:
                    if tensor._version != version:
                        raise BenchError(f'what "{node.name}" read has been overwritten since the tape was recorded')
                tangents = [_gather(values, entry) for entry in node.inputs]
                for slot in last:
                    values.pop(slot, None)
                if tangents.count(None) == len(tangents):
                    continue
                result = node.push(*tangents)
                results = (result,) if result is None or isinstance(result, Tensor) else result
                for slot, tangent in zip(node.outputs, results, strict=True):
                    if tangent is not None and slot in wanted:
                        values[slot] = tangent
        return values.get(goal)

    def _plan(self, goal: int, values: dict[int, Tensor]) -> list[tuple[_Node, set[int], set[int]]]:
        """Return the calls between seeds and goal, each with the slots that it is the last to read, and writes."""
        touched, nodes = {*values, *self._lost}, []
        for node in self._nodes:
            if not touched.isdisjoint(node.reads):
                nodes.append(node)
                touched.update(node.outputs)
        touched.discard(None)
        wanted, plan = {goal}, []
        for node in reversed(nodes):
            writes = wanted.intersection(node.outputs)
            if not writes:
                continue
            reads = touched.intersection(node.reads)
            lost = reads & self._lost.keys()
            if lost:
                raise cannot(node.name, self._lost[lost.pop()])
            plan.append((node, reads - wanted, writes))
            wanted |= reads
        return plan[::-1]


def _gather(values: dict[int, Tensor], entry: Any) -> Any:
    if entry.__class__ is list:
        found = [values.get(slot) for slot in entry]
        return None if found.count(None) == len(found) else found
    return values.get(entry)


def _viewed(operation: Operation, rest: Sequence[Any], tensor: Tensor) -> Tensor:
    return operation(tensor, *rest)
