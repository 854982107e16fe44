"""Files and conditions that users of phylogenetics programs met, each a script that runs `vbpi-mix` and says what it saw.

The scripts lie beside the benchmark data, in `cases`. Each holds its own right value (its head says where that is from), and
prints a last line that begins with RIGHT, GAP or WRONG.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = (
    "01-nexus-hyphen-names", "02-nexus-saved-by-mesquite", "04-nexus-partitions", "06-nexus-uncertain-states",
    "11-iqtree-renamed-taxa", "13-mrbayes-killed-run", "14-fasttree-polytomy", "19-disk-full",
    "23-single-tree-beside-alignment", "25-phylip-with-more-than-its-header-says", "29-quotes-in-what-is-written",
    "31-phylip-sequential-odd-number", "34-identical-sequences-in-ufboot",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_case_from_the_field_is_right(case, benchmark_data, tmp_path):
    script = benchmark_data.parent / "cases" / case / "case.sh"
    if not script.is_file() or shutil.which("bash") is None:
        pytest.skip(f"{script} is not here, or no bash")
    own = Path(sys.executable).parent
    assert (own / "vbpi-mix").is_file()
    path = f"{own}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", script], env={**os.environ, "PATH": path, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=600
    )
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr
    assert last.startswith("RIGHT"), last
    assert done.returncode == 0
