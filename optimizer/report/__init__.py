"""The evidence of a frozen prompt as one page, for a colleague who is no statistician.

The page is one file that holds everything: no script, nothing from the network, a policy that forbids both. Text from
data is only ever shown: the template escapes all of it, and what would turn the text round or drive a screen is
replaced. Same prompt, same bytes: no time, host or path is in it.
"""

import base64
import unicodedata
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from optimizer.digest import sha256
from optimizer.frozen import FrozenPrompt
from optimizer.report._charts import charts
from optimizer.report._messages import calls
from optimizer.report._tables import tables
from optimizer.report._words import words

# Controls, formatting characters such as those that turn text round, halves of characters, separators of lines and
# paragraphs: none of them shows what it does.
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def page(frozen: FrozenPrompt) -> str:
    """Return the evidence of a prompt as the text of an HTML file.

    What the evidence does not hold, as that of older prompts, is left out.
    """
    return _template("page.html.jinja").render(
        frozen=frozen,
        words=words(frozen),
        charts=charts(frozen.evidence),
        tables=tables(frozen),
        calls=calls(frozen.template),
        checksum=frozen.to_dict()["checksum"],
        style_source=f"sha256-{_source_digest(_template('page.css').render())}",
    )


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


def _source(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _source_digest(text: str) -> str:
    """Return the digest by which a content security policy admits a style sheet."""
    return base64.b64encode(bytes.fromhex(sha256(text.encode()))).decode()


def _shown(value: object) -> object:
    """Return a value as the page shows it; what a macro of the template made is shown already."""
    if isinstance(value, Markup):
        return value
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _UNSHOWN else "\ufffd" for c in str(value)
    )
