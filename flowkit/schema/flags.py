"""Pairs of words for no and yes."""

from collections.abc import Iterable

_PAIRS = (
    *("no yes", "n y", "f t", "off on", "false true", "unchecked checked"),
    *("nein ja", "n j", "falsch wahr", "aus ein", "non oui", "n o", "faux vrai"),
    *("no si", "no sí", "falso verdadero", "no sì", "falso vero", "não sim", "falso verdadeiro"),
    *("nee ja", "onwaar waar", "nej ja", "falskt sant", "nei ja", "ei kyllä", "nie tak"),
    *("ne ano", "ne da", "nem igen", "hayır evet", "нет да", "いいえ はい", "否 是"),
)
_FLAGS = frozenset(frozenset(pair.split()) for pair in _PAIRS)


def is_flag(words: Iterable[object]) -> bool:
    """Return whether these words are one for no and one for yes, in any case.

    Example:
        >>> is_flag(["Ja", "Nein"]), is_flag(["red", "blue"]), is_flag(["yes"])
        (True, False, False)
    """
    return frozenset(str(word).lower() for word in words) in _FLAGS
