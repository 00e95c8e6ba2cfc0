"""Check a list file on a Ray cluster, a task for each part file.

All machines must see the source under the same name. The surveys of parts are joined in their order, as those of a
check in one process are, so that both find the same.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from models.checking.check import Survey, SurveyOfParts, check_bar
from models.data.field_choices import FieldChoices
from models.data.fit_spec import SpecFitter
from models.data.list_file import ListFile, ListPart
from models.distributed.cluster import RayCluster
from models.distributed.tasks import run_tasks


@dataclass(frozen=True, slots=True)
class SurveyPart:
    """Survey one part file, and gather values for a feature spec from it."""

    choices: FieldChoices

    def __call__(self, part: ListPart) -> tuple[Survey, SpecFitter]:
        """Read the part. Raises `ListFileError` if it is broken, gone or another one by now."""
        part.require_unchanged()
        survey = Survey(self.choices, embeddings=True, first=part.first)
        fitter = SpecFitter(self.choices, folds=False)  # Numbers that are folded could not be joined to those before.
        survey.read(part.windows(), fitter)
        return survey, fitter


def survey_on_ray(source: str | Path, choices: FieldChoices, cluster: RayCluster) -> Survey:
    """Read a list file once and count it, as `check.survey_file` does with embeddings.

    The process must be connected to the cluster. It checks the request ids of all parts itself, meanwhile. Raises
    `ListFileError` and `ValueError` as there, and `RayError` for a run that failed.
    """
    file, whole = ListFile(source), SurveyOfParts(choices)
    parts, ids = file.parts, file.check_request_ids()
    found = run_tasks("survey_part", SurveyPart(choices), parts, cluster, workers=min(cluster.workers, len(parts)))
    with closing(found), check_bar(file) as bar:
        for part, (survey, fitter), _ in zip(parts, found, ids, strict=True):
            whole.fitter.extend(fitter)
            if part.footer.rows:
                whole.add(survey)
            bar.update(part.footer.rows)
    return whole.whole(source)
