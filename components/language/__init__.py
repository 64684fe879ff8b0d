"""The language decoder: a list of layers made of named parts."""
