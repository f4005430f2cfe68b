"""What the layers of a model read and make for samples, call by call: all samples of one call before the next."""

from tf_structprune.observe._input_moments import MomentsInTurn as MomentsInTurn
from tf_structprune.observe._input_moments import input_moments as input_moments
from tf_structprune.observe._patches import MOST_BYTES as MOST_BYTES
from tf_structprune.observe._patches import MOST_INPUTS as MOST_INPUTS
from tf_structprune.observe._patches import Patches as Patches
from tf_structprune.observe._patches import patches_of as patches_of
from tf_structprune.observe._pixels import Pixels as Pixels
from tf_structprune.observe._pixels import taken as taken
from tf_structprune.observe._shelf import Shelf as Shelf
from tf_structprune.observe._statistics import mean_and_variance as mean_and_variance
from tf_structprune.observe._sums import SumEnd as SumEnd
from tf_structprune.observe._sums import is_batch_normalization as is_batch_normalization
from tf_structprune.observe._sums import is_sum as is_sum
from tf_structprune.observe._sums import sum_ends as sum_ends
from tf_structprune.observe._walk import Walk as Walk
