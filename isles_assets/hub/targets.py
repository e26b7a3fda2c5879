"""The targets by the name that the setting `ISLES_HUB_TARGET` gives them."""

from enum import StrEnum

from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.local import LocalHub
from isles_assets.hub.target import Target


class HubTarget(StrEnum):
    """Where to publish. Dagster's run config takes the members' names."""

    local = "local"
    huggingface = "huggingface"


TARGETS: dict[HubTarget, type[Target]] = {HubTarget.local: LocalHub, HubTarget.huggingface: HuggingFaceHub}
