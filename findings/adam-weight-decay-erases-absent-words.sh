#!/usr/bin/env bash
# torch 2.8.0: the weight decay of torch.optim.Adam moves parameters that get no gradient by about the whole learning
# rate per step, nearly whatever the decay is: rows of an embedding for words that the training texts lack are erased.
#
# Who meets it: whoever fine-tunes a text model on a few examples by Adam with a small weight_decay, as published
# scripts of several backdoor defences do (rates and decays of 1e-5 to 1e-3). Accuracy on texts with other words falls,
# attack success falls with it where the trigger is such a word, and a repair looks better than it is.
#
# Why: Adam's decay is a term of the gradient (decay · w), which Adam then divides by its own running size. Where there
# is no other gradient, what is left of the term is its sign. AdamW takes decay · rate · w off instead.
#
# Seen here, 200 steps of rate 1e-3 on an embedding of 1,000 words (deviation 0.05) of which 500 occur:
#   Adam,  decay 5e-4:  absent words keep   2 % of their length
#   Adam,  decay 1e-6:  absent words keep   3 %
#   AdamW, decay 5e-4:  absent words keep 100 %
#   SGD,   decay 5e-4:  absent words keep 100 %
#
# Ends with 1 if that is so no more. Needs python3 (3.9 to 3.13) and a network that reaches PyPI.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.8.0 numpy==2.2.6 # the figures are of a CPU
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch

WORDS, SEEN, STEPS, RATE = 1000, 500, 200, 1e-3
print("torch", torch.__version__)


def kept(optimizer, decay):
    """Of the length of the rows of words that never occur."""
    torch.manual_seed(0)
    words, head = torch.nn.Embedding(WORDS, 16), torch.nn.Linear(16, 2)
    torch.nn.init.normal_(words.weight, std=0.05)
    before = words.weight[SEEN:].detach().norm(dim=1)
    taken = optimizer([*words.parameters(), *head.parameters()], lr=RATE, weight_decay=decay)
    for _ in range(STEPS):
        texts, labels = torch.randint(0, SEEN, (32, 8)), torch.randint(0, 2, (32,))
        taken.zero_grad()
        torch.nn.functional.cross_entropy(head(words(texts).mean(1)), labels).backward()
        assert not words.weight.grad[SEEN:].any()
        taken.step()
    return float((words.weight[SEEN:].detach().norm(dim=1) / before).mean())


found = {}
for optimizer, decay in ((torch.optim.Adam, 5e-4), (torch.optim.Adam, 1e-6), (torch.optim.AdamW, 5e-4), (torch.optim.SGD, 5e-4)):
    found[optimizer.__name__, decay] = share = kept(optimizer, decay)
    print(f"{optimizer.__name__:5} decay {decay:g}: absent words keep {share:.1%} of their length")
erased = max(found["Adam", 5e-4], found["Adam", 1e-6]) < 0.1
untouched = found["AdamW", 5e-4] > 0.99 and found["SGD", 5e-4] > 0.99
print("as described" if erased and untouched else "NOT as described: has it changed?")
sys.exit(not (erased and untouched))
PYTHON
