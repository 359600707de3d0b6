"""Official files (weights, statistics): what they are, and how they are fetched and checked."""

from seesaw.assets.asset import (
    Asset,
    asset_of,
    asset_url,
    assets_of,
    can_be_fetched,
    weights_folder,
)
from seesaw.assets.fetching import check, fetch, fetch_all, is_offline, where_to_put
from seesaw.assets.lock import LOCK_NAME, read_lock
from seesaw.assets.transport import FetchError

__all__ = [
    "LOCK_NAME",
    "Asset",
    "FetchError",
    "asset_of",
    "asset_url",
    "assets_of",
    "can_be_fetched",
    "check",
    "fetch",
    "fetch_all",
    "is_offline",
    "read_lock",
    "weights_folder",
    "where_to_put",
]
