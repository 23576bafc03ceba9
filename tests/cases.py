"""The tables of cases; `test_tables` fails for a public class without one."""

from __future__ import annotations

from pullback import optim
from pullback.catalogue.cases import INITIALIZERS as INITIALIZERS
from pullback.catalogue.cases import LOSSES as LOSSES
from pullback.catalogue.cases import PENALTIES as PENALTIES
from pullback.catalogue.map_cases import MAPS as MAPS
from pullback.catalogue.map_cases import SHARED as SHARED
from pullback.catalogue.map_cases import MapCase as MapCase

RULES = [optim.SGD(0.1)]
