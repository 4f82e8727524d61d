"""How llama.cpp's server is held to a choice of texts: by a grammar, and by a bias towards the tokens of the choice.

A grammar alone works on characters: a model whose next token is most likely " a" then has to go on with "ccount",
whatever it thinks of the word. So every token that the choice is written with gets the same bias, and whole tokens are
compared with each other. Each gets it once: a server that is told texts adds a bias for every occurrence, and a token
that two texts share would win against all others. The end of the turn gets it too, since a text that another one begins
with could never be said otherwise.
"""

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from optimizer.completion import Completion
from optimizer.errors import EndpointError, RejectedError
from optimizer.service import Service
from optimizer.transport import Endpoint

# So far above any difference between logits, which are tens.
CHOICE_BIAS = 100.0

# Part of a model's identity, because it decides the answers.
CHOICE_RULE = "grammar, and a bias for each token once"

# GBNF: what stands for itself in a quoted literal, and what needs a backslash.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class ChoiceBias:
    """The bias of each choice, of which the server is asked once; it alone knows its tokens.

    Args:
        base_url: Address of the chat API; the server tells its tokens beside it.
        api_key: The key, or None for a server that wants none.
    """

    def __init__(self, base_url: str, api_key: str | None) -> None:
        url = urlsplit(base_url)
        path = url.path.rstrip("/").removesuffix("/v1")
        self._address = urlunsplit((url.scheme, url.netloc, path, url.query, ""))
        self._api_key = api_key
        self._found: dict[tuple[str, ...], list[list[float]]] = {}
        self._lock = asyncio.Lock()

    async def __call__(self, choice: tuple[str, ...]) -> list[list[float]]:
        """Return `logit_bias` for a choice: a pair of a token's id and its bias for each token.

        Raises:
            ModelError: When the server does not tell, an `EndpointError` where it never will.
        """
        async with self._lock:
            if choice not in self._found:
                tokens = await self._tokens(choice)
                self._found[choice] = [[token, CHOICE_BIAS] for token in sorted(set(tokens))]
            return self._found[choice]

    async def _tokens(self, choice: Sequence[str]) -> list[int]:
        try:
            end = await self._ask(_PROPERTIES, {})
            texts = [*choice, end] if end else choice
            tokens = await self._ask(_TOKENS, {"content": texts, "add_special": False})
        except (EndpointError, RejectedError) as error:
            problem = f"the server tells no tokens as llama.cpp does, which `grammar` among its capabilities says: {error}"
        else:
            found: list[int] = json.loads(tokens)
            return found
        raise EndpointError(problem)

    async def _ask(self, service: Service, body: dict[str, object]) -> str:
        async with Endpoint(self._address, self._api_key, service=service) as endpoint:
            return (await endpoint.chat(body)).text


def choice_grammar(choices: tuple[str, ...]) -> str:
    """Return the GBNF grammar of exactly these texts."""
    return "root ::= " + " | ".join(f'"{"".join(map(_escaped, choice))}"' for choice in choices)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return character if character >= " " and character != "\x7f" else f"\\x{ord(character):02x}"


def _read_tokens(answer: object, seconds: float) -> Completion:
    """Return the ids of some tokens as JSON."""
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise ValueError("no tokens")
    return Completion(text=json.dumps(tokens), seconds=seconds)


def _read_end(answer: object, seconds: float) -> Completion:
    """Return the text of the token that ends a turn; nothing where a model has none."""
    end = answer.get("eos_token") if isinstance(answer, dict) else None
    if not isinstance(end, str):
        raise ValueError("no eos_token")  # what an answer lacks is a ValueError for every service
    return Completion(text=end, seconds=seconds)


_TOKENS = Service("/tokenize", "a list of tokens", _read_tokens)
_PROPERTIES = Service("/props", "the properties of a server", _read_end, method="GET")
