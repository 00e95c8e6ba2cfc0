"""Check a list file: print what it holds, and warn about what is odd."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from models.checking.check import survey_file
from models.checking.report import findings, report_json, report_text
from models.commands.fields import add_field_options, field_choices
from models.data.list_file import read_metadata
from models.data.outputs import require_other_output
from models.distributed.checking import survey_on_ray
from models.distributed.cluster import RayOptions, add_ray_options, connected
from models.files import write_json
from models.options import LIST_FILE

DESCRIPTION: Final = "count what a list file holds, say how its fields will be read, and warn about what is odd"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help=LIST_FILE)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result as JSON")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there are warnings")
    add_field_options(parser)
    add_ray_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the result, write it as JSON if asked, and return the exit status."""
    require_other_output("--json", arguments.json, arguments.file)
    ray, choices = RayOptions.of(arguments), field_choices(arguments)
    if ray is None:
        survey = survey_file(arguments.file, choices)
    else:
        with connected(ray) as cluster:
            survey = survey_on_ray(arguments.file, choices, cluster)
    notes = read_metadata(arguments.file)
    if arguments.json is not None:
        write_json(arguments.json, report_json(arguments.file, survey, notes))
    print(report_text(arguments.file, survey, notes))
    return 1 if arguments.strict and findings(survey) else 0
