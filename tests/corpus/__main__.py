"""`python -m corpus [--limit N] [--lines]`: the machine's texts as NDJSON on standard output, one document a line."""

import argparse
import json
import sys
from dataclasses import asdict

from . import Depth, NoTexts, documents


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m corpus", description=__doc__)
    parser.add_argument("--limit", type=_count, help="most documents; all without it")
    parser.add_argument("--lines", action="store_true", help="paragraphs of every docstring too (takes minutes)")
    arguments = parser.parse_args()
    try:
        found = documents(Depth.LINES if arguments.lines else Depth.SUMMARIES, arguments.limit)
        for one in found:
            sys.stdout.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
        sys.stdout.flush()
    except NoTexts as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a positive number")
    return number


if __name__ == "__main__":
    sys.exit(main())
