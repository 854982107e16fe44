"""A torch model read again from the checkpoint of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from vbpi_mix.errors import CheckpointError
from vbpi_mix.training.checkpoint import MISFITS, load_checkpoint
from vbpi_mix.training.run_config import check_recorded
from vbpi_mix.training.run_directory import RunDirectory


def read_into(model: torch.nn.Module, directory: RunDirectory, kind: str, also: str | None = None) -> Mapping[str, Any]:
    """Give a model the parameters that the checkpoint of a run holds; returns the state of the checkpoint.

    kind: of the run. also: an entry of the state, beside the model, that must be there. CheckpointError if the checkpoint is
    missing, damaged or foreign, or the model is another; RunDirectoryError if config.yaml is not what it was trained by.
    """
    checkpoint = load_checkpoint(directory.checkpoint, kind)
    check_recorded(directory, directory.read_config(), checkpoint.config)
    state = checkpoint.problem
    try:
        model.load_state_dict(state["model"])
        if also is not None:
            state[also]
    except MISFITS as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(f"{directory.checkpoint} does not fit the model of its config.yaml: {reason}") from error
    return state
