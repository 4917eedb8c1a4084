import json
from dataclasses import asdict, dataclass

import tyro

from umanet.cli.terminal import print_table, print_text

LEGEND = """
per annotator: says what each of them would draw (predict --annotators); samples: draws several masks
(predict --samples); grades: says which annotations are doubtful (grade, fuse --with); needs identity: refuses anonymous
annotators. truth needs trusted label maps of the training cases; single takes the annotator that --fusion.annotator
names, by default the one with the most cases.
""".strip()


@dataclass(frozen=True)
class Methods:
    """List the methods, what each can do, what it needs, and the paper that it is from."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the list as JSON."""

    def run(self) -> None:
        from umanet.methods.capabilities import capabilities

        found = capabilities()
        if self.json:
            print_text(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False))
            return
        rows = [{key.replace("_", " "): _word(value) for key, value in asdict(one).items()} for one in found]
        references = [(row["name"], row.pop("reference")) for row in rows]
        print_table(rows, "umanet train --method NAME")
        print_text(LEGEND)
        print_text("\n".join(f"{name}: {reference}." for name, reference in references if reference))


def _word(value: object) -> object:
    return ("yes" if value else "") if isinstance(value, bool) else value
