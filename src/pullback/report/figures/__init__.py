"""The figures of a run's report: one function each, from a `History` to a `Figure` or an `Absent`.

Figures of other things (`curve`, `rate`, `paths`, …) are taken from their own files: some of them
need JAX, which the report of a run must not load.
"""

from .augmented import augmented as augmented
from .boundary import boundary as boundary
from .check import check_blocks as check_blocks
from .check import check_scatter as check_scatter
from .compare import held_out_loss as held_out_loss
from .compare import held_out_metric as held_out_metric
from .compare import training_loss as training_loss
from .confusion import confusion as confusion
from .curves import loss_curves as loss_curves
from .curves import metric_curves as metric_curves
from .curves import output_loss as output_loss
from .curves import output_steps as output_steps
from .curves import step_loss as step_loss
from .figure import Absent as Absent
from .figure import Figure as Figure
from .figure import Sheet as Sheet
from .figure import Table as Table
from .figure import Tile as Tile
from .layers import delta_flow as delta_flow
from .layers import update_ratio as update_ratio
from .layers import weight_ridges as weight_ridges
from .network import network as network
from .wrong import most_wrong as most_wrong
