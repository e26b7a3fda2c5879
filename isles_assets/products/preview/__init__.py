"""Previews: how a subject looks, small pictures of one axial slice and facts, for people who look before they publish.

`left_out` says which volumes cannot be drawn, `scene` takes the slice from the others while they are decoded, `crop`
and `shades` turn planes into pixels, `pictures` is the table of the pictures and draws them, `montage` puts them on one
page, `facts` is the table of the facts, and `product` makes of it what is published. Add a picture or a fact to its
table.
"""
