"""`Dataset`: what is published of a release, before anything is made: its products, configs and files in the repo."""

from dataclasses import dataclass
from functools import cached_property

from isles_assets.products import registry
from isles_assets.products.config import CARD, Config
from isles_assets.products.product import Product
from isles_assets.release.release import Release


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
        """Whether a file of the repo is this dataset's, of this layout or an earlier one."""
        folders = tuple(f"{config.folder}/" for config in self.configs)
        return path in self.common_files or (path.startswith(folders) and path.endswith(".parquet"))
