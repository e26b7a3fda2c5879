"""How a subject looks: small pictures of one axial slice, for people who look before they publish or download.

`reading` takes the slice from the volumes while they are decoded, `crop` and `shades` turn planes into pixels,
`pictures` is the table of the pictures and draws them, `montage` puts them on one page. Nothing here knows of the
dataset, the Hub or Dagster.
"""
