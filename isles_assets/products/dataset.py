"""The dataset of a release: its products, configs and paths in the repo, whether or not they exist yet."""

from dataclasses import dataclass, replace
from functools import cached_property

from isles_assets.products import registry
from isles_assets.products.config import CARD, LOOK_PATH, MAIN_CONFIG, METADATA, MONTAGE, Config
from isles_assets.products.product import Product
from isles_assets.release.release import Release

_READ_BY_LOAD_DATASET = (".huggingface.yaml", "dataset_infos.json")
"""Files beside the card from which the library would take metadata."""


@dataclass(frozen=True)
class Dataset:
    """The dataset of `release`, made of the files of its `products`."""

    release: Release
    products: tuple[Product, ...]

    @classmethod
    def of(cls, release: Release) -> "Dataset":
        """Return the dataset with all registered products that fit `release`."""
        return cls(release, tuple(product(release) for product in registry.PRODUCTS if product.fits(release)))

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """All configs, in the order of the products. With pictures to show, `default` has the split `look`."""
        configs = (config for product in self.products for config in product.configs)
        return tuple(
            replace(config, added=(MONTAGE,), has_look=True)
            if self._has_look and config.name == MAIN_CONFIG
            else config
            for config in configs
        )

    def configs_of(self, product: Product) -> tuple[Config, ...]:
        """Return the configs that hold `product`."""
        names = {config.name for config in product.configs}
        return tuple(config for config in self.configs if config.name in names)

    @property
    def _has_look(self) -> bool:
        return any(product.has_montages for product in self.products)

    @cached_property
    def common_files(self) -> tuple[str, ...]:
        """Paths in the repo of the files that do not belong to one subject."""
        joined = (config.path("") for config in self.configs if config.joined)
        look = (LOOK_PATH,) if self._has_look else ()
        others = (path for product in self.products for path in product.other_files)
        return (CARD, *METADATA, *others, *joined, *look)

    def is_ours(self, path: str) -> bool:
        """Return whether `path` in the repo is one of this dataset's, or one that `load_dataset` would read, too.

        Such a path may hold a file of an earlier layout, or somebody else's.
        """
        return path in self.common_files or path in _READ_BY_LOAD_DATASET or self.is_data(path)

    def is_data(self, path: str) -> bool:
        """Return whether `path` in the repo lies below the folder of a config."""
        return path.startswith(tuple(f"{config.folder}/" for config in self.configs))
