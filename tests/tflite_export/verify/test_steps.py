import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from tflite_export.verify._steps import largest_steps

integers = arrays(np.int8, (6, 4))


@given(integers, integers)
def test_largest_steps_is_symmetric_and_does_not_wrap(a, b):
    assert largest_steps(a, a) == 0
    assert largest_steps(a, b) == largest_steps(b, a) == np.abs(a.astype(int) - b).max()
