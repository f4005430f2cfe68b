"""A Keras 2 (tf_keras) model or .h5 file -> an equivalent Keras 3 model."""

from tf_structprune.legacy._from_legacy import from_legacy as from_legacy
from tf_structprune.legacy._source import is_legacy as is_legacy
from tf_structprune.legacy._source import keras_version as keras_version
