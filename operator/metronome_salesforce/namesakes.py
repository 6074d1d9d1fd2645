"""Accounts that bear a customer's name, more or less: how to search for them, and how alike.

Case, accents, punctuation, a leading "The" and the legal form at the end make no other company; two
different legal forms do: Acme GmbH is not Acme Inc. The same name scores 100; what is left of a
difference is measured with rapidfuzz, also with the words in another order.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from rapidfuzz import fuzz, process

MARGIN = 5
"""How many points the best suggestion must be ahead of the next one to be beyond doubt."""

_LETTERS = 5  # of a name, that a search begins with
_FEWEST = 4  # of a name, for one of its letters to be left open
_OTHER_FORM, _NO_FORM = 15, 1
_LOWEST = 50.0  # below that nothing is alike

_SAME_FORM = {
    "incorporated": "inc",
    "corporation": "corp",
    "limited": "ltd",
    "company": "co",
}
_FORMS = frozenset({
    "inc", "corp", "llc", "llp", "lp", "ltd", "co", "plc", "pllc", "pbc", "pty", "pte", "gmbh",
    "mbh", "ug", "ag", "kg", "kgaa", "ohg", "gbr", "se", "ev", "eg", "bv", "nv", "cv", "sa",
    "sas", "sarl", "sasu", "srl", "spa", "sapa", "sl", "slu", "sau", "ltda", "ab", "as", "asa",
    "aps", "oy", "oyj", "kk", "pvt", "sro", "spol", "doo", "dd", "ad", "sp", "zoo", "oo", "kft",
    "zrt", "nyrt", "bhd", "sdn", "jsc", "ooo", "pjsc", "ehf", "hf", "eood",
    *_SAME_FORM,
})  # fmt: skip
# What stands between two parts of a legal form: GmbH & Co. KG, S.A. de C.V., Sp. z o.o.
_BETWEEN = frozenset({"and", "de", "z"})

# Letters that no accent was put on, and their usual spelling without them.
_SPELLED = str.maketrans({
    "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th",
    "\u0131": "i", "&": " and ", "+": " and ",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlainName:
    """A name without what makes no difference: its words, and its legal form ("" if none)."""

    core: str
    form: str

    @property
    def in_order(self) -> str:
        """The words in alphabetical order."""
        return " ".join(sorted(self.core.split()))


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An Account that may be the customer's; `score` is 0 to 100, the same name."""

    account_id: str
    account_name: str
    score: int


def plain_name(name: str) -> PlainName:
    """The name as it is compared."""
    words = _words(name)
    kept = _without_form(words)
    return PlainName(" ".join(words[:kept]), " ".join(_form(words[kept:])))


def _words(name: str) -> list[str]:
    # Dots and apostrophes do not divide words, nor do strokes single letters: S.A., Moody's, A/S.
    joined = re.sub("[.'`\u00b4\u2018\u2019]", "", _folded(name))
    joined = re.sub(r"\b(\w)/(?=\w\b)", r"\1", joined)
    words = re.findall(r"\w+", joined.replace("_", " "))
    return words[1:] if len(words) > 1 and words[0] == "the" else words


def _folded(text: str) -> str:
    """The text in small letters without accents."""
    spelled = text.casefold().translate(_SPELLED)
    apart = unicodedata.normalize("NFKD", spelled)
    return "".join(one for one in apart if not unicodedata.combining(one))


def _without_form(words: list[str]) -> int:
    """How many words are left without the legal form at the end; one at least."""
    kept = len(words)
    while kept > 1 and (
        words[kept - 1] in _FORMS or (words[kept - 1] in _BETWEEN and words[kept - 2] in _FORMS)
    ):
        kept -= 1
    # Tiffany & Co. is Tiffany.
    return kept - 1 if 1 < kept < len(words) and words[kept - 1] == "and" else kept


