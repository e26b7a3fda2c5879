"""Products: files built from each subject of a release. Each product has a folder, and a line in `registry`.

Add a product's code to its folder, and code that all products share to `product`, `building`, `sources` or `sidecar`.
Tables of the whole release go to `tables`. Files that are published beside the products' go to `publication`.
"""
