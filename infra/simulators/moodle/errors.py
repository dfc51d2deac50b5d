"""What Moodle answers when it refuses: exceptions that the REST server turns into an HTTP 200 answer."""


class MoodleError(Exception):
    """An exception as Moodle's REST server reports it.

    Args:
        exception: name of the PHP class, e.g. `invalid_parameter_exception`.
        errorcode: Moodle's code, or None for a plain PHP `Error`.
        message: the text in English.
        debuginfo: the real reason; shown only when the site has debugging switched on.
        module: the component in the link to the documentation of the error.
    """

    def __init__(
        self, exception: str, errorcode: str | None, message: str, debuginfo: str = "", module: str = "moodle"
    ) -> None:
        super().__init__(f"{exception}/{errorcode}: {message}")
        self.exception = exception
        self.errorcode = errorcode
        self.message = message
        self.debuginfo = debuginfo
        self.module = module

    def body(self, debug: bool) -> dict[str, str]:
        """The answer's object; without debugging the reason stays hidden, as in production."""
        body = {"exception": self.exception}
        if self.errorcode is not None:
            body["errorcode"] = self.errorcode
        body["message"] = self.message
        if debug and self.debuginfo:
            body["debuginfo"] = self.debuginfo
        return body


class NotSimulatedError(Exception):
    """Moodle would do this, the simulator does not: HTTP 501, so that nobody builds on a guess."""


def invalid_parameter(debuginfo: str) -> MoodleError:
    """The catch-all of Moodle's web services; the reason is in the hidden debug text only."""
    return MoodleError(
        "invalid_parameter_exception",
        "invalidparameter",
        "Invalid parameter value detected",
        debuginfo,
        module="debug",
    )


def moodle_error(errorcode: str, message: str) -> MoodleError:
    """A `moodle_exception` with its own code."""
    return MoodleError("moodle_exception", errorcode, message)


def write_error(debuginfo: str = "") -> MoodleError:
    """The database refused a row: too long a value, a unique key, a deadlock; Moodle does not say which."""
    return MoodleError("dml_write_exception", "dmlwriteexception", "Error writing to database", debuginfo)


def missing_record(table: str) -> MoodleError:
    """A row that must exist does not."""
    message = f"Can't find data record in database table {table}."
    return MoodleError("dml_missing_record_exception", "invalidrecord", message)


def invalid_user() -> MoodleError:
    """The user named by id does not exist."""
    return MoodleError("dml_missing_record_exception", "invaliduser", "Invalid user")


def coding_error(reason: str) -> MoodleError:
    """Moodle's "this must be fixed by a programmer", which it also uses for plain bad input."""
    message = f"Coding error detected, it must be fixed by a programmer: {reason}"
    return MoodleError("coding_exception", "codingerror", message, module="debug")


def access_denied() -> MoodleError:
    """Function not in the service, token expired, address or capability missing: all the same answer."""
    return MoodleError(
        "webservice_access_exception", "accessexception", "Access control exception", module="webservice"
    )


def invalid_token() -> MoodleError:
    """No such token (or none sent)."""
    return moodle_error("invalidtoken", "Invalid token - token not found")
