"""Nodes that start from checkpoints of their own, against transformers' own models of those checkpoints."""

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

import adapters.megatron
from adapters.huggingface.checkpoint import SINGLE
from adapters.huggingface.checkpoint_error import CheckpointError
from adapters.huggingface.composed_tensors import composed_tensors
from adapters.huggingface.export_weights import export_weights
from adapters.huggingface.sources import parse_sources, sources_of
from adapters.huggingface.start import Start, start_nodes
from adapters.parity.report import relative_error
from adapters.plans.meta_model import fake_rank
from composer import Graph
from composer.plans.layout import Layout
from tests.adapters.huggingface.source_checkpoints import VOCAB, composed, write

PAIRS = [("siglip", "qwen3_moe"), ("clip", "qwen3_tied"), ("dinov2", "qwen3_moe")]
TOWERS = {"siglip": "vision_model.", "clip": "vision_model.", "dinov2": ""}
ROWS = 128  # a vocabulary of 100 words and one new token, filled up to a multiple of 64


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {name: write(folder, name) for pair in PAIRS for name in pair}


@pytest.fixture(params=PAIRS, ids="-".join)
def graph(request, sources) -> Graph:
    return composed(*(sources[name] for name in request.param))


def started(graph: Graph, **overrides) -> tuple[torch.nn.Module, Start]:
    torch.manual_seed(1)
    model = adapters.megatron.build(graph, **overrides).eval()
    return model, start_nodes(model, sources_of(graph))


def by_hand(graph: Graph, exported: Path) -> torch.nn.Module:
    """transformers' model of the exported configuration, filled from the two sources without our code."""
    parts = graph.hf.compose.parts
    tower = transformers.AutoModel.from_pretrained(parts["vision_config"])
    tower = getattr(tower, "vision_model", tower)
    text = transformers.AutoModelForCausalLM.from_pretrained(parts["text_config"], attn_implementation="eager")
    config = transformers.AutoConfig.from_pretrained(exported)
    made = transformers.LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")
    made.model.vision_tower.load_state_dict(tower.state_dict())
    for table in (text.model.embed_tokens, text.lm_head):
        old = table.weight.detach()
        if len(old) == VOCAB:  # a tied table is there twice, and grows once
            mean = old.double().mean(0).float()
            table.weight = torch.nn.Parameter(torch.cat([old, mean.expand(ROWS - VOCAB, -1)]))
    made.model.language_model.load_state_dict(text.model.state_dict())
    made.lm_head.load_state_dict(text.lm_head.state_dict())
    projector = load_file(exported / SINGLE)
    made.model.multi_modal_projector.load_state_dict(
        {
            name.removeprefix("multi_modal_projector."): value
            for name, value in projector.items()
            if name.startswith("multi_modal_projector.")
        }
    )
    return made.eval()


def batch(graph: Graph) -> dict[str, Tensor]:
    torch.manual_seed(2)
    rows = 16 + (graph.hf_config["vision_config"]["model_type"] != "siglip_vision_model")
    ids = torch.randint(3, VOCAB, (2, 30))
    ids[:, 4 : 4 + rows] = graph.tokens["image"]
    return {"input_ids": ids, "pixel_values": torch.rand(2, 3, 16, 16)}


@torch.no_grad()
def test_the_export_is_the_parts_put_together(graph, tmp_path):
    model, _ = started(graph)
    export_weights(model, tmp_path)
    inputs = batch(graph)
    ours, theirs = model(**inputs), by_hand(graph, tmp_path)(**inputs).logits
    assert theirs.shape == (2, 30, ROWS)
    assert relative_error(ours, theirs) < 1e-5
    reloaded = transformers.LlavaForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert relative_error(ours, reloaded(**inputs).logits) < 1e-6


def test_every_tensor_is_accounted_for(graph, sources):
    """Reused and unused are all of both files, each once; fresh are all others of the model."""
    _, start = started(graph)
    report = {each.node: each for each in start.nodes}
    for node, tower in (("vision_tower", True), ("language_model", False)):
        source = report[node].source
        held = set(load_file(source / SINGLE))
        reused = [name for name, _ in report[node].reused]
        prefix = TOWERS[source.name] if tower else ""
        assert sorted(reused) == sorted(name for name in held if name.startswith(prefix))
        assert set(start.unused[source]) == held - set(reused)
        assert report[node].fresh == ()
    expected = [f"projector.linear_{number}.{what}" for number in (1, 2) for what in ("weight", "bias")]
    assert list(report["projector"].fresh) == expected
    assert report["projector"].source is None
    tables = [(each.table, each.old, each.rows) for each in report["language_model"].grown]
    names = ["embedding.word_embeddings.weight", "output_layer.weight"]
    tied = graph.hf_config["text_config"]["tie_word_embeddings"]
    assert tables == [(f"language_model.{name}", VOCAB, ROWS) for name in names[: 1 if tied else 2]]


