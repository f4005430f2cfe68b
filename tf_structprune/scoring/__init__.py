"""A masked model, candidates and held-out samples in, scores out."""

from tf_structprune.scoring._bench import Bench as Bench
from tf_structprune.scoring._bench import Executor as Executor
from tf_structprune.scoring._bench import LocalExecutor as LocalExecutor
from tf_structprune.scoring._changes import Change as Change
from tf_structprune.scoring._local_bench import LocalBench as LocalBench
from tf_structprune.scoring._local_bench import even_size as even_size
from tf_structprune.scoring._local_bench import in_batches as in_batches
from tf_structprune.scoring._predicted import ERROR as ERROR
from tf_structprune.scoring._predicted import RECONSTRUCTION as RECONSTRUCTION
from tf_structprune.scoring._predicted import PredictedScorer as PredictedScorer
from tf_structprune.scoring._race import Raced as Raced
from tf_structprune.scoring._race import race as race
from tf_structprune.scoring._rounds import Round as Round
from tf_structprune.scoring._rounds import Rounds as Rounds
from tf_structprune.scoring._scorer import BATCH_SIZE as BATCH_SIZE
from tf_structprune.scoring._scorer import Scorer as Scorer
from tf_structprune.scoring._scorer import Scores as Scores
from tf_structprune.scoring._strata import spread as spread
from tf_structprune.scoring._strata import strata_of as strata_of
