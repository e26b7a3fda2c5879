"""What is made of each subject: a line a product, in the order in which they are published and told on the card."""

from isles_assets.products.preview.product import Preview
from isles_assets.products.product import Product
from isles_assets.products.shard.product import Shard

PRODUCTS: tuple[type[Product], ...] = (Shard, Preview)
