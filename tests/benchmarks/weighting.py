"""One weighted step, its update included, against the plain step and against other ways to the same weights.

A step of L2RW (Ren et al., 2018) and one of MW-Net (Shu et al., 2019), with 128 source examples and 128 of the
meta set, in plain SGD steps on the 128 source examples. All contestants take the same step to float tolerance.
Ours looks along the meta gradient by taking the training's own forward pass on dual numbers. The others: `higher`
and TorchOpt as their authors' examples have it, a double backward by hand, torch.func's Jacobian-vector product and
per-example gradients by its vmap (neither takes batch norm's counter), and torch's forward mode in a pass of its
own. Without the `benchmarks` extra TorchOpt is left out. Memory is the peak of a fresh process above that of the
plain step. On a CPU one thread is used, as a worker has it.
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bench.backbones.base import Backbone, build

from .ratios import Measured, Options, alternate
from .step import finished

ROUNDS = 9
MEMORY_ROUNDS = 3
BATCH, CLASSES, RATE, HIDDEN = 128, 10, 0.01, 100
FASTER = ">= 1.6"
# Those that differentiate through an update. The others take nine forward passes' work or less where ours takes
# eight and the plain step three, so that no more than an eighth could be had of them by arithmetic.
THROUGH_AN_UPDATE = ("higher", "TorchOpt", "double backward")
STEPS_ALONE = 4  # of a process whose memory is looked at


@dataclass(frozen=True)
class Case:
    """A network and its inputs; aims of a step in plain ones, and of MW-Net's speed relative to higher's."""

    name: str
    backbone: str
    shape: tuple[int, int, int]
    repeats: int  # steps in a round
    aim: str
    aim_mw_net: str = ""
    arguments: tuple[tuple[str, str], ...] = ()


CASES = (
    Case("CNN", "cnn", (1, 28, 28), 10, "<= 2.5", ">= 1.15"),
    Case("CNN with batch norm", "cnn", (1, 28, 28), 10, "<= 3.3", "", (("norm", "batch"),)),
    Case("ResNet-18 at 32 px", "resnet18", (3, 32, 32), 2, "<= 2.7", ">= 1.3"),
)
MEMORY_CASE, MEMORY_AIM = "ResNet-18 at 32 px", "<= 0.3333"


class Setting:
    """What one contestant trains: a network of its own, the two batches, and the network from loss to weight."""

    def __init__(self, case: Case, device: str = "cpu", network: Backbone | None = None):
        generator, layout = torch.Generator().manual_seed(0), torch.channels_last
        network = network or build(case.backbone, case.shape, CLASSES, 0, 1, **dict(case.arguments))
        self.network = copy.deepcopy(network).to(device).to(memory_format=layout).train()
        self.parameters = list(self.network.parameters())
        dtype = self.parameters[0].dtype
        shape = (BATCH, *case.shape)
        self.x, self.meta_x = (
            torch.randn(shape, generator=generator).to(device, dtype).contiguous(memory_format=layout) for _ in range(2)
        )
        self.y, self.meta_y = (torch.randint(CLASSES, (BATCH,), generator=generator).to(device) for _ in range(2))
        self.optimizer = torch.optim.SGD(self.parameters, lr=RATE)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            layers = (nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1), nn.Sigmoid())
            self.weigher = nn.Sequential(*layers).to(device, dtype)
        self.weigher_optimizer = torch.optim.Adam(self.weigher.parameters(), lr=1e-3)

    def losses(self, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the source batch's losses, shape (N,)."""
        return cross_entropy((network or self.network)(self.x), self.y, reduction="none")

    def meta(self, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the meta batch's mean loss."""
        return cross_entropy((network or self.network)(self.meta_x), self.meta_y)

    def meta_gradient(self) -> tuple[Tensor, ...]:
        """Return the meta loss's gradient with respect to the network's parameters as they are."""
        return torch.autograd.grad(self.meta(), self.parameters)

    def weigh(self, losses: Tensor) -> Tensor:
        """Return the weigher's weights of losses, divided by their number."""
        return self.weigher(losses.detach().unsqueeze(1)).squeeze(1) / len(losses)

    def update(self, losses: Tensor, weights: Tensor) -> None:
        """Take the network's step down the weighted losses."""
        self.optimizer.zero_grad(set_to_none=True)
        (weights.detach() * losses).sum().backward()
        self.optimizer.step()

    def with_parameters(self, values: list[Tensor] | tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
        """Return the network with other parameters."""
        named = dict(zip((name for name, _ in self.network.named_parameters()), values, strict=True))
        return lambda x: functional_call(self.network, named, (x,))


def rectified(slopes: Tensor) -> Tensor:
    """Return L2RW's weights: how far the meta loss falls with each example, nothing below zero, adding up to 1."""
    falls = slopes.neg().clamp_min(0)
    return falls / falls.sum().clamp_min(1e-12)


def plain(s: Setting) -> None:
    """Take a step without weights."""
    losses = s.losses()
    s.update(losses, torch.full_like(losses, 1 / BATCH))


# --- L2RW --------------------------------------------------------------------------------------------------


def ours(s: Setting) -> None:
    """Look along the meta gradient in the training's own forward pass."""
    from bench.weighting.dual import dual_pass

    losses, along = dual_pass(s.network, zip(s.parameters, s.meta_gradient(), strict=True), s.losses)
    s.update(losses, rectified(-RATE * along))


def by_higher(s: Setting) -> None:
    """Differentiate through a step of higher's optimiser."""
    import higher

    with higher.innerloop_ctx(s.network, s.optimizer) as (network, optimizer):
        weights = torch.zeros(BATCH, device=s.x.device, dtype=s.x.dtype, requires_grad=True)
        optimizer.step((weights * s.losses(network)).sum())
        (slopes,) = torch.autograd.grad(s.meta(network), weights)
    s.update(s.losses(), rectified(slopes))


def by_torchopt(s: Setting) -> None:
    """Differentiate through a step of TorchOpt's optimiser."""
    import torchopt

    optimizer, before = torchopt.MetaSGD(s.network, lr=RATE), torchopt.extract_state_dict(s.network)
    weights = torch.zeros(BATCH, device=s.x.device, dtype=s.x.dtype, requires_grad=True)
    optimizer.step((weights * s.losses()).sum())
    (slopes,) = torch.autograd.grad(s.meta(), weights)
    torchopt.recover_state_dict(s.network, before)
    s.update(s.losses(), rectified(slopes))


def by_double_backward(s: Setting) -> None:
    """Write the step with a graph, and differentiate through it."""
    weights = torch.zeros(BATCH, device=s.x.device, dtype=s.x.dtype, requires_grad=True)
    gradients = torch.autograd.grad((weights * s.losses()).sum(), s.parameters, create_graph=True)
    ahead = [p - RATE * g for p, g in zip(s.parameters, gradients, strict=True)]
    (slopes,) = torch.autograd.grad(s.meta(s.with_parameters(ahead)), weights)
    s.update(s.losses(), rectified(slopes))


def by_forward_mode(s: Setting) -> None:
    """Take a pass on dual numbers."""
    from torch.autograd import forward_ad

    direction = s.meta_gradient()
    with torch.no_grad(), forward_ad.dual_level():
        duals = [forward_ad.make_dual(p.detach(), g) for p, g in zip(s.parameters, direction, strict=True)]
        slopes = -RATE * forward_ad.unpack_dual(s.losses(s.with_parameters(duals))).tangent
    s.update(s.losses(), rectified(slopes))


def by_func_jvp(s: Setting) -> None:
    """Take torch.func's Jacobian-vector product."""
    values = tuple(p.detach() for p in s.parameters)
    _, along = torch.func.jvp(lambda *p: s.losses(s.with_parameters(p)), values, s.meta_gradient())
    s.update(s.losses(), rectified(-RATE * along))


def by_func_vmap(s: Setting) -> None:
    """Take every example's gradient, and its inner product with the meta gradient."""
    values, direction = tuple(p.detach() for p in s.parameters), s.meta_gradient()

    def loss(parameters: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(s.with_parameters(parameters)(x[None]), y[None])

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(values, s.x, s.y)
    along = sum(g.flatten(1) @ d.flatten() for g, d in zip(each, direction, strict=True))
    s.update(s.losses(), rectified(-RATE * along))


# --- MW-Net ------------------------------------------------------------------------------------------------


def ours_mw_net(s: Setting) -> None:
    """Look along the meta gradient one step ahead, in a second pass; the graph of the first serves twice."""
    from bench.weighting.dual import dual_pass

    losses = s.losses()
    weights = s.weigh(losses)
    gradients = torch.autograd.grad((weights.detach() * losses).sum(), s.parameters, retain_graph=True)
    ahead = [(p.detach() - RATE * g).requires_grad_() for p, g in zip(s.parameters, gradients, strict=True)]
    del gradients
    direction = torch.autograd.grad(s.meta(s.with_parameters(ahead)), ahead)
    del ahead
    with torch.no_grad():
        _, along = dual_pass(s.network, zip(s.parameters, direction, strict=True), s.losses)
    del direction
    _learn(s, (weights * (-RATE * along)).sum())
    s.update(losses, s.weigh(losses))


def higher_mw_net(s: Setting) -> None:
    """Differentiate through a step of higher's optimiser down to the weigher."""
    import higher

    with higher.innerloop_ctx(s.network, s.optimizer) as (network, optimizer):
        losses = s.losses(network)
        optimizer.step((s.weigh(losses) * losses).sum())
        _learn(s, s.meta(network))
    losses = s.losses()
    s.update(losses, s.weigh(losses))


def double_backward_mw_net(s: Setting) -> None:
    """Write the step with a graph, and differentiate through it down to the weigher."""
    losses = s.losses()
    gradients = torch.autograd.grad((s.weigh(losses) * losses).sum(), s.parameters, create_graph=True)
    ahead = [p - RATE * g for p, g in zip(s.parameters, gradients, strict=True)]
    _learn(s, s.meta(s.with_parameters(ahead)))
    losses = s.losses()
    s.update(losses, s.weigh(losses))


def _learn(s: Setting, meta: Tensor) -> None:
    s.weigher_optimizer.zero_grad(set_to_none=True)
    meta.backward(inputs=list(s.weigher.parameters()))
    s.weigher_optimizer.step()


L2RW: dict[str, Callable[[Setting], None]] = {
    "ours": ours,
    "higher": by_higher,
    "TorchOpt": by_torchopt,
    "double backward": by_double_backward,
    "torch.func jvp": by_func_jvp,
    "torch.func vmap": by_func_vmap,
    "forward_ad, no graph": by_forward_mode,
}
MW_NET: dict[str, Callable[[Setting], None]] = {
    "ours": ours_mw_net,
    "higher": higher_mw_net,
    "double backward": double_backward_mw_net,
}


def contestants(table: dict[str, Callable[[Setting], None]], case: Case) -> dict[str, Callable[[Setting], None]]:
    """Return those of a table that can run here and on this network; say which cannot, and why."""
    found = {}
    for name, work in table.items():
        if name == "TorchOpt" and not find_spec("torchopt"):
            print(f"{name} is left out: it is not installed (pip install 'ntbench[benchmarks]')")
            continue
        if name == "torch.func vmap" and case.backbone != "cnn":
            print(f"{name} is left out: {BATCH} gradients of {case.name} do not fit")
            continue
        try:
            work(Setting(case))
        except RuntimeError as error:
            print(f"{name} cannot: {case.name}: {str(error).splitlines()[0][:100]}")
            continue
        found[name] = work
    return found


def measure(options: Options, cases: tuple[Case, ...] = CASES, memory: bool = True) -> list[Measured]:
    """Measure the time of weighted steps, and the memory of one."""
    threads, found = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case in cases:
                found += _measure(case, options)
    finally:
        torch.set_num_threads(threads)
    return [*found, *(_memory(options) if memory else [])]


def _measure(case: Case, options: Options) -> list[Measured]:
    tables = {"L2RW": contestants(L2RW, case), "MW-Net": contestants(MW_NET, case)}
    work = {"plain": _repeated(plain, case, options)}
    work |= {f"{way} {name}": _repeated(f, case, options) for way, t in tables.items() for name, f in t.items()}
    watch = alternate(work, options.rounds or ROUNDS)
    each = {name: 1e3 * statistics.median(times) / case.repeats for name, times in watch.seconds.items()}
    print(f"{case.name}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in each.items()), flush=True)
    found = []
    for way, table in tables.items():
        for name in table:
            aim = case.aim if (way, name) == ("L2RW", "ours") else ""
            what = f"weighting: time of {way}, {case.name}" + ("" if name == "ours" else f", {name}")
            found.append(Measured(what, "plain step", watch.ratios(f"{way} {name}", "plain"), aim))
        for name in table:
            if name != "ours":
                aim = case.aim_mw_net if name == "higher" else ""
                if way == "L2RW":
                    aim = FASTER if name in THROUGH_AN_UPDATE else ""
                ratios = watch.ratios(f"{way} {name}", f"{way} ours")
                found.append(Measured(f"weighting: speed of {way}, {case.name}", name, ratios, aim))
    return found


def _repeated(work: Callable[[Setting], None], case: Case, options: Options) -> Callable[[], None]:
    setting = Setting(case, options.device)

    def run() -> None:
        for _ in range(case.repeats):
            work(setting)

    return finished(run, options)


# --- memory ------------------------------------------------------------------------------------------------


def _memory(options: Options) -> list[Measured]:
    """Measure peaks above the plain step's, each in a process of its own, ours relative to the others'."""
    names = [name for name in contestants(L2RW, _case(MEMORY_CASE)) if not name.startswith("torch.func")]
    peaks: dict[str, list[float]] = {}
    for _ in range(options.rounds or MEMORY_ROUNDS):
        base = _peak("plain", options.device)
        for name in names:
            peaks.setdefault(name, []).append(_peak(name, options.device) - base)
    said = ", ".join(f"{name} {statistics.median(each):.0f} MiB" for name, each in peaks.items())
    print(f"memory above the plain step's, {MEMORY_CASE}: {said}", flush=True)
    what = f"weighting: extra memory of L2RW, {MEMORY_CASE}"
    found = []
    for name in names:
        if name != "ours":
            ratios = [mine / other for mine, other in zip(peaks["ours"], peaks[name], strict=True)]
            found.append(Measured(what, name, ratios, MEMORY_AIM if name == "higher" else ""))
    return found


def _peak(name: str, device: str) -> float:
    """Return the peak memory in MiB of a process that takes a few steps."""
    top = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.weighting", name, device]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def alone(name: str, device: str) -> float:
    """Take a few steps by one contestant, and return this process's peak memory in MiB."""
    torch.set_num_threads(1)
    setting = Setting(_case(MEMORY_CASE), device)
    work = plain if name == "plain" else L2RW[name]
    for _ in range(STEPS_ALONE):
        work(setting)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # Not getrusage's, which a process has from the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    print(alone(*sys.argv[1:3]))
