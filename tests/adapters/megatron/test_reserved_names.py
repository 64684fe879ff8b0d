"""The names that composer refuses are those that a built model has."""

from composer.checks.reserved import CALL_ARGUMENTS, MODEL_ATTRIBUTES


def test_every_public_attribute_of_a_model_is_reserved(model, graph) -> None:
    public = {name for name in dir(model) if not name.startswith("_")}
    assert public - graph.nodes.keys() <= MODEL_ATTRIBUTES


def test_every_argument_of_a_model_is_reserved(model, graph) -> None:
    counted = {f"{token}s_per_sample" for token in graph.tokens}
    assert set(model.arguments.signature.parameters) - graph.inputs.keys() - counted == CALL_ARGUMENTS
