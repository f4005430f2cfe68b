"""The staged run of the command line, from a trained model to a measured directory."""

from tflite_export.compress._data import Data as Data
from tflite_export.compress._data import check_data as check_data
from tflite_export.compress._data import load_data as load_data
from tflite_export.compress._demo import digits_cnn as digits_cnn
from tflite_export.compress._demo import load_digits as load_digits
from tflite_export.compress._demo import train_digits as train_digits
from tflite_export.compress._figures import Figure as Figure
from tflite_export.compress._figures import figures_of as figures_of
from tflite_export.compress._fixed_point_stage import FixedPointStage as FixedPointStage
from tflite_export.compress._job import Job as Job
from tflite_export.compress._load import load_model as load_model
from tflite_export.compress._prune_stage import Present as Present
from tflite_export.compress._prune_stage import PruneStage as PruneStage
from tflite_export.compress._run import compress as compress
from tflite_export.compress._run import compress_into as compress_into
from tflite_export.compress._run import file_score as file_score
from tflite_export.compress._settings import AUGMENTATIONS as AUGMENTATIONS
from tflite_export.compress._settings import LEAST_STEPS as LEAST_STEPS
from tflite_export.compress._settings import CompressSettings as CompressSettings
from tflite_export.compress._stages import Done as Done
from tflite_export.compress._stages import run_job as run_job
from tflite_export.compress._train import retrain as retrain
from tflite_export.compress._work import RefusedError as RefusedError
