"""What each layer loses with few bits while the rest is in float, and the recipe that follows from it."""

from tf_structprune.sensitivity._cache import MeasurementCache as MeasurementCache
from tf_structprune.sensitivity._cache import open_cache as open_cache
from tf_structprune.sensitivity._fingerprint import fingerprint as fingerprint
from tf_structprune.sensitivity._plot import check_matplotlib as check_matplotlib
from tf_structprune.sensitivity._plot import write_figure as write_figure
from tf_structprune.sensitivity._report import Measurement as Measurement
from tf_structprune.sensitivity._report import SensitivityReport as SensitivityReport
from tf_structprune.sensitivity._sweep import measure_sensitivity as measure_sensitivity
from tf_structprune.sensitivity._sweep import score_recipe as score_recipe
