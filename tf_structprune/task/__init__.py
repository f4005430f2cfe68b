"""What a model is for: samples and targets, the score of outputs, the loss, how two outputs are compared."""

from tf_structprune.task._agreement import Agreement as Agreement
from tf_structprune.task._agreement import Reading as Reading
from tf_structprune.task._agreement import component_error as component_error
from tf_structprune.task._agreement import range_error as range_error
from tf_structprune.task._agreement import relative_error as relative_error
from tf_structprune.task._agreement import same_class_fraction as same_class_fraction
from tf_structprune.task._collect import collected as collected
from tf_structprune.task._interval import Interval as Interval
from tf_structprune.task._predict import batch_shares as batch_shares
from tf_structprune.task._predict import predict as predict
from tf_structprune.task._score import SampleScore as SampleScore
from tf_structprune.task._score import Score as Score
from tf_structprune.task._score import as_score as as_score
from tf_structprune.task._score import class_labels as class_labels
from tf_structprune.task._score import divergence as divergence
from tf_structprune.task._score import misclassification_rate as misclassification_rate
from tf_structprune.task._score import sample_values as sample_values
from tf_structprune.task._task import Task as Task
from tf_structprune.task._task import task_of as task_of
from tf_structprune.task._teacher import SoftTargets as SoftTargets
from tf_structprune.task._validation import Validation as Validation
from tf_structprune.task._validation import check_validation as check_validation
