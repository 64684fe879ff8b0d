"""The parts a vision-language model is composed of, in torch; their declarations are torch-free."""
