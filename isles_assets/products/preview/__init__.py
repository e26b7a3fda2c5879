"""Previews: small pictures of one axial slice of a subject, and facts, to look at before publishing.

`left_out` finds volumes that cannot be drawn. `scene` takes the slice from the others while they are decoded. `crop`
and `shades` turn planes into pixels. `pictures` has the table of pictures and draws them, `montage` puts them on one
page, and `facts` has the table of facts. `product` builds the published files. To add a picture or a fact, add a line
to its table.
"""
