"""DeepSpeed's configuration from training settings, and what is refused."""

import json
import subprocess
import sys

import attrs
import pytest

from adapters.deepspeed.config import deepspeed_config, expert_warning
from adapters.training.checkpoint_settings import Checkpoints
from adapters.training.findings import findings
from adapters.training.problems import TrainingError
from adapters.training.settings import OptimizerSettings, Stage, Training
from composer.plans.layout import Layout, Zero


def settings(**changes):
    made = Training(stages=(Stage("all", steps=1, trains=("a",)),), micro_batch=2, global_batch=24, engine="deepspeed")
    return attrs.evolve(made, **changes)


def test_accumulation_follows_from_the_global_batch_and_the_ranks():
    found = deepspeed_config(settings(), data_ranks=4)
    assert found["train_micro_batch_size_per_gpu"] == 2
    assert found["gradient_accumulation_steps"] == 3


def test_a_global_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(TrainingError, match=r"global_batch: 24 is no multiple of 10: micro_batch 2 on each of 5 ranks"):
        deepspeed_config(settings(), data_ranks=5)


def test_optimizer_and_clipping_are_those_of_the_settings():
    own = OptimizerSettings(lr=3e-4, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.2, clip=0.5)
    found = deepspeed_config(settings(optimizer=own), data_ranks=1)
    assert found["gradient_clipping"] == 0.5
    assert found["optimizer"]["type"] == "AdamW"
    wanted = {"lr": 3e-4, "betas": [0.8, 0.9], "eps": 1e-6, "weight_decay": 0.2}
    assert found["optimizer"]["params"].items() >= wanted.items()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("offload", [False, True])
def test_zero(stage, offload):
    if offload and stage == 0:
        with pytest.raises(TrainingError, match=r"set zero.stage to 1, 2 or 3"):
            deepspeed_config(settings(zero=Zero(stage, offload)), data_ranks=1)
        return
    found = deepspeed_config(settings(zero=Zero(stage, offload), overlap=True), data_ranks=1)["zero_optimization"]
    assert (found["stage"], found["overlap_comm"]) == (stage, True)
    assert found.get("offload_optimizer") == ({"device": "cpu"} if offload else None)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_can_be_written_as_json(precision):
    found = deepspeed_config(settings(precision=precision, zero=Zero(1)), data_ranks=1)
    assert json.loads(json.dumps(found)) == found
    assert found["bf16"]["enabled"] == (precision == "bf16")


def test_gradients_are_summed_in_fp32_or_refused():
    found = deepspeed_config(settings(precision="bf16", zero=Zero(2)), data_ranks=1)
    assert (found["data_types"], found["communication_data_type"]) == ({"grad_accum_dtype": "fp32"}, "fp32")
    with pytest.raises(TrainingError, match=r"zero.stage: with bf16, .* set zero.stage to 1"):
        deepspeed_config(settings(precision="bf16"), data_ranks=1)


@pytest.mark.parametrize(
    ("layout", "flags"),
    [
        (Layout(tp=2), "--nproc 2 --tp 2"),
        (Layout(pp=2, virtual_stages=2), "--nproc 2 --pp 2 --virtual-stages 2"),
        (Layout(cp=2), "--nproc 2 --cp 2"),
        (Layout(ep=4, etp=2), "--nproc 8 --ep 4 --etp 2"),
    ],
)
def test_layouts_that_divide_the_model_are_refused_with_the_command_that_runs_them(layout, flags):
    (path, message), *more = findings(settings(layout=layout))
    assert (path, more) == ("layout", [])
    assert message.endswith(f"vlm-composer train SPEC SETTINGS DATA --engine megatron {flags}")
    with pytest.raises(TrainingError, match="every rank runs the whole model"):
        deepspeed_config(settings(layout=layout), data_ranks=1)


def test_checkpoints_in_the_background_are_refused():
    found = findings(settings(checkpoints=Checkpoints(every=2, asynchronous=True)))
    assert [path for path, _ in found] == ["checkpoints.asynchronous"]


def test_stage_three_with_experts_comes_with_a_warning():
    assert "about ten times slower" in str(expert_warning(3, 128))
    assert expert_warning(2, 128) is None
    assert expert_warning(3, 0) is None


def test_neither_the_configuration_nor_the_loop_imports_deepspeed():
    code = "import sys, adapters.deepspeed.config, adapters.training.job; sys.exit('deepspeed' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
