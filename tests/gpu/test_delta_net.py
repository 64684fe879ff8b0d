"""The kernels of flash-linear-attention beside the torch form: values, every gradient, packed documents."""

import pytest
import torch
from megatron.core.process_groups_config import ProcessGroupCollection
from torch import Tensor
from torch.nn import functional

from adapters.megatron import composed_config, runtime
from adapters.parity.report import relative_error
from components.fusion.mask_metadata import MetadataLayout
from components.language.delta_kernels import KernelForm, Sizes, TorchForm, delta_form, refusal
from components.language.delta_net import GatedDeltaNet
from components.language.delta_net_declaration import DeltaNet
from components.language.documents import Documents, PackedDocuments
from tests.parity.shipped_spec import tiny_of

PART = DeltaNet(key_heads=2, value_heads=6, key_dim=128, value_dim=64)
# Rounding of an output alone is 2 ** -9 of it; states and solved systems are rounded on the way, and backward again.
VALUES, GRADIENTS = 2**-7, 2**-5
LENGTHS = (70, 1, 129)


@pytest.fixture(autouse=True)
def _kernels() -> None:
    if torch.cuda.is_available():
        pytest.importorskip("fla", reason="needs flash-linear-attention: install vlm-composer[delta]")
        if (reason := refusal()) is not None:
            pytest.skip(reason)


def _given(batch: int, length: int) -> dict[str, Tensor]:
    """What a form is called with. States last for a hundred tokens in some heads, and for one in others."""
    draw = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, device="cuda")

    keys, values = PART.key_heads, PART.values_per_key
    speed = torch.logspace(-2, 0, keys * values, device="cuda").view(keys, values)
    return {
        "mixed": normal(batch, length, keys, PART.convolved).bfloat16(),
        "weight": (normal(keys * PART.convolved, 1, PART.conv) / 2).bfloat16(),
        "decay": -speed * functional.softplus(normal(batch, length, keys, values)),
        "strength": normal(batch, length, keys, values).sigmoid().bfloat16(),
    }


def _run(form: TorchForm | KernelForm, given: dict[str, Tensor], packed: Documents | None) -> dict[str, Tensor]:
    """Values, and the gradient of each argument of a weighed sum of them."""
    own = {name: value.detach().clone().requires_grad_() for name, value in given.items()}
    answer = form(*own.values(), Sizes(PART.key_dim, PART.value_dim), packed)
    weights = torch.linspace(-1, 1, answer.numel(), device="cuda").view_as(answer)
    found = torch.autograd.grad((answer.float() * weights).sum(), own.values())
    return {"values": answer.detach(), **dict(zip(own, found, strict=True))}


def _kernels_of() -> KernelForm:
    form = delta_form(torch.bfloat16, functional.silu)
    assert isinstance(form, KernelForm)
    return form


@pytest.mark.parametrize("packed", [False, True], ids=["rows", "packed"])
def test_kernels_are_the_torch_form(packed: bool) -> None:
    given = _given(1 if packed else 2, sum(LENGTHS))
    borders = torch.tensor([0, *LENGTHS], device="cuda").cumsum(0)
    documents = Documents(borders, LENGTHS) if packed else None
    found, right = _run(_kernels_of(), given, documents), _run(TorchForm(functional.silu), given, documents)
    errors = {name: relative_error(found[name], right[name]) for name in right}
    assert errors.pop("values") <= VALUES
    assert max(errors.values()) <= GRADIENTS, errors


def test_documents_do_not_see_each_other() -> None:
    """The first document turned around: the others keep every bit."""
    given = _given(1, sum(LENGTHS))
    documents = Documents(torch.tensor([0, *LENGTHS], device="cuda").cumsum(0), LENGTHS)
    before = _run(_kernels_of(), given, documents)["values"]
    given["mixed"][:, : LENGTHS[0]] *= -1
    after = _run(_kernels_of(), given, documents)["values"]
    assert torch.equal(after[:, LENGTHS[0] :], before[:, LENGTHS[0] :])
    assert not torch.equal(after[:, : LENGTHS[0]], before[:, : LENGTHS[0]])


def test_what_runs_can_be_asked() -> None:
    assert delta_form(torch.bfloat16, functional.silu).name == "flash-linear-attention"
    assert delta_form(torch.float32, functional.silu).name == "torch"
    assert delta_form(torch.bfloat16, functional.gelu).name == "torch"


def test_a_layer_in_bfloat16_is_the_layer_in_float32() -> None:
    """Projections, padding, gated norm and all, by kernels and by torch in float32."""
    with runtime.layout():
        groups = ProcessGroupCollection.use_mpu_process_groups()
        wide, half = (
            GatedDeltaNet(
                composed_config(tiny_of("llava"), dtype=dtype), 1, PART, False, PackedDocuments(), groups
            ).cuda()
            for dtype in (torch.float32, torch.bfloat16)
        )
        half.load_state_dict(wide.state_dict())
        wide.load_state_dict({name: value.float() for name, value in half.state_dict().items() if value is not None})
        assert (wide.form.name, half.form.name) == ("torch", "flash-linear-attention")
        valid = torch.ones(2, 150, dtype=torch.bool, device="cuda")
        valid[0, 140:], valid[1, :9] = False, False
        metadata = MetadataLayout.for_rules([], {}).build(torch.ones_like(valid, dtype=torch.int64), valid)
        x = torch.randn(150, 2, 56, device="cuda", generator=torch.Generator("cuda").manual_seed(1)).bfloat16()
        real = valid.transpose(0, 1)
        assert relative_error(half(x, metadata)[0][real], wide(x.float(), metadata)[0][real].bfloat16()) <= 4 * VALUES
