"""The exported files compute what the Keras model computes, on every runtime."""

from tflite_export.verify._exact import ExactAgreement as ExactAgreement
from tflite_export.verify._exact import verify_exact as verify_exact
from tflite_export.verify._verify import WIDE_STEPS as WIDE_STEPS
from tflite_export.verify._verify import Verification as Verification
from tflite_export.verify._verify import VerificationError as VerificationError
from tflite_export.verify._verify import check_top1_agreement as check_top1_agreement
from tflite_export.verify._verify import check_verification as check_verification
from tflite_export.verify._verify import verify as verify
