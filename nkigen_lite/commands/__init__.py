"""What each command of the command line does; ``nkigen_lite.cli`` reads the arguments."""
