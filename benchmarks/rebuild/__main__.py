"""`python -m benchmarks.rebuild`: a generation is built and switched to, beside people who write and search."""

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from corpus import NoTexts

from ..search.texts import TooFewTexts, texts
from .clients import Words
from .models import GREENS
from .report import print_report
from .run import Plan, measured

console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # pods are stopped on the way out
    try:
        known = texts()
        words = Words([one.text for one in known.documents], known.queries)
        figures = asyncio.run(measured(_plan(arguments), words, lambda text: console.print(text, style="dim")))
    except (NoTexts, TooFewTexts, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    print_report(figures, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(figures), indent=1))
    return 0


def _plan(arguments: argparse.Namespace) -> Plan:
    if arguments.quick:
        return Plan(
            documents=arguments.documents or 5_000,
            model=arguments.model,
            rounds=1,
            seconds=2.0,
            search_seconds=6.0,
            switches=arguments.switches or 3,
            pause_seconds=2.0,
        )
    return Plan(
        documents=arguments.documents or 100_000,
        model=arguments.model,
        rounds=arguments.rounds,
        switches=arguments.switches or 10,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 documents, one short round, three switches")
    parser.add_argument("--documents", type=int)
    parser.add_argument("--model", choices=GREENS, default="minilm-1", help="of the generation that is built")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--switches", type=int)
    parser.add_argument("--json", type=Path, help="where every single measurement is written")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
