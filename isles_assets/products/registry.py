"""The products, one line each, in the order in which they are published and described on the card."""

from isles_assets.products.preview.product import Preview
from isles_assets.products.product import Product
from isles_assets.products.shard.product import Shard

PRODUCTS: tuple[type[Product], ...] = (Shard, Preview)
