"""Training: one step, the compiled run of many steps, and `fit`, which drives them."""

from ..memory import give_back_after_compiling
from .fit import Plan as Plan
from .fit import Progress as Progress
from .fit import Tick as Tick
from .fit import fit as fit
from .fit import never as never
from .fit import require_whole as require_whole
from .fit import silent as silent
from .measure import Part as Part
from .measure import predictions as predictions
from .selection import Kept as Kept
from .selection import Selection as Selection
from .step import Batch as Batch
from .step import Learner as Learner
from .step import Pass as Pass
from .step import Task as Task
from .step import begin as begin
from .step import begin_from as begin_from
from .step import drawn as drawn
from .step import step as step
from .trial import try_products as try_products

give_back_after_compiling()
