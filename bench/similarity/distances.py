"""Distances between the source's and the target's distributions of features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.identity import generator
from bench.schema import LEVEL
from bench.similarity.base import GROUPS, Estimate, Undefined, View, group_variance, interval, measure

FEWEST = 8
SPLITS = 3
LARGEST = 128  # matrices whose eigenvalues are sought; a split of wider features has as many rows a half


@measure("proxy-a-distance", version=2)
def proxy_a_distance(view: View) -> Estimate:
    """Return how well a linear classifier tells source from target features, 0 (not at all) to 2 (perfectly).

    2 (1 - 2 e), e being the classifier's error on held-out halves (two-fold, so that overfitting does
    not count as distance), both domains weighing the same; below-chance errors count as 0. Ben-David et
    al., "Analysis of representations for domain adaptation", NIPS 2006, section 4.

    Notes
    -----
    It asks whether domains *can* be told apart, not how far apart they are, so it reaches its upper end
    as soon as one direction separates them: all data that look different (printed and handwritten
    digits, say) are near 2. That is what the definition says and no artefact of this estimate: a linear
    SVM with the C of the lowest held-out error (as Ganin et al., JMLR 2016, compute it) gives 1.98 to 2
    for every source of the default suite, on features as on inputs. It grades sources that are near
    (halves of one data set, a mild change); among distant ones look at the Fréchet distance or LEEP.

    The interval is binomial: Wilson's for each domain's held-out errors, joined by squares (Newcombe,
    Statistics in Medicine 1998). Variances count twice, for the examples that were held out and for those
    that the classifier was fitted to; simulated, it then covers in 95 to 100 %.

    Returns
    -------
    Estimate
        Near to far: 0 to 2.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from statsmodels.stats.proportion import proportion_confint

    source, target = view.source_features, view.target_features
    _demand(len(source), len(target))
    x = np.concatenate([source, target])
    domain = np.repeat([0, 1], [len(source), len(target)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, class_weight="balanced"))
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    wrong = cross_val_predict(classifier, x, domain, cv=folds) != domain
    # Half the examples: twice the variance.
    counts = [(wrong[domain == d].mean(), (domain == d).sum()) for d in (0, 1)]
    ends = [proportion_confint(rate * n / 2, n / 2, 1 - LEVEL, method="wilson") for rate, n in counts]
    error = np.mean([rate for rate, _ in counts])
    below = np.sqrt(sum((rate - low) ** 2 for (rate, _), (low, _) in zip(counts, ends, strict=True))) / 2
    above = np.sqrt(sum((high - rate) ** 2 for (rate, _), (_, high) in zip(counts, ends, strict=True))) / 2
    return Estimate(*(max(0.0, float(2 - 4 * e)) for e in (error, error + above, error - below)))


@measure("frechet-distance", version=2)
def frechet_distance(view: View) -> Estimate:
    """Return the Fréchet distance between Gaussians fitted to source and target features, without its bias.

    |m_s - m_t|^2 + tr(C_s + C_t - 2 (C_s C_t)^(1/2)), Dowson & Landau (1982), as Heusel et al. (NIPS
    2017) use it, divided by the mean of tr(C_s) and tr(C_t): in units of the features' total variance, so
    that values from networks with features of different scale can be compared. See :func:`frechet`. It
    sees no labels: the target itself with its labels dealt out at random is at 0, which LEEP is not.

    Returns
    -------
    Estimate
        0 for equal Gaussians; no upper bound. The interval is the delete-a-group jackknife's.
    """
    return frechet(view.source_features, view.target_features)


def frechet(source: np.ndarray, target: np.ndarray) -> Estimate:
    """Estimate the Fréchet distance of two samples, shapes (M, D) and (N, D), in units of their total variance.

    The distance of fitted Gaussians is above 0 for two samples of one distribution, by more the fewer
    examples and the more features there are: by 0.3 to 1.2 for 150 and 300 examples of 800 features.
    So a source with few examples looks far. Here each sample is cut into halves of m examples, m the same for
    both; from the distance between a half of one and a half of the other that between two halves of
    one sample is subtracted (the mean of both samples'), as an energy distance does:

    d(s, t) - (d(s, s') + d(t, t')) / 2

    For equal distributions its expectation is 0, whatever the sizes and the rank; a difference of means is found
    without bias. Differences of covariances come out smaller where m is below D (by a fifth to a half
    for 75 examples of 800 features): distances are then too small rather than too large. In simulations
    its root mean square error is a tenth of that of the plain estimate and of extrapolating over sample size
    (Chong & Forsyth, CVPR 2020), neither of which stands more features than examples, and well below that of
    shrunken covariances (Ledoit & Wolf 2004) unless these are round.

    Returns
    -------
    Estimate
        At least 0. Delete-a-group jackknife with ten groups a side and Student's quantile; covered 0 and
        differences of means in 95 to 100 % of simulations.

    Raises
    ------
    Undefined
        For fewer than eight examples, or features that do not vary.
    """
    _demand(len(source), len(target))
    estimator = _Frechet(source, target)
    value = estimator.without(-1, -1)
    sides = [
        np.array([estimator.without(*((g, -1) if side == 0 else (-1, g))) for g in range(min(GROUPS, len(sample)))])
        for side, sample in enumerate((source, target))
    ]
    found = interval(value, sum(map(group_variance, sides)), sum(len(values) - 1 for values in sides))
    return Estimate(*(max(0.0, end) for end in found))


