"""Layers that go whole: shortcuts around convolutions, fused into the kernels; convolutions and blocks taken out."""

from tf_structprune.fuse._fuse import fuse_shortcuts as fuse_shortcuts
from tf_structprune.fuse._insert import as_functional as as_functional
from tf_structprune.fuse._insert import residual_convolutions as residual_convolutions
from tf_structprune.fuse._removable import Removable as Removable
from tf_structprune.fuse._removable import find_removable as find_removable
from tf_structprune.fuse._remove import Passed as Passed
from tf_structprune.fuse._remove import hollowed as hollowed
from tf_structprune.fuse._remove import without_passed as without_passed
from tf_structprune.fuse._shortcut import Shortcut as Shortcut
from tf_structprune.fuse._shortcut import shortcuts_of as shortcuts_of
from tf_structprune.fuse._sites import Site as Site
from tf_structprune.fuse._sites import find_sites as find_sites
