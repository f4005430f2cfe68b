"""Numbers and scores in, candidate masks and the best of them out. NumPy only."""

from tf_structprune.search._metric import Metric as Metric
from tf_structprune.search._one_shot import ActivationVote as ActivationVote
from tf_structprune.search._one_shot import BestOfN as BestOfN
from tf_structprune.search._one_shot import GeometricMedian as GeometricMedian
from tf_structprune.search._one_shot import LeastSquares as LeastSquares
from tf_structprune.search._one_shot import Magnitude as Magnitude
from tf_structprune.search._one_shot import NormalizationScale as NormalizationScale
from tf_structprune.search._one_shot import RandomMask as RandomMask
from tf_structprune.search._one_shot import SquaredMagnitude as SquaredMagnitude
from tf_structprune.search._one_shot import Taylor as Taylor
from tf_structprune.search._population import EvolutionaryParticleFilter as EvolutionaryParticleFilter
from tf_structprune.search._population import ParticleFilter as ParticleFilter
from tf_structprune.search._population import effective_count as effective_count
from tf_structprune.search._population import systematic_resample as systematic_resample
from tf_structprune.search._population import weights_of as weights_of
from tf_structprune.search._search import Search as Search
from tf_structprune.search._search import SearchResult as SearchResult
from tf_structprune.search._search import SearchState as SearchState
from tf_structprune.search._search import find as find

SEARCHES = {
    "best_of_n": BestOfN,
    "particle_filter": ParticleFilter,
    "evolutionary": EvolutionaryParticleFilter,
    "activation_vote": ActivationVote,
    "magnitude": Magnitude,
    "squared_magnitude": SquaredMagnitude,
    "geometric_median": GeometricMedian,
    "normalization_scale": NormalizationScale,
    "least_squares": LeastSquares,
    "taylor": Taylor,
    "random": RandomMask,
}
