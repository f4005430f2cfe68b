"""A masked model, candidates and held-out samples in, scores out."""

from tf_structprune.scoring._bench import Bench as Bench
from tf_structprune.scoring._race import Raced as Raced
from tf_structprune.scoring._race import race as race
from tf_structprune.scoring._ray import RayExecutor as RayExecutor
from tf_structprune.scoring._score import SampleScore as SampleScore
from tf_structprune.scoring._score import Score as Score
from tf_structprune.scoring._score import as_score as as_score
from tf_structprune.scoring._score import class_labels as class_labels
from tf_structprune.scoring._score import divergence as divergence
from tf_structprune.scoring._score import misclassification_rate as misclassification_rate
from tf_structprune.scoring._scorer import LOCAL as LOCAL
from tf_structprune.scoring._scorer import Scorer as Scorer
from tf_structprune.scoring._scorer import Scores as Scores
from tf_structprune.scoring._scorer import check_executor as check_executor
from tf_structprune.scoring._scorer import score as score
from tf_structprune.scoring._strata import spread as spread
from tf_structprune.scoring._strata import strata_of as strata_of
from tf_structprune.scoring._validation import Validation as Validation
from tf_structprune.scoring._validation import check_validation as check_validation
