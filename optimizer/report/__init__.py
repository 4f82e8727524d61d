"""The evidence of a frozen prompt, and the study it comes from, as one page: for a colleague who is no statistician.

The page is one file that holds everything: nothing from the network, a policy that forbids it, and no script but one of
our own, which only a study with its records needs. Text from data is only ever shown: the template escapes all of it,
the script puts it in as text, and what would turn the text round or drive a screen is replaced. A prompt alone gives the
same bytes each time: no time, host or path is in it.
"""

import base64
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from optimizer.archive import Archive, open_archive
from optimizer.digest import sha256
from optimizer.elision import JOINERS
from optimizer.errors import InputError, OptimizerError, Problem
from optimizer.frozen import FrozenPrompt
from optimizer.plan import StudyPlan, load_plan
from optimizer.report._charts import charts
from optimizer.report._front_prompts import front_prompts
from optimizer.report._glossary import glossary
from optimizer.report._guide import guide
from optimizer.report._language import LANGUAGES, Language
from optimizer.report._messages import calls
from optimizer.report._study import StudyParts, study_parts
from optimizer.report._tables import tables
from optimizer.report._telling import Teller
from optimizer.report._words import words

__all__ = [
    "LANGUAGES",
    "Made",
    "front_prompts",
    "guide",
    "page",
    "report_guide",
    "report_page",
    "study_page",
    "task_language",
]

# Controls, formatting characters such as those that turn text round, halves of characters, separators of lines and
# paragraphs: none of them shows what it does. Two joiners are text: scripts are spelled with them, and emoji.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Made(NamedTuple):
    """A page or a guide, whose prompt it shows, and why without its study: "" where it shows the whole."""

    text: str
    fingerprint: str
    alone: str


def page(frozen: FrozenPrompt, language: str = "en", note: str = "") -> str:
    """Return the evidence of a prompt as the text of an HTML file.

    What the evidence does not hold, as that of older prompts, is left out.

    Args:
        note: A sentence at the end, such as why there is no more to see.
    """
    return _rendered(frozen, Teller(Language.of(language)), note=note)


def study_page(plan: StudyPlan, frozen: FrozenPrompt, archive: Archive, language: str = "en") -> str:
    """Return a study as the text of an HTML file: the evidence, every prompt, every example.

    Where task or data have changed since, the examples are left out, for what was asked is not known any more.
    """
    say = Teller(Language.of(language))
    return _rendered(frozen, say, study=study_parts(plan, frozen, archive, say, _source("page.js")))


def report_page(prompt: Path, study: Path, language: str | None = None) -> Made:
    """Return the page of a frozen prompt in a file, with its study where that is beside it.

    Args:
        study: The study file, which need not be there.
        language: One of `LANGUAGES`; None takes the task's own, as far as that is known and one of them.

    Raises:
        InputError: When the prompt cannot be read.
    """
    frozen, say = FrozenPrompt.load(prompt), Teller(Language.of(language or "en"))

    def whole(plan: StudyPlan, archive: Archive) -> str:
        return study_page(plan, frozen, archive, language or task_language(plan))

    html, why = _of_study(frozen, prompt, study, say, whole)
    if why:
        html = page(
            frozen, say.language.code, say.t("It shows the prompt without its study: {why}.", why=why)
        )
    return Made(html, frozen.fingerprint, why)


def report_guide(prompt: Path, study: Path, language: str | None = None) -> Made:
    """Return the guide of the study that a frozen prompt comes from, as Markdown; arguments as of `report_page`.

    Raises:
        InputError: When the prompt cannot be read, or its study is not beside it.
    """
    frozen, say = FrozenPrompt.load(prompt), Teller(Language.of("en"))

    def whole(plan: StudyPlan, archive: Archive) -> str:
        return guide(plan, frozen, archive, Language.of(language or task_language(plan)))

    text, why = _of_study(frozen, prompt, study, say, whole)
    if why:
        raise InputError(
            [Problem(file=str(prompt), message=f"the guide tells of the whole study, and {why}")]
        )
    return Made(text, frozen.fingerprint, "")


def task_language(plan: StudyPlan) -> str:
    """Return the language of a study's task if reports are written in it, else English."""
    return plan.task.language if plan.task.language in LANGUAGES else "en"


def _of_study(
    frozen: FrozenPrompt,
    prompt: Path,
    study: Path,
    say: Teller,
    make: Callable[[StudyPlan, Archive], str],
) -> tuple[str, str]:
    """Return what is made of the study beside a prompt, and "", or "" and why there is no study to make it of."""
    database = prompt.with_name("study.db")
    if not database.is_file():
        return "", say.t("there is no study.db beside it")
    if not study.is_file():
        return "", say.t("there is no study file beside it")
    try:
        plan = load_plan(study, output=prompt.parent)
        with open_archive(database) as archive:
            if frozen.fingerprint in archive.scores:
                return make(plan, archive), ""
        return "", say.t("the newest study in study.db is another one")
    except OptimizerError as error:
        return "", str(error).partition("\n")[0]


def _rendered(frozen: FrozenPrompt, say: Teller, *, study: StudyParts | None = None, note: str = "") -> str:
    script = _source("page.js") if study is not None else ""
    style = _source("page.css") + (_source("study.css") if study is not None else "")
    return _template("page.html.jinja").render(
        frozen=frozen,
        t=say.t,
        language=say.language.code,
        words=words(frozen, say),
        charts=charts(frozen.evidence, say),
        tables=tables(frozen, say, None if study is None else study.answering),
        calls=calls(frozen.template, say),
        glossary=glossary(frozen, say),
        study=study,
        note=note,
        checksum=frozen.to_dict()["checksum"],
        style=Markup(style),  # noqa: S704  # our own file
        style_source=f"sha256-{_source_digest(style)}",
        script_source=f"sha256-{_source_digest(script)}",
    )


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


@cache
def _source(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _source_digest(text: str) -> str:
    """Return the digest by which a content security policy admits a style sheet or a script."""
    return base64.b64encode(bytes.fromhex(sha256(text.encode()))).decode()


def _shown(value: object) -> object:
    """Return a value as the page shows it; what a macro of the template made is shown already."""
    if isinstance(value, Markup):
        return value
    return "".join(
        c if c in "\n\t" or c in JOINERS or unicodedata.category(c) not in _UNSHOWN else "\ufffd"
        for c in str(value)
    )
