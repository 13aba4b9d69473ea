#!/usr/bin/env bash
# Into the Python at hand: what the package needs, in the versions of constraints.txt, and YuNet's weights, once per node.
# The package itself comes with each job. Used by cluster.yaml and deploy/Dockerfile, beside pyproject.toml.
set -euo pipefail
cd "${1:-.}" # the folder with pyproject.toml and constraints.txt
python -c 'import sys; sys.exit("Python 3.11 is needed, this is " + sys.version if sys.version_info[:2] != (3, 11) else 0)'
python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
python -m uv pip install --quiet --python "$(command -v python)" -c constraints.txt -r pyproject.toml --extra train
python -c 'from deepface.commons import folder_utils
from deepface.modules import modeling
folder_utils.initialize_folder()
modeling.build_model("face_detector", "yunet")'
