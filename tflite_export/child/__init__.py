"""Native code in a process of its own, so that its death is an error and not the end of this process."""

from tflite_export.child._child import CrashError as CrashError
from tflite_export.child._child import NativeError as NativeError
from tflite_export.child._child import environment as environment
from tflite_export.child._child import native as native
from tflite_export.child._child import prepare_native as prepare_native
from tflite_export.child._child import refusal as refusal
