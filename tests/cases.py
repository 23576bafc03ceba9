"""The tables of cases; `test_tables` fails for a public class without one."""

from __future__ import annotations

from pullback.catalogue.cases import INITIALIZERS as INITIALIZERS
from pullback.catalogue.cases import LOSSES as LOSSES
from pullback.catalogue.cases import PENALTIES as PENALTIES
from pullback.catalogue.map_cases import MAPS as MAPS
from pullback.catalogue.map_cases import SHARED as SHARED
from pullback.catalogue.map_cases import MapCase as MapCase
from pullback.catalogue.rule_cases import METHODS as METHODS
from pullback.catalogue.rule_cases import RULES as RULES
from pullback.catalogue.rule_cases import SCHEDULES as SCHEDULES
