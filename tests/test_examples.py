import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
# What each example leaves behind.
EXAMPLES = {
    "disentangle.py": ["disentangle_vae.png", "disentangle_dip-vae-ii.png"],
    "flow_gan.py": ["flow_gan.png"],
    "ladder.py": ["ladder.png"],
    "pixelgan_clusters.py": ["pixelgan_clusters.png"],
    "posterior.py": ["posterior.png"],
    "sbn_vimco.py": ["sbn_curves.png", "sbn_dreams.png"],
    "vae_flow_posterior.py": ["vae_digits.png", "vae_posterior.png"],
    "wgan_toy.py": ["wgan_25_gaussians_wgan_gp.png", "wgan_swiss_roll_gan.png", "wgan_slopes.png"],
    "by_hand.py": ["breast_cancer.csv", "breast_cancer.png"],
    "table.py": ["breast_cancer.safetensors", "scored.csv", "new.parquet", "report.html"],
}


def test_every_example_is_tested():
    assert sorted(EXAMPLES) == sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_runs(example, tmp_path):
    command = [sys.executable, str(FOLDER / example), "--quick", "--out", str(tmp_path)]
    # One thread each, like the tests beside it: more than there are cores wait for one another.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    for name in EXAMPLES[example]:
        assert (tmp_path / name).stat().st_size > 1_000
