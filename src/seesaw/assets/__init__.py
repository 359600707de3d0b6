"""Official files (weights, statistics): what they are, and how they are fetched and checked."""

from seesaw.assets.asset import (
    Asset,
    asset_of,
    asset_url,
    assets_of,
    can_be_fetched,
    weights_folder,
)
from seesaw.assets.fetching import (
    can_come,
    check,
    fetch,
    fetch_all,
    hub_token,
    is_offline,
    options_of,
    settle_time,
    where_to_put,
)
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
    "can_come",
    "check",
    "fetch",
    "fetch_all",
    "hub_token",
    "is_offline",
    "options_of",
    "read_lock",
    "settle_time",
    "weights_folder",
    "where_to_put",
]
