"""The stack on CUDA: near-same numbers as on the CPU, and no bit that depends on company where its size is kept."""

from __future__ import annotations

import pytest
import torch

from tests.unlearning.test_ensemble import _good, _member, _shortened, _state
from trojai_seam.unlearning.ensemble import Member, unlearn_together

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def _on_cuda(member: Member) -> Member:
    return Member(member.model.cuda(), member.task, member.fit.to("cuda"), member.seed)


def test_without_dropout_cuda_ends_as_the_cpu_does() -> None:
    config = _shortened("authors-trojai")
    cpu = unlearn_together([_member("linear", seed) for seed in range(4)], config)
    cuda = unlearn_together([_on_cuda(_member("linear", seed)) for seed in range(4)], config, rows=8)
    for one, other in zip(cpu, cuda, strict=True):
        torch.testing.assert_close(_state(other).cpu(), _state(one), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", ["lstm", "gru", "fully-connected-relu", "sigmoid"])
def test_company_changes_no_bit_in_a_stack_of_one_size(kind: str) -> None:
    config = _shortened("text-embeddings")
    members = [_on_cuda(_member(kind, seed)) for seed in range(5)]
    together = unlearn_together(members, config, rows=8)
    for member, result in zip(members, together, strict=True):
        alone = unlearn_together([member], config, rows=8)[0]
        assert torch.equal(_state(alone), _state(result))
        assert [e.loss for e in _good(alone).trace] == [e.loss for e in _good(result).trace]
