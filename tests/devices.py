"""Devices of fixed speed: what is decided by latency is the same in every run and on every machine."""

import numpy as np


class ByMacs:
    """A device on which a file takes as many microseconds as it has MACs; it slows down from call to call.

    Attributes:
        drift: how much longer all takes in each call than in the one before.
        calls: number of files and of runs of each call.
    """

    def __init__(self, drift=0.0):
        self.drift, self.calls = drift, []

    def latencies_us(self, files, *, runs):
        slowdown = 1 + self.drift * len(self.calls)
        self.calls.append((len(files), runs))
        return _rows([slowdown * file.description.macs for file in files], runs)


class Scripted:
    """A device that gives these microseconds, a call each, and refuses any further one."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def latencies_us(self, files, *, runs):
        answer = self.answers.pop(0)
        assert len(answer) == len(files)
        return _rows(answer, runs)


def _rows(latencies, runs):
    """The same in every run, but for one that something else disturbed."""
    rows = np.repeat(np.array(latencies, float)[:, None], runs, axis=1)
    rows[: len(rows) // 2, 0] *= 1 if runs < 3 else 50
    return rows
