"""Gradients through steps of an optimiser, by `higher`: the reference, and what serves k > 1 and Adam.

The only module that imports `higher` (Grefenstette et al., 2019). Its last release, 0.2.1, is of 2021 and was
not made for today's torch; what must be known of it is kept here:

- ``maximize=True`` is ignored without a word, and of AdamW, NAdam and RAdam it has none: refused here.
- Its Adam adds eps to the root of the second moment before the bias correction, torch's after it: with
  torch's default of 1e-8 parameters are some 3e-5 apart after a few steps. At a gradient of exactly zero
  the derivative of a step is 1 / eps, so weights that are all zero at the first step are refused.
- A compiled module is patched without end: refused.
- Buffers are copied, so the statistics of the network itself do not move. Generators are not: a stack's
  dropout draws on.
- A block that is called by itself, not through the whole network, sees the parameters of the first such
  call for ever. They are renewed here after each step.
- What a module keeps beside its submodules (a published classifier) is taken for one: it is set aside.
- A patched network refers to itself and holds every step's parameters: it is emptied here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import higher
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import hardsigmoid, relu6
from torch.overrides import TorchFunctionMode

from bench.errors import BenchError, TrialError, nearest

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


@dataclass(frozen=True)
class Inner:
    """The optimiser that is looked through.

    Attributes
    ----------
    optimizer : {"sgd", "adam"}
    momentum : float
        Of SGD, as torch has it (without dampening).
    weight_decay : float
        Added to the gradient, times the parameter.
    betas, eps
        Of Adam. `eps` is added before the bias correction (see the module's notes).

    Raises
    ------
    BenchError
        For an optimiser or a value that cannot be.
    """

    optimizer: str = "sgd"
    momentum: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            allowed = ", ".join(f'"{name}"' for name in OPTIMIZERS)
            hint = nearest(self.optimizer, OPTIMIZERS) or f"; those that can: {allowed}"
            raise BenchError(f'inner optimizer "{self.optimizer}" cannot be differentiated through{hint}')
        if not 0 <= self.momentum < 1:
            raise BenchError(f"inner momentum = {self.momentum!r} is not within 0 <= momentum < 1")
        if self.momentum and self.optimizer != "sgd":
            raise BenchError(f'inner momentum is for "sgd", not "{self.optimizer}"')
        if self.weight_decay < 0:
            raise BenchError(f"inner weight_decay = {self.weight_decay!r} is below 0")

    @classmethod
    def like(cls, optimizer: torch.optim.Optimizer) -> Inner:
        """Return what has the settings of one of torch's optimisers; its learning rate is left out.

        Raises
        ------
        BenchError
            When steps of that optimiser, or with its options, cannot be differentiated through.
        """
        names = {kind: name for name, kind in OPTIMIZERS.items()}
        kind, options = type(optimizer), optimizer.param_groups[0]
        if kind not in names:
            allowed = ", ".join(sorted(kind.__name__ for kind in names))
            raise BenchError(f"{kind.__name__} cannot be differentiated through; those that can: {allowed}")
        refused = [name for name in ("maximize", "nesterov", "dampening", "amsgrad") if options.get(name)]
        refused += ["decoupled_weight_decay"] if options.get("decoupled_weight_decay") else []
        if refused:
            raise BenchError(f"{kind.__name__} with {refused[0]} = {options[refused[0]]} is not differentiated through")
        if len({repr({k: v for k, v in g.items() if k not in ("params", "lr")}) for g in optimizer.param_groups}) > 1:
            raise BenchError("parameter groups that differ in more than their learning rate are not supported")
        kept = {name: options[name] for name in ("momentum", "weight_decay", "betas", "eps") if name in options}
        return cls(names[kind], **kept)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return torch's optimiser over parameter groups, at rate 1."""
        options: dict[str, Any] = {"lr": 1.0, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            options["momentum"] = self.momentum
        else:
            options |= {"betas": self.betas, "eps": self.eps}
        return OPTIMIZERS[self.optimizer](groups, **options)


def unrolled(
    network: nn.Module,
    inner: Inner,
    lr: float | Tensor,
    losses: Sequence[Callable[[nn.Module], Tensor]],
    weights: Sequence[Tensor],
    meta_loss: Callable[[nn.Module], Tensor],
) -> Tensor:
    """Return the meta loss after k inner steps, as a function of the weights.

    Step j takes the parameters down ``(weights[j] * losses[j](network)).sum()``. Every call starts with the
    optimiser's state empty (momentum, moments), whatever the training's own has gathered. The network itself
    is not changed: not its parameters, their gradients, nor its buffers. Differentiate by :func:`gradient`.

    Parameters
    ----------
    network : Module
        For several lanes, a stack's network: each parameter then has a leading axis of lanes.
    inner : Inner
    lr : float or Tensor of shape (lanes,)
        Learning rate, of each lane.
    losses : sequence of callable, one a step
        From a network to losses of examples, shape (N,) or (lanes, N).
    weights : sequence of Tensor, one a step
        Of the shapes of the losses, with a graph to what is to be learned.
    meta_loss : callable
        From the network after the last step to a scalar, summed over lanes.

    Returns
    -------
    Tensor
        The scalar, with its graph.

    Raises
    ------
    BenchError
        For a compiled network, shapes that do not agree, a learning rate that is not positive, or, with
        Adam, weights that are all zero at the first step.
    TrialError
        When parameters or the meta loss are not finite any more: the step and the learning rate are named.
    """
    _check(network, inner, lr, losses, weights)
    with torch.enable_grad(), _differentiable_twice(), _patched(network, inner, lr) as (patched, optimizer):
        for step, (loss, weight) in enumerate(zip(losses, weights, strict=True), 1):
            each = loss(patched)
            if each.shape != weight.shape:
                raise BenchError(f"losses of shape {tuple(each.shape)} and weights of shape {tuple(weight.shape)}")
            optimizer.step((weight * each).sum())
            patched._refill_params_box(None)
            _check_finite(patched, step, lr)
        found = meta_loss(patched)
    if found.ndim:
        raise BenchError(f"the meta loss is a scalar, summed over lanes; got shape {tuple(found.shape)}")
    if not torch.isfinite(found):
        raise _diverged("the meta loss is not finite", len(losses), lr)
    return found


def gradient(meta: Tensor, of: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradient of what :func:`unrolled` returned with respect to tensors; its graph is freed.

    Raises
    ------
    TrialError
        When it is not finite, or where torch cannot differentiate an operation twice; it is named.
    """
    try:
        found = torch.autograd.grad(meta, list(of))
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise TrialError(f"torch cannot differentiate a step of this network once more: {error}") from error
    if not all(bool(torch.isfinite(part).all()) for part in found):
        raise TrialError("the meta gradient is not finite: lower the inner learning rate, or start from other weights")
    return found


# --- what is wrong with a request ---------------------------------------------------------------------------


def _check(
    network: nn.Module, inner: Inner, lr: float | Tensor, losses: Sequence[Any], weights: Sequence[Tensor]
) -> None:
    for module in network.modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise BenchError('a compiled network cannot be looked through by engine = "higher"; hand in the plain one')
    if not losses or len(losses) != len(weights):
        raise BenchError(f"{len(losses)} losses and {len(weights)} weights: one of each a step, at least one step")
    rates = torch.as_tensor(lr, dtype=torch.float64)
    if not bool((torch.isfinite(rates) & (rates > 0)).all()):
        raise BenchError(f"inner learning rate {_said(lr)} is not above 0")
    first = weights[0].detach()
    if inner.optimizer == "adam" and not bool(first.flatten(-1).ne(0).any(-1).all()):
        raise BenchError(
            "with all weights at zero the derivative of Adam's first step is 1 / eps; start from other weights, "
            'or use inner optimizer "sgd"'
        )
    lanes = rates.numel() if rates.ndim else 0
    wrong = [name for name, p in network.named_parameters() if lanes and (not p.ndim or len(p) != lanes)]
    if wrong:
        raise BenchError(f'{lanes} learning rates, one a lane, but the parameter "{wrong[0]}" has no axis of lanes')


def _check_finite(patched: nn.Module, step: int, lr: float | Tensor) -> None:
    moved = [p.detach() for p in patched.fast_params if p.requires_grad]
    sums = torch.stack([p.abs().sum(dtype=torch.float64) for p in moved])
    if bool(torch.isfinite(sums).all()):
        return
    lanes = range(len(lr)) if isinstance(lr, Tensor) and lr.ndim else ()
    bad = [i for i in lanes if not all(bool(torch.isfinite(p[i]).all()) for p in moved)]
    raise _diverged("a parameter is not finite", step, lr[bad[0]] if bad else lr)


def _diverged(what: str, step: int, lr: float | Tensor) -> TrialError:
    return TrialError(f"the look-ahead diverged: {what} after inner step {step} with learning rate {_said(lr)}")


def _said(lr: float | Tensor) -> str:
    values = lr.flatten().tolist() if isinstance(lr, Tensor) else [lr]
    return ", ".join(f"{value:.6g}" for value in values)


# --- networks that forget nothing ---------------------------------------------------------------------------


@contextmanager
def _patched(network: nn.Module, inner: Inner, lr: float | Tensor) -> Iterator[tuple[nn.Module, Any]]:
    """Give a copy of the network whose parameters steps replace, and the optimiser that takes them."""
    parameters = list(network.parameters())
    optimizer = inner.build([{"params": [p]} for p in parameters])
    rates = torch.as_tensor(lr).detach() if isinstance(lr, Tensor) else lr
    if isinstance(rates, Tensor) and rates.ndim:
        by_group = [rates.to(p).view(-1, *(1,) * (p.ndim - 1)) for p in parameters]
    else:
        by_group = [float(rates)]
    with _set_aside(network):
        patched = higher.patch.monkeypatch(network)
    steps = higher.optim.get_diff_optim(optimizer, parameters, fmodel=patched, override={"lr": by_group})
    try:
        patched._refill_params_box(None)
        yield patched, steps
    finally:
        _empty(patched, steps)


@contextmanager
def _set_aside(network: nn.Module) -> Iterator[None]:
    """Take modules that are kept beside submodules out of sight."""
    hidden = [
        (module, name, value)
        for module in network.modules()
        for name, value in module.__dict__.items()
        if isinstance(value, nn.Module)
    ]
    for module, name, _ in hidden:
        module.__dict__[name] = None
    try:
        yield
    finally:
        for module, name, value in hidden:
            module.__dict__[name] = value


def _empty(patched: nn.Module, steps: Any) -> None:
    """Let go of what a patched network and its optimiser hold; the graph of the meta loss has what it needs."""
    steps._fmodel, steps.state = None, []
    for group in steps.param_groups:
        group["params"] = []
    patched._fast_params = []
    for module in patched.modules():
        module._parameters.clear()


class _Composed(TorchFunctionMode):
    """Writes a function whose second derivative torch lacks as others that have one."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is hardsigmoid:
            return relu6(args[0] + 3) / 6
        return func(*args, **kwargs)


@contextmanager
def _differentiable_twice() -> Iterator[None]:
    """Compute by operations that can be differentiated twice."""
    with ExitStack() as stack:
        stack.enter_context(_Composed())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield
