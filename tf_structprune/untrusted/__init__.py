"""Files of strangers: what they claim to hold, and one sentence for whatever they make parsers raise."""

from tf_structprune.untrusted._claims import check_counts as check_counts
from tf_structprune.untrusted._claims import check_datasets as check_datasets
from tf_structprune.untrusted._claims import check_growth as check_growth
from tf_structprune.untrusted._reading import reading as reading
