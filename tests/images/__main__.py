"""`python -m images build [operator|serving|torch|model|base|all …]`: build what has changed, print what there is."""

from __future__ import annotations

import sys
import time

import click
from rich.console import Console
from rich.table import Table

from images.building import ALL, BASE_ENV, EVERYDAY, base_image, build
from images.image import Image, ImageError

_MEGABYTE = 1_000_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Container images of the project, by docker or buildah. Archives come to lie in .cache/images."""


@main.command("build")
@click.argument("names", nargs=-1, type=click.Choice([*ALL, "base", "all"]))
@click.option("--base", envvar=BASE_ENV, help="Image to build on. Default: python:3.11-slim (docker) or a stand-in (buildah).")
@click.option("--refresh-base", is_flag=True, help="Make or pull the base image anew, with today's security updates.")
def build_command(names: tuple[str, ...], base: str | None, refresh_base: bool) -> None:
    """Build NAMES; without any, all that the demo and the CPU pods need (not `torch`: 6.8 GB)."""
    started = time.monotonic()
    try:
        if names == ("base",):
            print(base_image(base, refresh=refresh_base))
            return
        wanted = ALL if "all" in names else tuple(name for name in names if name != "base")
        images = build(*(wanted or EVERYDAY), base=base, refresh=refresh_base)
    except ImageError as error:
        raise SystemExit(f"images: {error}") from None
    _show(list(images.values()))
    print(f"images: {len(images)} ready in {time.monotonic() - started:.1f} s", file=sys.stderr)


def _show(images: list[Image]) -> None:
    table = Table("image", "reference", "digest", "MB on the node", box=None)
    table.columns[3].justify = "right"
    for image in images:
        table.add_row(image.name, image.reference, image.digest[:19], f"{image.bytes_ / _MEGABYTE:.0f}")
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)


main()
