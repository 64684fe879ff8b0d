"""docs/interop.md: its scripts, run by its own commands, train."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adapters.megatron import build, runtime
from composer import load

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS = {
    next(word for word in shlex.split(command) if word in SCRIPTS): shlex.split(command.replace("\\\n", ""))
    for command in re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
}
LOSS = re.compile(r"\bloss:? (\d[\d.E+-]*)")


@pytest.fixture
def folder(tmp_path):
    """The page's scripts beside the spec that it speaks of."""
    first = (ROOT / "docs" / "first-spec.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", first, re.DOTALL | re.MULTILINE)
    (spec,) = [block for block in blocks if block.startswith("spec: 1")]
    for name, text in {**SCRIPTS, "my_llava.yaml": spec}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def losses(script, folder):
    """What a script prints when its command is typed in the folder."""
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        [bin_folder / COMMANDS[script][0], *COMMANDS[script][1:]],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-8000:]}"
    return [float(loss) for loss in LOSS.findall(done.stdout)]


def test_every_script_has_its_command():
    assert [*COMMANDS] == ["plain.py", "ddp.py", "pretrain.py"]
    assert len(SCRIPTS) == PAGE.count("```python")


@pytest.mark.parametrize("script", ["plain.py", "pretrain.py"])
def test_a_script_trains(script, folder):
    found = losses(script, folder)
    assert len(found) == 3
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.98 * found[0]


def test_ddp_trains_like_one_process(folder, monkeypatch):
    """A rank with pictures and a rank with text alone are one batch."""
    monkeypatch.syspath_prepend(folder)
    from batches import make_batch

    assert losses("ddp.py", folder) == pytest.approx(one_process(folder / "my_llava.yaml", make_batch), rel=1e-5)


def one_process(spec, make_batch):
    runtime.init(seed=1)
    model = build(load(spec)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = [make_batch(), make_batch(pictures=False)]
    tokens = sum(batch["loss_mask"].sum() for batch in batches)
    found = []
    for _ in range(3):
        optimizer.zero_grad()
        outputs = [model(**batch) for batch in batches]
        loss = sum((each * mask).sum() for each, mask in outputs) / tokens
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found
