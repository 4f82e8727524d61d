"""Study texts: a study of a proposed task as the YAML that a person goes on with, commented where there is something to choose."""

from optimizer.config import SCREEN
from optimizer.dataset import Dataset
from optimizer.formats import json_text
from optimizer.models import ModelSpec, counts_thoughts
from optimizer.proposal import Proposal
from optimizer.tasktext import quoted

_SIZES = (0, 2, 4, 8)  # of demonstrations: more take more tokens and seldom help more

# Tokens: what stands around an answer beside the frame of a format, for which that has room of its own, how many bytes of
# an answer make a token, to be safe, the most that it may take, and what a model that reasons by itself thinks before it.
_MARKS, _BYTES_PER_TOKEN, _MOST_TOKENS, _THOUGHTS = 8, 2, 1024, 400

# What the sampler does, with and without a test.
_SEARCHES = {
    True: "candidates race on validation, many on few examples and few on many",
    False: "candidates are drawn by what those like them scored",
}


def study_text(proposal: Proposal, dataset: Dataset, model: ModelSpec, *, name: str, calls: int) -> str:
    """Return the content of a study file, for a task beside it under the same name.

    Args:
        dataset: What the study can use of the task's data.
        calls: The budget.
    """
    embedded, label = model.provider == "embedded", proposal.answer.type == "label"
    styles = "direct, first_person" if embedded and label else "direct, chain_of_thought"
    formats = "plain, inline, json, choice, choice_inline" if embedded and label else "plain, inline, json"
    sizes = ", ".join(str(size) for size in _SIZES if size <= len(dataset.train))
    return f"""\
# yaml-language-server: $schema=../../.optimizer/schemas/study.json
schema: 1
task: {quoted(f"../../tasks/{name}.yaml")}
model: {_model_text(model, proposal)}
search:
  instructions:
    given: [{quoted(proposal.alternative)}]    # wordings to try beside the task's; add your own
    compose: true    # and each with a role, the labels or an answer rule
  demos: {{sizes: [{sizes}], sets: 12, selectors: [random{", balanced" if label else ""}]}}    # drawn from train
  # The first of each is the baseline's; `optimizer plugins styles` and `optimizer plugins formats` list them.
  styles: [{styles}]
  formats: [{formats}]
{_screen_text(dataset)}  sampler: {{name: joint, seed: 0}}    # {_SEARCHES[bool(dataset.test)]}
budget: {{calls: {calls}}}    # a hard limit; tokens, usd and seconds can be limited as well
"""


def screened(dataset: Dataset) -> int:
    """Return how many validation examples a candidate is screened on; all of them where there is no test."""
    n = len(dataset.validation)
    return min(SCREEN, n) if dataset.test else n


def _screen_text(dataset: Dataset) -> str:
    if dataset.test:
        return ""
    return (
        f"  screen: {screened(dataset)}    # all of validation, whatever is written here: without a test each candidate "
        "is scored on all of it\n"
    )


def _model_text(model: ModelSpec, proposal: Proposal) -> str:
    parts = [f"provider: {quoted(model.provider)}", f"name: {quoted(model.name)}"]
    parts += [] if model.base_url is None else [f"base_url: {quoted(model.base_url)}"]
    parts += [] if model.api_key_env is None else [f"api_key_env: {quoted(model.api_key_env)}"]
    # An answer of several targets is an object, which names all of them.
    keys = json_text(dict.fromkeys(proposal.targets, "")) if len(proposal.targets) > 1 else ""
    written = len(keys.encode("utf-8", "surrogatepass")) + proposal.longest_answer
    tokens = min(_MOST_TOKENS, _MARKS + written // _BYTES_PER_TOKEN)
    if counts_thoughts(model.base_url):
        return f"{{{', '.join(parts)}, parameters: {{max_completion_tokens: {tokens + _THOUGHTS}}}}}"
    return f"{{{', '.join(parts)}, parameters: {{temperature: 0, max_tokens: {tokens}}}}}"
