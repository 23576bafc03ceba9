"""Augmentation: random changes of a batch that training sees in place of the batch itself.

They are drawn and computed inside the compiled epoch, for each example anew in every step, from the
step's key. Evaluation, prediction and the gradient check never see them.
"""

from .core import Augmentation as Augmentation
from .core import Compose as Compose
from .core import Setting as Setting
from .cutout import Cutout as Cutout
from .flip import Flip as Flip
from .mixup import Mixup as Mixup
from .noise import Noise as Noise
from .warp import Warp as Warp
