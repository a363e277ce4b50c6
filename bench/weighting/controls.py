"""Controls: weightings that learn nothing from the target's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.weighting.declare import weighting

if TYPE_CHECKING:
    import numpy as np

    from bench.weighting.base import Facts, Weighting


def share(name: str, argument: str, value: object, top: float = 1.0) -> None:
    """Demand a number above 0 and up to `top`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= top:
        raise BenchError(f'weighting "{name}": {argument} = {value!r} is not a number above 0 and up to {top:g}')


@weighting("uniform")
def uniform(facts: Facts) -> Weighting:
    """Weight every source example the same."""
    import torch

    from bench.weighting.base import Table

    return Table(facts, torch.ones_like(facts.y, dtype=torch.float32))


@weighting("random")
def random(facts: Facts) -> Weighting:
    """Draw each weight anew, a rectified Gaussian: the control of Ren et al. (ICML 2018, section 4.1)."""
    import torch

    from bench.weighting.base import ByRule, Step

    generators = [torch.Generator(facts.y.device).manual_seed(seed) for seed in facts.seeds]

    class RectifiedGaussian(ByRule):
        def raw(self, step: Step, losses: torch.Tensor) -> torch.Tensor:
            shape, options = losses.shape[1:], {"dtype": losses.dtype, "device": losses.device}
            return torch.stack([torch.randn(shape, generator=g, **options) for g in generators]).clamp_min(0)

    return RectifiedGaussian(facts)


def _check_loss(keep: object = 0.7, warm_up: object = 0.3) -> None:
    share("loss", "keep", keep)
    share("loss", "warm_up", warm_up)


@weighting("loss", check=_check_loss)
def loss(facts: Facts, *, keep: float = 0.7, warm_up: float = 0.3) -> Weighting:
    """Keep the examples of each batch with the smallest losses (Han et al., NeurIPS 2018, with one network).

    `keep` is the share that is kept in the end; it falls from 1 over the share `warm_up` of the steps.
    """
    import torch

    from bench.weighting.base import ByRule, Step

    class SmallLoss(ByRule):
        def raw(self, step: Step, losses: torch.Tensor) -> torch.Tensor:
            done = min(1.0, step.number / max(1.0, warm_up * facts.steps))
            number = max(1, round(losses.shape[1] * (1 - (1 - keep) * done)))
            smallest = losses.argsort(dim=1, stable=True)[:, :number]
            return torch.zeros_like(losses).scatter_(1, smallest, 1.0)

    return SmallLoss(facts)


def _check_density(components: object = 20, clip: object = 10.0) -> None:
    if isinstance(components, bool) or not isinstance(components, int) or components < 1:
        raise BenchError(f'weighting "density-ratio": components = {components!r} is not a whole number above 0')
    share("density-ratio", "clip", clip, float("inf"))


@weighting("density-ratio", learns_from="inputs", check=_check_density)
def density_ratio(facts: Facts, *, components: int = 20, clip: float = 10.0) -> Weighting:
    """Weight by the odds that a classifier of domains gives an input to be the target's, not the source's.

    Logistic regression on the first principal `components` of the inputs, the domains balanced, odds
    clipped at `clip` (Bickel et al., JMLR 2009). It sees no label.
    """
    import numpy as np
    import torch

    from bench.weighting.base import Table

    odds = [_odds(facts.inputs(lane), facts.target_inputs(lane), components) for lane in range(facts.lanes)]
    return Table(facts, torch.as_tensor(np.minimum(np.stack(odds), clip), device=facts.y.device))


def _odds(source: np.ndarray, target: np.ndarray, components: int) -> np.ndarray:
    """Return the odds of source inputs, shape (N,): arrays in, array out."""
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.concatenate([source, target]).astype(np.float64)
    domain = np.repeat([0, 1], [len(source), len(target)])
    number = min(components, *x.shape)
    classifier = make_pipeline(
        PCA(number, svd_solver="full"), StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    ).fit(x, domain)
    return np.exp(classifier.decision_function(source))


@weighting("oracle", judges="harmful")
def oracle(facts: Facts) -> Weighting:
    """Leave the examples out that are flagged as planted harm: what the best weighting could know."""
    from bench.weighting.base import Table

    return Table(facts, (~facts.harmful).float())
