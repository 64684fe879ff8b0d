"""Which rules have a kernel, and which requests are refused, with their reasons. Needs no GPU."""

import pytest
import torch
from megatron.core.transformer.enums import AttnBackend

from adapters.megatron import composed_config
from adapters.transformer_engine import KernelMask, NoKernel, check, kernel_mask
from composer import Graph
from composer.masks import parse


@pytest.mark.parametrize(
    ("rule", "window"),
    [
        ("causal", None),
        ("causal & same_document", None),
        ("causal & window(8)", (7, 0)),
        ("window(8) & causal", (7, 0)),
        ("causal & window(8) & window(5)", (4, 0)),
    ],
)
def test_causal_rules_have_a_kernel(rule: str, window: tuple[int, int] | None) -> None:
    assert kernel_mask(parse(rule)) == KernelMask(window)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("(causal | same_run(image)) & window(8)", "no kernel for causal | same_run(image)"),
        ("causal & same_run(image)", "no kernel for same_run(image)"),
        ("causal & chunk(4)", "no kernel for chunk(4)"),
        ("causal & ~window(8)", "no kernel for ~window(8)"),
        ("causal | bidirectional", "no kernel for causal | bidirectional"),
        ("window(8)", "no kernel for window(8): it is not causal"),
        ("bidirectional", "no kernel for bidirectional"),
    ],
)
def test_no_other_rule_is_taken_for_a_causal_one(rule: str, reason: str) -> None:
    with pytest.raises(NoKernel) as caught:
        kernel_mask(parse(rule))
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"attention_backend": AttnBackend.flash}, "attention_backend=flash"),
        ({"moe_grouped_gemm": True}, "moe_grouped_gemm"),
    ],
)
def test_a_request_that_would_be_ignored_is_refused(tiny_graph: Graph, asked: dict, name: str) -> None:
    with pytest.raises(ValueError, match="needs") as caught:
        check(composed_config(tiny_graph, **asked), {"full_attention": parse("causal")}, {})
    assert str(caught.value) == f"{name} needs transformer_impl='transformer_engine'"


def test_kernels_everywhere_are_refused_where_a_rule_has_none(tiny_graph: Graph) -> None:
    config = composed_config(tiny_graph, transformer_impl="transformer_engine", attention_backend=AttnBackend.fused)
    rules = {"full": parse("causal"), "sliding": parse("(causal | same_run(image)) & window(8)")}
    with pytest.raises(ValueError, match="cannot honour") as caught:
        check(config, rules, {})
    assert str(caught.value).endswith(
        "attention_backend=fused cannot honour the mask of sliding ((causal | same_run(image)) & window(8)): "
        "no kernel for causal | same_run(image)"
    )


def test_kernels_everywhere_are_refused_where_scores_are_capped(tiny_graph: Graph) -> None:
    config = composed_config(tiny_graph, transformer_impl="transformer_engine", attention_backend=AttnBackend.flash)
    with pytest.raises(ValueError, match="cannot cap") as caught:
        check(config, {"full": parse("causal")}, {"full": 50.0})
    assert str(caught.value).endswith("attention_backend=flash cannot cap the scores of full (softcap: 50)")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this is about machines without CUDA")
def test_without_cuda_the_build_says_so(tiny_graph: Graph) -> None:
    from adapters.megatron import build

    with pytest.raises(ValueError, match="transformer_impl='transformer_engine' needs a CUDA device"):
        build(tiny_graph, transformer_impl="transformer_engine")
