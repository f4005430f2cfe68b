"""What a run has done so far, in files that a killed process leaves whole."""

from tf_structprune.resume._archive import check_archive as check_archive
from tf_structprune.resume._archive import read_arrays as read_arrays
from tf_structprune.resume._fingerprint import differences as differences
from tf_structprune.resume._fingerprint import digest as digest
from tf_structprune.resume._fingerprint import identity as identity
from tf_structprune.resume._fingerprint import wiring as wiring
from tf_structprune.resume._state_file import State as State
from tf_structprune.resume._state_file import read_fingerprint as read_fingerprint
from tf_structprune.resume._state_file import read_state as read_state
from tf_structprune.resume._state_file import write_state as write_state
from tf_structprune.resume._state_folder import StateFolder as StateFolder
