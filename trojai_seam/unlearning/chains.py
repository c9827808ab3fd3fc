"""Which networks can be computed side by side: those that are nothing but a chain of a few layers that we know.

What a chain does is known from the types of its modules, each of which must be exactly the class that we know: a
subclass may do anything in its ``forward``. A class with a ``forward`` of its own may say in a method
``steps_in_order()`` that it is a chain, and of what: modules, and the words ``first-step`` (of a sequence ``[N, T, E]``
only the first step is used) or ``single-step`` (there is but one). An LSTM or GRU among them stands for the state of
its last layer after that step, both directions one behind the other. Everything else is left to the engine for one
network.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from torch import nn

STEPS = ("first-step", "single-step")


@dataclass(frozen=True)
class Link:
    """One step of a chain.

    Attributes:
        kind: ``linear``, ``recurrent``, ``dropout``, ``flatten``, ``relu``, ``tanh``, ``sigmoid``, or one of STEPS.
        numbers: what else decides what it computes, apart from weights: sizes, the share that is dropped.
        module: which holds its weights.
    """

    kind: str
    numbers: tuple[int | float | str, ...] = ()
    module: nn.Module | None = None

    @property
    def layer(self) -> int:
        """Which layer of its module a recurrent link is."""
        return int(self.numbers[1])

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for links that can be stacked."""
        return (self.kind, *self.numbers)


Chain = tuple[Link, ...]


def chain_of(model: nn.Module) -> Chain | None:
    """The links of ``model`` from input to scores, or ``None`` if it is no chain.

    Every parameter belongs to exactly one link; there are no buffers and no hooks.
    """
    modules = list(model.modules())
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in modules):
        return None
    chain = _links(model)
    if chain is None or next(model.buffers(), None) is not None:
        return None
    # A layer that is used twice would be two layers in a stack; one that is unused would be in none. (All layers of an
    # LSTM or GRU are links of one module.)
    holders = [
        link.module for link in chain if link.module is not None and not (link.kind == "recurrent" and link.layer)
    ]
    linked = [id(parameter) for holder in holders for parameter in holder.parameters()]
    there = [id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)]
    return chain if sorted(linked) == sorted(there) and len(set(linked)) == len(linked) else None


def _links(module: nn.Module) -> Chain | None:
    known = _KNOWN.get(type(module))
    if known is not None:
        return known(module)
    # Not an inherited declaration: the subclass may have another forward.
    declared = vars(type(module)).get("steps_in_order")
    return None if declared is None else _joined(declared(module), declared=True)


def _joined(parts: Iterable[nn.Module | str], declared: bool = False) -> Chain | None:
    """Links of modules one behind the other."""
    links: list[Link] = []
    for part in parts:
        found: Chain | None
        if isinstance(part, str):
            found = (Link(part),) if part in STEPS else None
        elif declared and isinstance(part, nn.LSTM | nn.GRU):
            found = _recurrent(part)
        else:
            found = _links(part)
        if found is None:
            return None
        links += found
    return tuple(links)


def _linear(module: nn.Module) -> Chain:
    assert isinstance(module, nn.Linear)  # noqa: S101 - by the table below
    return (Link("linear", (module.in_features, module.out_features, module.bias is not None), module),)


def _dropout(module: nn.Module) -> Chain | None:
    assert isinstance(module, nn.Dropout)  # noqa: S101
    return _dropped(module.p)


def _dropped(share: float) -> Chain | None:
    if not 0 <= share < 1:
        return None
    return (Link("dropout", (share,)),) if share else ()


def _flatten(module: nn.Module) -> Chain | None:
    assert isinstance(module, nn.Flatten)  # noqa: S101
    return (Link("flatten"),) if (module.start_dim, module.end_dim) == (1, -1) else None


def _sequential(module: nn.Module) -> Chain | None:
    return _joined(module.children()) if isinstance(module, nn.Sequential) else None


def _recurrent(rnn: nn.LSTM | nn.GRU) -> Chain | None:
    between = _dropped(rnn.dropout)
    if type(rnn) not in (nn.LSTM, nn.GRU) or not rnn.batch_first or rnn.proj_size or between is None:
        return None
    links: list[Link] = []
    for layer in range(rnn.num_layers):
        inputs = rnn.input_size if layer == 0 else rnn.hidden_size * (2 if rnn.bidirectional else 1)
        numbers = (type(rnn).__name__, layer, inputs, rnn.hidden_size, rnn.bidirectional, rnn.bias)
        links += [*(between if layer else ()), Link("recurrent", numbers, rnn)]
    return tuple(links)


_KNOWN: dict[type[nn.Module], Callable[[nn.Module], Chain | None]] = {
    nn.Linear: _linear,
    nn.ReLU: lambda module: (Link("relu"),),
    nn.Tanh: lambda module: (Link("tanh"),),
    nn.Sigmoid: lambda module: (Link("sigmoid"),),
    nn.Identity: lambda module: (),
    nn.Dropout: _dropout,
    nn.Flatten: _flatten,
    nn.Sequential: _sequential,
}