def _form(words: Iterable[str]) -> list[str]:
    return [_SAME_FORM.get(word, word) for word in words if word not in _BETWEEN]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Accounts by id, made ready to be compared with many names."""

    names: Mapping[str, str]
    cores: Mapping[str, str]
    in_order: Mapping[str, str]
    forms: Mapping[str, str]

    @classmethod
    def of(cls, names: Mapping[str, str]) -> Self:
        """Make them of the names as they are written, by Account id."""
        plain = {id_: plain_name(name) for id_, name in names.items()}
        return cls(
            names=names,
            cores={id_: one.core for id_, one in plain.items()},
            in_order={id_: one.in_order for id_, one in plain.items()},
            forms={id_: one.form for id_, one in plain.items()},
        )


def suggestions(name: str, candidates: Candidates) -> list[Suggestion]:
    """The Accounts that are alike at all, the best first; ties by name and id."""
    wanted = plain_name(name)
    if not wanted.core:
        return []
    scores: dict[str, float] = {}
    for query, choices in (
        (wanted.core, candidates.cores),
        (wanted.in_order, candidates.in_order),
    ):
        for _, score, id_ in process.extract(
            query, choices, scorer=fuzz.ratio, score_cutoff=_LOWEST, limit=None
        ):
            scores[id_] = max(score, scores.get(id_, 0.0))
    found = [
        Suggestion(
            id_, candidates.names[id_], int(score) - _penalty(wanted.form, candidates.forms[id_])
        )
        for id_, score in scores.items()
    ]
    return sorted(found, key=lambda one: (-one.score, one.account_name, one.account_id))


def _penalty(one: str, other: str) -> int:
    if one == other:
        return 0
    return _OTHER_FORM if one and other else _NO_FORM


def beyond_doubt(found: list[Suggestion], min_score: int) -> Suggestion | None:
    """The best suggestion if it reaches the score and no other one comes near."""
    if not found or found[0].score < min_score:
        return None
    if len(found) > 1 and found[0].score - found[1].score < MARGIN:
        return None
    return found[0]


def search_patterns(name: str) -> list[str]:
    """Patterns for LIKE that find Accounts whose names begin like this one.

    By its first five letters, of which one behind the first may be another: an accent, or a slip.
    Blanks and punctuation between them do not matter. Not found is whose first letter has an accent
    that this name lacks. The patterns hold letters, digits, blanks and wildcards only.
    """
    letters = _beginning(name)
    if not letters:
        return []
    # Both spellings of a first letter with an accent, because a pattern must begin with a letter.
    firsts = list(dict.fromkeys([letters[0], *_folded(letters[0])[:1]]))
    rest = [_like(letter) for letter in letters[1:]]
    count = sum(letter != "%" for letter in letters)
    ends = ["".join(rest)]
    if count >= _FEWEST:
        ends = [
            "".join([*rest[:at], "_", *rest[at + 1 :]])
            for at, letter in enumerate(rest)
            if letter not in {"%", "_"}
        ] or ends
    return [f"{lead}{first}{end}%" for first in firsts for end in ends for lead in ("", "the ")]


def _like(letter: str) -> str:
    if letter.isascii():
        return letter
    folded = _folded(letter)
    return letter.lower() if folded == letter.lower() else "_" if len(folded) == 1 else "%"


def _beginning(name: str) -> list[str]:
    """The first letters of the name without its legal form, % for what stands between them."""
    words = re.sub(r"^\s*the\s+(?=\w)", "", name, flags=re.IGNORECASE).split()
    plain = [_words(word) for word in words]
    kept = _without_form([parts[0] if len(parts) == 1 else "" for parts in plain])
    letters: list[str] = []
    for character in " ".join(words[:kept]):
        if character.isalnum():
            letters.append(character.lower() if character.isascii() else character)
        elif letters and letters[-1] != "%":
            letters.append("%")
        if sum(letter != "%" for letter in letters) == _LETTERS:
            break
    while letters and letters[-1] == "%":
        letters.pop()
    return letters