def _demand(*counts: int) -> None:
    if min(counts) < FEWEST:
        raise Undefined(f"{min(counts)} examples are too few for a distance; it takes {FEWEST}")


class _Frechet:
    """The estimator of :func:`frechet`, with a group of examples of either sample left out.

    Halves are drawn once, so that what is left out is all that differs.
    """

    def __init__(self, source: np.ndarray, target: np.ndarray):
        self.samples = source, target
        self._whole: dict[tuple[int, int], _Cut] = {}
        half = min(len(source), len(target)) // 2
        if source.shape[1] > LARGEST:
            half = min(half, LARGEST)
        rng = generator("frechet", len(source), len(target))
        # The rows of a split follow upon those of the one before: all count where there is room.
        orders = [rng.permutation(len(sample)) for sample in self.samples]
        self.splits = [
            [np.resize(np.roll(order, -2 * half * k), 2 * half)[rng.permutation(2 * half)].reshape(2, half)
             for order in orders]
            for k in range(SPLITS)
        ]  # fmt: skip
        # In this order groups are spread evenly over every split, so that no half loses too many of its rows.
        self.groups = [np.argsort(order) % GROUPS for order in orders]

    def without(self, *groups: int) -> float:
        """Return the value without a group of the source and one of the target; -1 leaves none out."""
        unit = np.mean([self._variance(side, group) for side, group in enumerate(groups)])
        if unit <= np.finfo(float).tiny:
            raise Undefined("the features do not vary")
        cuts = ([self._cut(k, side, group) for side, group in enumerate(groups)] for k in range(SPLITS))
        return float(np.mean([_between(source, target) for source, target in cuts]) / unit)

    def _kept(self, side: int, group: int) -> np.ndarray:
        return self.groups[side] != group

    def _variance(self, side: int, group: int) -> float:
        return float(self.samples[side][self._kept(side, group)].var(axis=0, ddof=1).sum())

    def _cut(self, split: int, side: int, group: int) -> _Cut:
        """Return a sample's halves in a split; what is left whole, for one side's groups after another, is kept."""
        if (found := self._whole.get((split, side))) is not None and group == -1:
            return found
        kept = self._kept(side, group)
        cut = _Cut(*(Sample(self.samples[side][rows[kept[rows]]]) for rows in self.splits[split][side]))
        if group == -1:
            self._whole[split, side] = cut
        return cut


@dataclass(frozen=True, eq=False)
class _Cut:
    """The two halves of a sample."""

    first: Sample
    second: Sample

    @cached_property
    def within(self) -> float:
        """The distance between them."""
        return self.first.distance(self.second)


def _between(s: _Cut, t: _Cut) -> float:
    """Return the distance of two samples without what either has within itself."""
    crossed = [a.distance(b) for a in (s.first, s.second) for b in (t.first, t.second)]
    return sum(crossed) / 4 - (s.within + t.within) / 2


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample, shape (M, D), with what its distances to several others share."""

    x: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        """Its mean, shape (D,)."""
        return self.x.mean(axis=0)

    @cached_property
    def rows(self) -> np.ndarray:
        """Centred, so scaled that rows' rows is the covariance."""
        return (self.x - self.mean) / np.sqrt(len(self.x) - 1)

    @cached_property
    def covariance(self) -> np.ndarray:
        """Its covariance, shape (D, D)."""
        return self.rows.T @ self.rows

    @cached_property
    def root(self) -> np.ndarray:
        """Symmetric root of the covariance, shape (D, D)."""
        return _symmetric_root(self.covariance)

    def distance(self, other: Sample) -> float:
        """Return the squared 2-Wasserstein distance of the fitted Gaussians."""
        a, b = self.rows, other.rows
        if a.shape[1] <= min(len(a), len(b)):
            whole, part = (other, self) if "root" in other.__dict__ else (self, other)
            product = whole.root @ part.covariance @ whole.root
        else:
            # tr (Ca Cb)^(1/2) is the nuclear norm of A B', which is small where examples are few.
            product = a @ b.T
            product = product @ product.T if len(a) <= len(b) else product.T @ product
        cross = np.sqrt(np.clip(np.linalg.eigvalsh(product), 0, None)).sum()
        return float(np.sum((self.mean - other.mean) ** 2) + np.sum(a**2) + np.sum(b**2) - 2 * cross)


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
