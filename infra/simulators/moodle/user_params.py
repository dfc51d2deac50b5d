"""The parameters of the user functions."""

from infra.simulators.moodle.params import Many, Scalar, Spec, Struct, many, many_optional, optional

_DETAILS: dict[str, Spec] = {
    "city": optional("text"),
    "country": optional("alpha"),
    "timezone": optional("timezone"),
    "description": optional("raw"),
    "firstnamephonetic": optional("notags"),
    "lastnamephonetic": optional("notags"),
    "middlename": optional("notags"),
    "alternatename": optional("notags"),
    "interests": optional("text"),
    "institution": optional("text"),
    "department": optional("text"),
    "phone1": optional("notags"),
    "phone2": optional("notags"),
    "address": optional("text"),
    "theme": optional("plugin"),
    "mailformat": optional("int"),
    "maildisplay": optional("int"),
    "customfields": many_optional({"type": Scalar("alphanumext"), "value": Scalar("raw")}),
    "preferences": many_optional({"type": Scalar("raw"), "value": Scalar("raw")}),
}
CREATE = Struct(
    {
        "users": many(
            {
                "username": Scalar("username"),
                "firstname": Scalar("notags"),
                "lastname": Scalar("notags"),
                "email": Scalar("raw_trimmed"),
                "auth": Scalar("plugin", "manual"),
                "password": optional("raw"),
                "createpassword": optional("bool"),
                "idnumber": Scalar("raw", ""),
                "lang": Scalar("safedir", "en"),
                "calendartype": Scalar("plugin", "gregorian"),
                **_DETAILS,
            }
        )
    }
)
UPDATE = Struct(
    {
        "users": many(
            {
                "id": Scalar("int"),
                "username": optional("username"),
                "auth": optional("plugin"),
                "suspended": optional("bool"),
                "password": optional("raw"),
                "firstname": optional("notags"),
                "lastname": optional("notags"),
                "email": optional("raw_trimmed"),
                "idnumber": optional("raw"),
                "lang": optional("safedir"),
                "calendartype": optional("plugin"),
                "userpicture": optional("int"),
                **_DETAILS,
            }
        )
    }
)
BY_FIELD = Struct({"field": Scalar("alpha"), "values": Many(Scalar("raw"))})
SEARCH = Struct({"criteria": many({"key": Scalar("alpha"), "value": Scalar("raw")})})
DELETE = Struct({"userids": Many(Scalar("int"))})
