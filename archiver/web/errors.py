"""What a request can end with besides its answer. The text is for the one who asked."""

from __future__ import annotations

from archiver.errors import ArchiverError


class Refusal(ArchiverError):
    """A request that is answered with `status` and the reason. `seconds`: when to try again."""

    status = 400

    def __init__(self, message: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.seconds = seconds


class WrongQuestion(Refusal):
    """A parameter is missing or incorrect. `field`: which one, where that is known."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotAdmitted(Refusal):
    """No token, or a wrong one."""

    status = 401


class NotAllowed(Refusal):
    """A request that another site made a browser send."""

    status = 403


class NotThere(Refusal):
    """Nothing was found."""

    status = 404


class TooLong(Refusal):
    """More than a request may bring along."""

    status = 413


class TooOften(Refusal):
    """Too many wrong passwords."""

    status = 429


class Busy(Refusal):
    """More is asked for than can be answered."""

    status = 503
