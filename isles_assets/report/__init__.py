"""The quality report: one page on which a person looks at a release and decides whether to publish it.

To show something new, add it to the values in `report`, fill it in `collecting`, and place it in `page.html.j2`; looks
and behaviour are in `page.css` and `page.js`. Statistics are in `statistics`, the charts' geometry in `charts`,
pictures in `pictures`. Findings and judgements come from `publication`; nothing is decided here.
"""
