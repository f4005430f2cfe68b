"""A Keras 2 (tf_keras) model or .h5 file -> an equivalent Keras 3 model; what files may claim to hold."""

from tf_structprune.legacy._from_legacy import from_legacy as from_legacy
from tf_structprune.legacy._hdf5 import check_counts as check_counts
from tf_structprune.legacy._hdf5 import check_datasets as check_datasets
from tf_structprune.legacy._hdf5 import check_growth as check_growth
from tf_structprune.legacy._reading import reading as reading
from tf_structprune.legacy._source import is_legacy as is_legacy
from tf_structprune.legacy._source import keras_version as keras_version
