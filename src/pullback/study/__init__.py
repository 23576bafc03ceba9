"""Studies: what a source asked, the experiments that answer it, and what was published."""

from .plan import STUDIES as STUDIES
from .plan import Arm as Arm
from .plan import Claim as Claim
from .plan import Exhibit as Exhibit
from .plan import Form as Form
from .plan import Study as Study
from .plan import names as names
from .plan import open_study as open_study
from .run import place as place
from .run import read as read
from .run import run as run
