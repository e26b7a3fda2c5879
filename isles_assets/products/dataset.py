"""`Dataset`: what is published of a release, before anything is made: its products, configs and files in the repo."""

from dataclasses import dataclass
from functools import cached_property

from isles_assets.products import registry
from isles_assets.products.config import CARD, Config
from isles_assets.products.product import Product
from isles_assets.release.release import Release

_READ_BY_LOAD_DATASET = (".huggingface.yaml", "dataset_infos.json")
"""What the library reads beside the card, and would believe."""


@dataclass(frozen=True)
class Dataset:
    """The dataset of `release`, whose subjects are published as `products`."""

    release: Release
    products: tuple[Product, ...]

    @classmethod
    def of(cls, release: Release) -> "Dataset":
        """The dataset of `release` with those of the registered products that can be made of it."""
        return cls(release, tuple(product(release) for product in registry.PRODUCTS if product.fits(release)))

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """All configs, in the order of the products."""
        return tuple(config for product in self.products for config in product.configs)

    @cached_property
    def common_files(self) -> tuple[str, ...]:
        """Paths in the repo of the files that are not a subject's."""
        joined = (config.path("") for config in self.configs if config.joined)
        return (CARD, *(path for product in self.products for path in product.other_files), *joined)

    def is_ours(self, path: str) -> bool:
        """Whether a file of the repo stands where this dataset's go, or beside them where `load_dataset` would read it.

        So do those of an earlier layout, and those that somebody else has put there.
        """
        return path in self.common_files or path in _READ_BY_LOAD_DATASET or self.is_data(path)

    def is_data(self, path: str) -> bool:
        """Whether a file of the repo lies below the folder of a config."""
        return path.startswith(tuple(f"{config.folder}/" for config in self.configs))
