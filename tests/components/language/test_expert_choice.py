"""Choices of experts against the routers of transformers that make them."""

import pytest
import torch
from transformers import DeepseekV3Config, Ernie4_5_VLMoeTextConfig, Llama4TextConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.ernie4_5_vl_moe.modeling_ernie4_5_vl_moe import Ernie4_5_VLMoeMoeTopKRouter
from transformers.models.llama4.modeling_llama4 import Llama4Router

from components.language.expert_choice import choose
from components.language.feed_forward_declaration import Router

HIDDEN, EXPERTS, TOKENS = 24, 16, 200
LEARNED = {"bias": "learned_correction"}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def table(chosen, weights):
    return torch.zeros(TOKENS, EXPERTS).scatter(1, chosen, weights)


@pytest.mark.parametrize("norm", [True, False])
def test_best_groups_then_best_experts(norm):
    config = DeepseekV3Config(
        hidden_size=HIDDEN,
        n_routed_experts=EXPERTS,
        num_experts_per_tok=3,
        n_group=4,
        topk_group=2,
        norm_topk_prob=norm,
        routed_scaling_factor=2.5,
    )
    oracle = DeepseekV3TopkRouter(config)
    oracle.weight.data.normal_()
    oracle.e_score_correction_bias.normal_(std=0.5)
    logits, weights, chosen = oracle(torch.randn(TOKENS, HIDDEN))
    part = Router(score="sigmoid", groups=4, group_top_k=2, scaling=2.5, renormalise=norm, **LEARNED)
    ours, mask = choose(logits, part, 3, oracle.e_score_correction_bias)
    assert torch.equal(mask, table(chosen, torch.ones_like(weights)).bool())
    torch.testing.assert_close(ours, table(chosen, weights), rtol=1e-6, atol=0)


def test_a_bias_changes_the_choice_of_softmax_scores_and_not_their_weights():
    config = Ernie4_5_VLMoeTextConfig(hidden_size=HIDDEN, moe_num_experts=EXPERTS, moe_k=2)
    oracle = Ernie4_5_VLMoeMoeTopKRouter(config)
    oracle.weight.data.normal_()
    bias = oracle.moe_statics.e_score_correction_bias
    bias.normal_(std=0.2)
    logits, weights, chosen = oracle(torch.randn(TOKENS, HIDDEN))
    ours, mask = choose(logits, Router(**LEARNED), 2, bias[0])
    assert torch.equal(mask, table(chosen, torch.ones_like(weights)).bool())
    torch.testing.assert_close(ours, table(chosen, weights), rtol=1e-6, atol=0)
    _, without = choose(logits, Router(**LEARNED), 2, None)
    assert not torch.equal(mask, without)


def test_one_sigmoid_is_its_own_weight():
    oracle = Llama4Router(Llama4TextConfig(hidden_size=HIDDEN, num_local_experts=EXPERTS))
    oracle.weight.data.normal_()
    scores, logits = oracle(torch.randn(TOKENS, HIDDEN))
    ours, mask = choose(logits, Router(score="sigmoid", renormalise=False, apply="input"), 1, None)
    assert torch.equal(ours, scores)
    assert torch.equal(mask.sum(-1), torch.ones(TOKENS, dtype=torch.long))


def test_no_token_is_no_choice():
    weights, mask = choose(torch.empty(0, EXPERTS), Router(score="sigmoid"), 2, None)
    assert weights.shape == mask.shape == (0, EXPERTS)
