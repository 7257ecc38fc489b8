"""Sphinx extensions of this book. `_config.yml` names them and puts tools/ on Sphinx's path."""
