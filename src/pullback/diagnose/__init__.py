"""What is wrong with a training run, and what to try next; each finding with its numbers."""

from .finding import Finding as Finding
from .judgement import Judgement as Judgement
from .judgement import judge as judge
from .learning_curve import LearningCurve as LearningCurve
from .learning_curve import learning_curve as learning_curve
from .rate_range import RateRange as RateRange
from .rate_range import rate_range as rate_range
from .run import Diagnosis as Diagnosis
from .run import diagnose as diagnose
