"""Shortcuts around single convolutions: put in, fused into the kernels, taken out with their layer."""

from tf_structprune.fuse._fuse import fuse_shortcuts as fuse_shortcuts
from tf_structprune.fuse._insert import residual_convolutions as residual_convolutions
from tf_structprune.fuse._shortcut import Shortcut as Shortcut
from tf_structprune.fuse._shortcut import shortcuts_of as shortcuts_of
from tf_structprune.fuse._sites import Site as Site
from tf_structprune.fuse._sites import find_sites as find_sites
