"""Files damaged at random, and what becomes of them."""

from benchmarks.damaged_files._formats import FORMATS as FORMATS
from benchmarks.damaged_files._good import Good as Good
from benchmarks.damaged_files._good import swept as swept
from benchmarks.damaged_files._traps import Trap as Trap
