"""Previews: how a subject looks, small pictures of one axial slice and facts, for people who look before they publish.

`scene` takes the slice from the volumes while they are decoded, `crop` and `shades` turn planes into pixels, `pictures`
is the table of the pictures and draws them, `montage` puts them on one page, `facts` is the table of the facts, and
`product` makes of it what is published. Add a picture or a fact to its table.
"""