def test_what_a_tower_for_words_holds_is_unused(sources):
    graph = composed(sources["siglip"], sources["qwen3_moe"])
    _, start = started(graph)
    unused = start.unused[sources["siglip"]]
    assert {name.partition(".")[0] for name in unused} == {"text_model", "logit_scale", "logit_bias"}
    assert start.unused[sources["qwen3_moe"]] == ()


def test_new_rows_are_the_mean_and_old_ones_stay(sources):
    graph = composed(sources["siglip"], sources["qwen3_moe"])
    assert graph.tokens == {"image": VOCAB}
    model, _ = started(graph)
    held = load_file(sources["qwen3_moe"] / SINGLE)
    for ours, theirs in (("embedding.word_embeddings", "model.embed_tokens"), ("output_layer", "lm_head")):
        table, old = model.get_parameter(f"language_model.{ours}.weight"), held[f"{theirs}.weight"]
        assert torch.equal(table[:VOCAB], old)
        assert table.shape[0] == ROWS
        for row in table[VOCAB:]:
            torch.testing.assert_close(row.double(), old.double().sum(0) / VOCAB, rtol=0, atol=1e-8)


def test_ranks_hold_their_part_of_grown_tables(sources):
    """Row 100 of 128 is on the second of two tensor-parallel ranks; both see the mean of all rows."""
    graph = composed(sources["siglip"], sources["qwen3_moe"])
    whole = {name: tensor.detach().clone() for name, tensor in composed_tensors(started(graph)[0]).items()}
    names = ["language_model.embedding.word_embeddings.weight", "language_model.output_layer.weight"]
    adapters.megatron.runtime.destroy()
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for rank in range(2):
        with fake_rank(rank, 2, Layout(tp=2, sequence_parallel=True)):
            model, _ = started(graph, sequence_parallel=True)
            for name in names:
                parts[name].append(model.get_parameter(name).detach())
    for name in names:
        assert [len(part) for part in parts[name]] == [64, 64]
        assert torch.equal(torch.cat(parts[name]), whole[name])


def test_values_keep_the_type_of_the_model(sources):
    graph = composed(sources["siglip"], sources["qwen3_moe"])
    model = adapters.megatron.build(graph, dtype=torch.bfloat16)
    start = start_nodes(model, sources_of(graph))
    assert start.conversions == {("F32", "torch.bfloat16"): sum(len(each.reused) for each in start.nodes)}


def test_saying_only_changes_nothing(sources):
    graph = composed(sources["siglip"], sources["qwen3_moe"])
    model = adapters.megatron.build(graph)
    before = {name: tensor.detach().clone() for name, tensor in composed_tensors(model).items()}
    said = start_nodes(model, sources_of(graph), write=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in composed_tensors(model).items())
    assert said == start_nodes(model, sources_of(graph))


def test_a_given_directory_comes_before_the_part(sources, tmp_path):
    graph = composed(sources["siglip"], sources["qwen3_moe"])
    found = sources_of(graph, {"vision_tower": tmp_path})
    assert found == {"vision_tower": tmp_path, "language_model": sources["qwen3_moe"]}


def test_another_model_is_refused_and_nothing_is_written(sources):
    graph = composed(sources["siglip"], sources["qwen3_moe"])
    model = adapters.megatron.build(graph)
    before = model.get_parameter("language_model.output_layer.weight").detach().clone()
    with pytest.raises(CheckpointError, match="holds no tensor of vision_tower, such as …embeddings"):
        start_nodes(model, {"vision_tower": sources["qwen3_moe"], "language_model": sources["qwen3_moe"]})
    assert torch.equal(model.get_parameter("language_model.output_layer.weight"), before)


def test_tensors_of_other_sizes_are_named(sources):
    graph = composed(sources["siglip"], sources["qwen3_moe"], ("hf.vision_config.intermediate_size=48",))
    with pytest.raises(
        CheckpointError, match=r"shape: vision_model.encoder.layers.0.mlp.fc1.weight: expected \[48, 40\]"
    ):
        started(graph)


def test_a_table_that_does_not_grow_must_fit(sources):
    graph = composed(
        sources["siglip"],
        sources["qwen3_moe"],
        ("hf.compose.new_tokens=[]", "hf.compose.own.image_token_index=99", "hf.text_config.vocab_size=104"),
    )
    with pytest.raises(CheckpointError, match=r"shape: model.embed_tokens.weight: expected \[104, 56\], found \[100"):
        started(graph)


def test_what_the_command_line_says():
    assert parse_sources([]) == (None, {})
    assert parse_sources(["some/dir"]) == (Path("some/dir"), {})
    assert parse_sources(["tower=a=b", "text=c"]) == (None, {"tower": Path("a=b"), "text": Path("c")})
    for wrong in (["a", "b"], ["a", "tower=b"], ["tower=a", "tower=b"]):
        with pytest.raises(CheckpointError):
            parse_sources(wrong)
