"""Room 8: the staged run of the command line, from a trained model to a measured directory."""

from tflite_export.compress._data import Data as Data
from tflite_export.compress._data import check_data as check_data
from tflite_export.compress._data import load_data as load_data
from tflite_export.compress._demo import digits_cnn as digits_cnn
from tflite_export.compress._demo import load_digits as load_digits
from tflite_export.compress._demo import train_digits as train_digits
from tflite_export.compress._figures import FIGURES as FIGURES
from tflite_export.compress._figures import Figure as Figure
from tflite_export.compress._fixed_point import FixedPointStage as FixedPointStage
from tflite_export.compress._fixed_point import retrain_in_fixed_point as retrain_in_fixed_point
from tflite_export.compress._load import load_model as load_model
from tflite_export.compress._run import compress as compress
from tflite_export.compress._run import compress_into as compress_into
from tflite_export.compress._run import int8_accuracy as int8_accuracy
from tflite_export.compress._settings import AUGMENTATIONS as AUGMENTATIONS
from tflite_export.compress._settings import LEAST_STEPS as LEAST_STEPS
from tflite_export.compress._settings import CompressSettings as CompressSettings
from tflite_export.compress._stages import Pruned as Pruned
from tflite_export.compress._stages import Stage as Stage
from tflite_export.compress._stages import prune_in_stages as prune_in_stages
from tflite_export.compress._train import retrain as retrain
from tflite_export.compress._work import RefusedError as RefusedError
