"""What is published and whether it may be: files, card, properties that must hold, and the guard before publishing.

Add a property that a check enforces to `properties`, and text for readers of the dataset to `card`. What is made of a
subject goes to `products`, where it is published to `hub`.
"""
