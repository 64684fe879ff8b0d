"""`python -m adapters.cli`: the command line, as a module that launchers can start."""

from adapters.cli.app import main

main()
