"""Goes on with texts by a converted blob: python generate.py MODEL.cscb "a beginning" ..."""

from __future__ import annotations

import argparse
import sys

import csc
from csc import CscError

# isort: split
from texts import END, InputError, load_tokenizer


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="blob made by csc convert")
    parser.add_argument("texts", nargs="+", help="beginnings of descriptions, in lower case")
    parser.add_argument("--max-new", type=int, default=40, help="most tokens to make")
    parser.add_argument("--top-k", type=int, default=1, help="draw from so many tokens")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backend", default="host", help="host, portable, avx2, cs1 or cs2")
    args = parser.parse_args()
    try:
        model = csc.load(args.model)
        tokenizer = load_tokenizer()
        end = tokenizer.token_to_id(END)
        for text in args.texts:
            prompt = [end, *tokenizer.encode(text).ids]
            made = csc.generate(
                model,
                prompt,
                args.max_new,
                top_k=args.top_k,
                temperature=args.temperature,
                seed=args.seed,
                stop_ids=[end],
                backend=args.backend,
            )
            print(tokenizer.decode([*prompt[1:], *made], skip_special_tokens=True))
    except (CscError, InputError) as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
