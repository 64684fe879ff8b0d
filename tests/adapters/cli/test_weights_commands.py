"""import and export: a checkpoint that transformers saved, to a composed one and back, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from adapters.cli.arguments import spec_file
from adapters.parity.oracle import build_oracle
from adapters.parity.tiny import shrink
from composer import load

Run = Callable[..., object]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the shipped spec, saved by transformers."""
    folder = tmp_path_factory.mktemp("hf")
    spec = spec_file("gemma4_vl")
    build_oracle(load(spec, hf=shrink(load(spec).hf_config)), seed=3).save_pretrained(folder)
    return folder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in a folder's safetensors."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_there_and_back_is_the_same_bits(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    composed, back = tmp_path / "composed", tmp_path / "back"
    imported = run("import", "gemma4_vl", str(checkpoint), str(composed))
    assert imported.status == 0, imported.err
    before = tensors(checkpoint)
    assert imported.out == f"{composed}: {len(before)} tensors of {checkpoint}\n"
    assert "language_model.decoder.layers.0.self_attention.linear_qkv.weight" in tensors(composed)

    exported = run("export", str(composed), str(back), "--max-shard-gb", "0.0005")
    assert exported.status == 0, exported.err
    assert len(list(back.glob("*.safetensors"))) > 1
    after = tensors(back)
    assert after.keys() == before.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_the_dtype_of_the_checkpoint_is_kept_unless_told(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    save_file({name: tensor.bfloat16() for name, tensor in tensors(checkpoint).items()}, half / "model.safetensors")
    (half / "config.json").write_bytes((checkpoint / "config.json").read_bytes())

    assert run("import", "gemma4_vl", str(half), str(tmp_path / "kept")).status == 0
    assert {tensor.dtype for tensor in tensors(tmp_path / "kept").values()} == {torch.bfloat16}
    widened = run("import", "gemma4_vl", str(half), str(tmp_path / "wide"), "--dtype", "float32")
    assert {tensor.dtype for tensor in tensors(tmp_path / "wide").values()} == {torch.float32}
    assert "from BF16 to torch.float32" in widened.out


def test_a_node_without_weights_is_said_to_be_fresh(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    """A new projector between a known tower and a known decoder."""
    parts = tmp_path / "parts"
    parts.mkdir()
    kept = {name: tensor for name, tensor in tensors(checkpoint).items() if "embed_vision" not in name}
    save_file(kept, parts / "model.safetensors")
    (parts / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    fresh = ("--set", "nodes.embed_vision.weights=null")
    imported = run("import", "gemma4_vl", str(parts), str(tmp_path / "composed"), *fresh)
    assert imported.status == 0, imported.err
    assert imported.out.splitlines() == [
        f"{tmp_path / 'composed'}: {len(kept)} tensors of {parts}",
        "fresh weights, not from the checkpoint (no `weights` in the spec): embed_vision",
    ]


def test_weights_that_are_there_are_not_overwritten(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    assert run("import", "gemma4_vl", str(checkpoint), str(tmp_path)).status == 0
    again = run("import", "gemma4_vl", str(checkpoint), str(tmp_path))
    assert again.status == 2
    assert "holds weights already" in again.err


def test_a_composed_checkpoint_that_does_not_fit_says_everything(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    composed = tmp_path / "composed"
    run("import", "gemma4_vl", str(checkpoint), str(composed))
    held = tensors(composed)
    held["language_model.decoder.final_layernorm.weight"] = torch.zeros(3)
    held["stranger"] = torch.zeros(2)
    del held["embed_vision.embedding_projection.weight"]
    save_file(held, composed / "model.safetensors")

    outcome = run("export", str(composed), str(tmp_path / "back"))
    assert outcome.status == 2
    assert "missing: embed_vision.embedding_projection.weight" in outcome.err
    assert "shape: language_model.decoder.final_layernorm.weight: expected" in outcome.err
    assert "surplus: stranger [2]" in outcome.err
    assert not (tmp_path / "back").exists()


def test_a_hugging_face_folder_is_no_composed_checkpoint(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    outcome = run("export", str(checkpoint), str(tmp_path / "back"))
    assert outcome.status == 2
    assert "not a composed checkpoint" in outcome.err


def test_a_folder_that_is_not_there(run: Run, tmp_path: Path) -> None:
    outcome = run("import", "gemma4_vl", str(tmp_path / "none"), str(tmp_path / "composed"))
    assert (outcome.status, outcome.err) == (2, f"{tmp_path / 'none'}: no such file or directory.\n")


def test_export_says_which_input_it_trusts(run: Run) -> None:
    printed = " ".join(run("export", "--help").out.replace("│", " ").split())
    assert "must be one that you trust, because torch unpickles its .metadata" in printed
