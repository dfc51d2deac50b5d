"""What the records of each source mean in Moodle: the mapping file, its defaults, and its templates."""

from infra.mapping.identity import Identity, RuleIdentity
from infra.mapping.load import MappingError, load, parse
from infra.mapping.model import Mapping, TenantRules, Waiting

__all__ = ["Identity", "Mapping", "MappingError", "RuleIdentity", "TenantRules", "Waiting", "load", "parse"]
