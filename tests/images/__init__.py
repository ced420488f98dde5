"""The project's container images, made with docker or buildah, and only when something that goes into them has changed.

from images import build, model_image
serving = build("serving")["serving"]       # an Image: reference, digest, OCI archive
other = model_image("other", directory)     # a model as an image, files under MODEL_PATH
"""

from images.building import build, model_image
from images.image import Image, ImageError
from images.recipes import MODEL_PATH

__all__ = ["MODEL_PATH", "Image", "ImageError", "build", "model_image"]
