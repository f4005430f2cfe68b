"""When a stage reaches which sparsity: one-shot, gradual, or a tfmot schedule. Plain Python."""

from tf_structprune.schedule._schedule import Gradual as Gradual
from tf_structprune.schedule._schedule import OneShot as OneShot
from tf_structprune.schedule._schedule import Schedule as Schedule
from tf_structprune.schedule._schedule import StepSchedule as StepSchedule
from tf_structprune.schedule._schedule import as_schedule as as_schedule
