"""What a release is: `Release` and the types that it is made of, and `isles24`, the facts of ISLES'24 v7.

Add here what is known before a file is looked at. How files are read goes to `reading`, what is made of them to
`products`. A fact stands in one place of the release's own module; everything else is derived from it.
"""
