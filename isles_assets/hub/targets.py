"""The targets, by their names in the setting `ISLES_HUB_TARGET`."""

from enum import StrEnum

from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.local import LocalHub
from isles_assets.hub.target import Target


class HubTarget(StrEnum):
    """Where to publish. Member names equal values, because Dagster's run config takes the names."""

    local = "local"
    huggingface = "huggingface"


TARGETS: dict[HubTarget, type[Target]] = {HubTarget.local: LocalHub, HubTarget.huggingface: HuggingFaceHub}
