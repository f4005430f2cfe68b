"""Words of 2 to 8 bits, grids, the step that suits them best, and how many bits each layer gets. NumPy only."""

from tf_structprune.fixed_point._allocate import allocate_bits as allocate_bits
from tf_structprune.fixed_point._allocate import weight_bytes as weight_bytes
from tf_structprune.fixed_point._format import QFormat as QFormat
from tf_structprune.fixed_point._format import multiples as multiples
from tf_structprune.fixed_point._format import to_grid as to_grid
from tf_structprune.fixed_point._format import to_integers as to_integers
from tf_structprune.fixed_point._format import word_range as word_range
from tf_structprune.fixed_point._grid import GRIDS as GRIDS
from tf_structprune.fixed_point._grid import MEASURED as MEASURED
from tf_structprune.fixed_point._grid import RECTIFIED as RECTIFIED
from tf_structprune.fixed_point._grid import SIGNED as SIGNED
from tf_structprune.fixed_point._grid import Grid as Grid
from tf_structprune.fixed_point._grid import SignalGrid as SignalGrid
from tf_structprune.fixed_point._grid import WeightGrid as WeightGrid
from tf_structprune.fixed_point._grid import grid_config as grid_config
from tf_structprune.fixed_point._grid import grid_of as grid_of
from tf_structprune.fixed_point._recipe import SIGNED_SIGNAL_BITS as SIGNED_SIGNAL_BITS
from tf_structprune.fixed_point._recipe import FixedPoint as FixedPoint
from tf_structprune.fixed_point._recipe import LayerBits as LayerBits
from tf_structprune.fixed_point._shared_grid import SharedGrid as SharedGrid
from tf_structprune.fixed_point._sharing import SHARINGS as SHARINGS
from tf_structprune.fixed_point._sharing import SharedValues as SharedValues
from tf_structprune.fixed_point._sharing import check_sharing as check_sharing
from tf_structprune.fixed_point._sharing import share_values as share_values
from tf_structprune.fixed_point._step import optimal_format as optimal_format
from tf_structprune.fixed_point._step import optimal_step as optimal_step
