"""What is made of each subject of a release: a folder a product, and a line each in `registry`.

Add a product's code to its folder, and what all of them share to `product`, `building`, `sources` or `sidecar`. What is
made of the whole release before them goes to `tables`, what is published beside them to `publication`.
"""
