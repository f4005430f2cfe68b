"""What lies behind a call: who alone reads a tensor."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tf_structprune.graph._calls import CallList, LayerCall, TensorKey


@dataclass(frozen=True)
class Readers:
    """Which calls could do the work of what follows them, because nobody else would notice.

    Attributes:
        once: names of the layers that are called once.
        only: by tensor, the call that alone reads it, where the model does not return the tensor and the
            reader's layer is called once.
    """

    once: frozenset[str]
    only: Mapping[TensorKey, LayerCall]

    def behind(self, call: LayerCall) -> Iterator[LayerCall]:
        """The calls behind a call, each of which alone reads the one before it."""
        while (reader := self.only.get(call.output)) is not None:
            yield reader
            call = reader


def readers_of(found: CallList) -> Readers:
    """Who reads the tensors of a model.

    Args:
        found: its calls.
    """
    times = Counter(call.name for call in found.calls)
    uses = Counter([*found.outputs, *(key for call in found.calls for key in call.inputs)])
    once = frozenset(name for name, count in times.items() if count == 1)
    only = {key: call for call in found.calls for key in call.inputs if uses[key] == 1 and call.name in once}
    return Readers(once, only)
