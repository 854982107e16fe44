"""Random PHYLIP files: none is misread, none is refused, and none that holds more or less than its header says is read."""

import numpy as np
import pytest
from phylip_layouts import random_layout

from vbpi_mix.errors import AlignmentError
from vbpi_mix.phylo.data.alignment import read_alignment
from vbpi_mix.phylo.data.plain_formats import read_phylip


def check_layouts(seeds, path):
    for seed in seeds:
        layout = random_layout(np.random.default_rng(seed))
        records = read_phylip(layout.text.lstrip(), None, path)
        assert (tuple(records.names), tuple(records.rows)) == (layout.names, layout.rows), f"seed {seed}: {layout.how}"


def test_random_layouts_are_read_as_they_are(tmp_path):
    check_layouts(range(300), tmp_path / "x.phy")


@pytest.mark.slow
def test_6000_random_layouts_are_read_as_they_are(tmp_path):
    check_layouts(range(6_000), tmp_path / "x.phy")


def test_a_row_too_many_or_too_few_is_never_cut_in_silence(tmp_path):
    path = tmp_path / "x.phy"
    for seed in range(150):
        rng = np.random.default_rng(seed)
        layout = random_layout(rng)
        lines = layout.text.lstrip().split("\n")
        filled = [k for k, line in enumerate(lines) if k and line.strip()]
        if seed % 2:
            lines.insert(filled[-1] + 1, f"another_one  {layout.rows[0]}")
        else:
            del lines[filled[int(rng.integers(len(filled)))]]
        path.write_text("\n".join(lines))
        with pytest.raises(AlignmentError, match=str(path)):
            read_alignment(path)
