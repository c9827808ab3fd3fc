"""What ``trojai-seam inspect`` says about a file or a model directory. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import DatasetProblem, RefusedArchive, UnsupportedModel, shown
from .loading import Budget, SavedModel, describe, read_model, render
from .loading.nodes import Instance
from .loading.tokenizer import describe_tokenizer, tokenizer_from
from .networks import identify, load_user_networks
from .rounds import ModelDirectory, detect_round, model_directory


def inspect_path(path: Path, budget: Budget, networks: Path | None = None, entry: str | None = None) -> dict[str, Any]:
    """JSON-safe findings about a ``torch.save`` file, and about the model directory it lies in if it is a ``model.pt``.

    ``entry`` is the key of the network where the file is a checkpoint of several.

    Raises:
        RefusedArchive: the file is missing, damaged or hostile.
        DatasetProblem: no such directory, or its config is unreadable.
    """
    if networks is not None:
        load_user_networks(networks)
    directory = model_directory(path) if path.is_dir() or (path.name == "model.pt" and path.exists()) else None
    saved = read_model(path if directory is None else directory.model_path, budget, describing=True, entry=entry)
    findings = describe(saved)
    try:
        facts = identify(saved, {} if directory is None else directory.config)
        findings["network"] = {
            "architecture": facts.architecture,
            "num_classes": facts.num_classes,
            "input_shape": None if facts.input_shape is None else list(facts.input_shape),
            "notes": list(facts.notes),
        }
    except UnsupportedModel as problem:
        findings["network"] = None
        findings["network_problem"] = str(problem)
    if directory is not None:
        findings["model_directory"] = _directory_findings(directory)
    if saved.kind == "other" and isinstance(saved.content, Instance) and "Tokenizer" in saved.content.cls.name:
        findings["tokenizer"] = _tokenizer_findings(saved)
    return findings


def _tokenizer_findings(saved: SavedModel) -> dict[str, Any]:
    try:
        return describe_tokenizer(tokenizer_from(saved.path, saved.content))
    except (RefusedArchive, UnsupportedModel) as problem:
        return {"problem": str(problem)}


def _directory_findings(directory: ModelDirectory) -> dict[str, Any]:
    findings: dict[str, Any] = {"model_id": directory.model_id, "poisoned": None, "round": None}
    try:
        findings["poisoned"] = directory.poisoned
        findings["round"] = detect_round([directory]).name
    except DatasetProblem as problem:
        findings["problem"] = str(problem)
    return findings


def render_inspection(findings: dict[str, Any], tensors: bool = False) -> str:
    """The findings as text."""
    lines = []
    directory = findings.get("model_directory")
    if directory is not None:
        truth = {True: "poisoned", False: "clean", None: "not said whether poisoned"}[directory["poisoned"]]
        lines.append(f"model       {shown(directory['model_id'])}, {truth}, round {directory['round'] or 'not known'}")
    network, tokenizer = findings["network"], findings.get("tokenizer")
    if tokenizer is not None:
        lines += _tokenizer_lines(tokenizer)
    elif network is not None:
        classes = "" if network["num_classes"] is None else f", {network['num_classes']} classes"
        shape = "" if network["input_shape"] is None else f", input {'x'.join(map(str, network['input_shape']))}"
        lines.append(f"network     {shown(network['architecture'])}{classes}{shape}")
        lines += [f"            note: {shown(note)}" for note in network["notes"]]
    else:
        lines.append(f"network     cannot be rebuilt: {findings['network_problem']}")
    return "\n".join([*lines, render(findings, tensors).rstrip("\n")])


def _tokenizer_lines(tokenizer: dict[str, Any]) -> list[str]:
    if "problem" in tokenizer:
        return [f"tokenizer   cannot be rebuilt: {shown(tokenizer['problem'], 400)}"]
    kind = {"bert": "WordPiece", "byte-bpe": "byte-level BPE"}[tokenizer["family"]]
    traits = ["fast" if tokenizer["fast"] else "slow", f"{tokenizer['vocabulary']:,} tokens"]
    traits += ["lower-cases"] * tokenizer["lower_case"] + ["puts a blank in front"] * (
        tokenizer["prefix_space"] is True
    )
    length = tokenizer["model_max_length"]
    traits.append("no maximum length" if length is None else f"at most {length:,} tokens")
    specials = ", ".join(
        f"{name.removesuffix('_token')} {shown(special['text'], 40)} {'?' if special['id'] is None else special['id']}"
        for name, special in tokenizer["special_tokens"].items()
    )
    notes = [f"            note: {shown(note)}" for note in tokenizer["notes"]]
    return [f"tokenizer   {kind}, {', '.join(traits)}", f"            {specials}", *notes]
