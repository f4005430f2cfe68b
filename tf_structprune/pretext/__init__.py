"""Training without labels: pretext tasks around a network, and probes of what it learnt."""

from tf_structprune.pretext._exemplars import ExemplarTriplets as ExemplarTriplets
from tf_structprune.pretext._features import features_of as features_of
from tf_structprune.pretext._instances import InstanceDiscrimination as InstanceDiscrimination
from tf_structprune.pretext._probe import classifier_on as classifier_on
from tf_structprune.pretext._probe import fine_tuned as fine_tuned
from tf_structprune.pretext._probe import linear_probe as linear_probe
from tf_structprune.pretext._rotations import RotationPrediction as RotationPrediction
from tf_structprune.pretext._rotations import rotations as rotations
