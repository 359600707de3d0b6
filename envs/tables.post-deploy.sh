#!/usr/bin/env bash
# Runs after the environment is made: the package itself, from this checkout.
set -euo pipefail
pip install --no-deps --editable "$PWD"
