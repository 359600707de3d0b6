"""The config as rules and plan use it, from the config as a person wrote it.

Torch-free: it runs whenever Snakemake parses the workflow.
"""

from collections.abc import Mapping
from typing import Any

from seesaw.assets import weights_folder
from seesaw.config import left_out
from seesaw.config_checks import check_config
from seesaw.entries import completed
from seesaw.paths import with_expanded_paths
from seesaw.protocols.study import with_derived_splits
from seesaw.published_autoencoders import resolve_autoencoders


def resolved(
    config: Mapping[str, Any],
    registry: Mapping[str, Any],
    schema: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A config with all that follows from it: paths, published autoencoders, shapes, splits.

    Args:
        config: content of the config file; it stays as it is.
        registry: content of ``config/autoencoders.yaml``.
        schema: content of ``workflow/schemas/config.schema.yaml``, to check it by; None: it was
            checked.

    Raises:
        ValueError: where in the config, what was given, what is allowed.
    """
    absent = left_out(config)
    config = with_expanded_paths({k: v for k, v in config.items() if k not in absent})
    entries = resolve_autoencoders(config.get("autoencoders", []), registry, weights_folder(config))
    config = {**config, "autoencoders": entries}
    if schema is not None:
        check_config(config, schema)
    side = config["data"]["resolution"]
    config["autoencoders"] = [completed(entry, side) for entry in config["autoencoders"]]
    return with_derived_splits(config)
